//! Layers that are required, and layers that are switched off.

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, ErrorCode, GetOptions, LayerPolicy, LayerStatus, Phase, SandboxSet, SandboxSpec,
};
use std::sync::Arc;

use crate::support::sandbox;

fn set(layers: &[(&str, LayerPolicy)]) -> sandboxset::Result<SandboxSet> {
    let backend = LinuxBackend::new(LinuxOptions::default())?;
    let layers = layers.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect();
    SandboxSet::new(Arc::new(backend), SandboxSpec { layers, ..SandboxSpec::default() }, Config::default())
}

#[test]
fn what_is_active_can_be_required() {
    if sandbox().is_none() {
        return;
    }
    let set = set(&[("seccomp", LayerPolicy::Required), ("proc.masks", LayerPolicy::Required)]).unwrap();
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    assert!(sandbox.exec(&Command::new(["true"])).unwrap().success());
    for name in ["seccomp", "proc.masks", "nested_user_namespaces"] {
        assert_eq!(set.isolation_report().layer(name).unwrap().status, LayerStatus::Active, "{name}");
    }
}

#[test]
fn what_is_missing_but_required_fails_the_create_and_leaves_nothing() {
    if sandbox().is_none() {
        return;
    }
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let report = backend.isolation_report();
    // Whatever this host lacks; switched off, every host lacks it.
    let missing = report.layers.iter().find(|layer| layer.status != LayerStatus::Active);
    let Some(missing) = missing else {
        return crate::support::skip("this host lacks no layer");
    };
    let set = set(&[(&missing.name, LayerPolicy::Required)]).unwrap();
    let error = set.get_or_create_unpaused(&GetOptions::default()).unwrap_err();
    assert_eq!((error.code(), error.phase()), (ErrorCode::Unsupported, Phase::Create), "{error:?}");
    assert!(error.message().contains(&missing.name), "{error:?}");
}

#[test]
fn a_layer_that_is_off_lets_through_what_it_stops() {
    if sandbox().is_none() {
        return;
    }
    let nested = Command::new(["unshare", "--user", "true"]);
    let weak = set(&[("seccomp", LayerPolicy::Off), ("nested_user_namespaces", LayerPolicy::Off)]).unwrap();
    let sandbox = weak.get_or_create_unpaused(&GetOptions::default()).unwrap();
    assert!(sandbox.exec(&nested).unwrap().success(), "the control");
    for alone in ["seccomp", "nested_user_namespaces"] {
        let set = set(&[(alone, LayerPolicy::Off)]).unwrap();
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        assert!(!sandbox.exec(&nested).unwrap().success(), "without {alone} the other one still stops it");
    }
}

/// Stacks Landlock domains until the kernel refuses, which it does at 16, and prints how many there was room for.
const STACK_DOMAINS: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
handled = ctypes.c_uint64(1)
ruleset = libc.syscall(444, ctypes.byref(handled), 8, 0)
count = 0
while ruleset >= 0 and libc.syscall(446, ruleset, 0) == 0:
    count += 1
print(count)
";

#[test]
fn landlock_restricts_every_command_and_lets_ordinary_work_go_on() {
    if sandbox().is_none() {
        return;
    }
    let room = |policy| {
        let set = set(&[("landlock", policy)]).unwrap();
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        if set.isolation_report().layer("landlock").unwrap().detail.contains("kernel does not have it") {
            return None;
        }
        for work in [
            "mkfifo fifo",
            "mkdir a b; echo x > a/f; mv a/f b/f; ln b/f g; ln -s g h; cat h",
            "echo x > /dev/shm/f",
        ] {
            let output = sandbox.exec(&Command::new(["sh", "-c", work])).unwrap();
            assert!(output.success(), "{work}: {output:?}");
        }
        let output = sandbox.exec(&Command::new(["/usr/bin/python3", "-c", STACK_DOMAINS])).unwrap();
        Some(output.stdout.text().trim().parse::<u32>().unwrap_or_else(|_| panic!("{output:?}")))
    };
    let Some(without) = room(LayerPolicy::Off) else {
        return crate::support::skip("the kernel has no Landlock switched on");
    };
    assert_eq!((without, room(LayerPolicy::BestEffort)), (16, Some(15)));
}
