//! What an init has of its host, and what it costs to ask for too much.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::Path;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Backend, Command, ErrorCode, GetOptions, LayerPolicy, LayerStatus, Outcome, SandboxSpec};
use sandboxset_tests::census::Scope;
use sandboxset_tests::kernel;
use sandboxset_tests::machine::is_root;

use crate::support::{Guarded, run};

/// What a process has open: the kind of a socket or of an anonymous inode, or the path of a file.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    // Sockets and pipes have their number behind a colon.
    targets
        .map(|target| {
            let target = target.to_string_lossy().into_owned();
            match target.split_once(":[") {
                Some((kind, _)) if kind != "anon_inode" => kind.to_owned(),
                _ => target,
            }
        })
        .collect()
}

/// The keepers of this process, and the inits of their sandboxes.
fn keepers_and_inits() -> (Vec<u32>, Vec<u32>) {
    let keepers: Vec<u32> = Scope::own().keepers().iter().map(|keeper| keeper.pid).collect();
    let tasks = kernel::tasks();
    let inits = tasks.values().filter(|task| keepers.contains(&task.parent)).map(|task| task.pid).collect();
    (keepers, inits)
}

/// A host that leaves files and directories open for whoever it starts.
#[test]
fn an_idle_init_has_nothing_of_its_host_open() {
    if !is_root() {
        println!("SKIPPED: not root: the descriptors of an undumpable process cannot be seen");
        return;
    }
    let careless: Vec<_> = ["/etc", "/etc/passwd", "/", "/proc"]
        .into_iter()
        .map(|path| {
            let file = std::fs::File::open(path).unwrap();
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
            file
        })
        .collect();
    let set = Guarded::new(SandboxSpec::default());
    let sandbox = set.get();
    assert!(run(&sandbox, &["true"]).success());
    let (keepers, inits) = keepers_and_inits();
    assert!(!keepers.is_empty() && !inits.is_empty(), "{keepers:?} {inits:?}");
    for init in inits {
        let open = descriptors(init);
        println!("init: {open:?}");
        let allowed = |target: &String| ["socket", "anon_inode:[signalfd]", "/dev/null"].contains(&&**target);
        assert!(!open.is_empty() && open.iter().all(allowed), "{open:?}");
    }
    // The control: the same look at this process finds them.
    let own: BTreeSet<String> = descriptors(std::process::id()).into_iter().collect();
    assert!(own.contains("/etc/passwd") && own.contains("/etc"), "{own:?}");
    assert!(careless.iter().all(|file| file.as_raw_fd() > 2));
    sandbox.put().unwrap();
}

/// The interpreter of such a script is the program of whoever executes it, which was the way to a runtime's own
/// program (CVE-2019-5736).
#[test]
fn a_script_whose_interpreter_is_the_executing_program_changes_nothing_of_ours() {
    let set = Guarded::new(SandboxSpec::default());
    let sandbox = set.get();
    let images = || -> Vec<Vec<u8>> {
        let (keepers, inits) = keepers_and_inits();
        // Only root may look at an undumpable process.
        let read = |pid: &u32| std::fs::read(format!("/proc/{pid}/exe"));
        keepers.iter().chain(&inits).filter_map(|pid| read(pid).ok()).collect()
    };
    let before = images();
    if is_root() {
        assert!(!before.is_empty(), "no program of ours can be seen");
    } else {
        println!("SKIPPED in part: not root: our programs are not compared");
    }
    sandbox.write_file(Path::new("script"), b"#!/proc/self/exe\n", 0o755).unwrap();
    for _ in 0..20 {
        match sandbox.exec(&Command::new(["/scratch/script"])) {
            // Whatever it is, it is none of ours that does anything.
            Ok(output) => assert_ne!(output.outcome, Outcome::Exited(0), "{output:?}"),
            Err(error) => assert_ne!(error.code(), ErrorCode::SandboxDead, "{error:?}"),
        }
    }
    // The control: a script with an interpreter of the sandbox's own runs.
    sandbox.write_file(Path::new("script"), b"#!/bin/sh\necho ran\n", 0o755).unwrap();
    assert_eq!(run(&sandbox, &["/scratch/script"]).stdout.text(), "ran\n");
    let after = images();
    assert!(after.iter().all(|image| before.is_empty() || before.contains(image)), "a program changed");
    sandbox.put().unwrap();
}

#[test]
fn a_create_without_a_required_layer_leaves_nothing() {
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let report = backend.isolation_report();
    let Some(missing) = report.layers.iter().find(|layer| layer.status != LayerStatus::Active) else {
        println!("SKIPPED: this host lacks no layer");
        return;
    };
    drop(backend);
    let layers = [(missing.name.clone(), LayerPolicy::Required)].into();
    // When it goes, it takes the census.
    let set = Guarded::new(SandboxSpec { layers, ..SandboxSpec::default() });
    for _ in 0..3 {
        let error = set.get_or_create_unpaused(&GetOptions::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported, "{error:?}");
    }
}
