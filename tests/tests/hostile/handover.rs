//! What an init has of its host, and what it costs to ask for too much.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, ErrorCode, GetOptions, LayerPolicy, LayerStatus, Outcome, Phase, SandboxSpec,
    ScratchDirs,
};
use sandboxset_tests::census::Scope;
use sandboxset_tests::evil::{Begin, Evil, EvilKeeper};
use sandboxset_tests::kernel;
use sandboxset_tests::machine::is_root;

use crate::support::{Guarded, HANG, alone, run};

/// What a process has open: the kind of a socket or of an anonymous inode, or the path of a file. Nothing if it is gone.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
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
    let is_harmless = |target: &String| ["socket", "anon_inode:[signalfd]", "/dev/null"].contains(&&**target);
    // Without shells there is one init, which has run a command and must have nothing now.
    let no_shells = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
    let set = Guarded::with_options(no_shells, SandboxSpec::default(), ScratchDirs::Tmpfs);
    let sandbox = set.get();
    assert!(run(&sandbox, &["true"]).success());
    let (keepers, inits) = keepers_and_inits();
    assert_eq!((keepers.len(), inits.len()), (1, 1), "{keepers:?} {inits:?}");
    let open = descriptors(inits[0]);
    println!("init: {open:?}");
    assert!(!open.is_empty() && open.iter().all(is_harmless), "{open:?}");
    drop(sandbox);
    drop(set);

    // A shell in the making has its root's sources open, but once it is made it has nothing either.
    let shells = LinuxOptions { shells: Some(3), ..LinuxOptions::default() };
    let set = Guarded::with_options(shells, SandboxSpec::default(), ScratchDirs::Tmpfs);
    let sandbox = set.get();
    let until = Instant::now() + HANG;
    loop {
        let (_, inits) = keepers_and_inits();
        let open: Vec<_> = inits.iter().map(|init| descriptors(*init)).collect();
        if open.len() > 3 && open.iter().all(|open| !open.is_empty() && open.iter().all(is_harmless)) {
            break;
        }
        assert!(Instant::now() < until, "a shell keeps {open:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The control: the same look at this process finds them.
    let own: BTreeSet<String> = descriptors(std::process::id()).into_iter().collect();
    assert!(own.contains("/etc/passwd") && own.contains("/etc"), "{own:?}");
    assert!(careless.iter().all(|file| file.as_raw_fd() > 2));
    sandbox.put().unwrap();
}

/// As when the keeper ends between a handover and the host's first look at it.
#[test]
fn a_sandbox_that_ended_before_its_handover_is_a_failed_create() {
    if !is_root() {
        println!("SKIPPED: not root: the keeper cannot be copied from one that runs");
        return;
    }
    let stand_in = Path::new(env!("CARGO_BIN_EXE_evil_keeper"));
    let keeper = {
        let _alone = alone();
        EvilKeeper::with_own_copy(stand_in, Evil::Dies, Begin::BeforeHandover)
    };
    let options = LinuxOptions { keeper: Some(keeper.program()), ..LinuxOptions::default() };
    let set = Guarded::with_options(options, SandboxSpec::default(), ScratchDirs::Tmpfs);
    if !set.has_cgroup("cgroup.freeze") {
        println!(
            "SKIPPED: without cgroups its end is noticed when it is resumed, and the next is handed out"
        );
        return;
    }
    let error = set.get_or_create_unpaused(&GetOptions::default()).map(drop).unwrap_err();
    assert_eq!((error.code(), error.phase()), (ErrorCode::CreateFailed, Phase::Create), "{error}");
    assert!(error.retryable() && error.sandbox_id().is_some(), "{error}");
    assert!(run(&set.get(), &["true"]).success());
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
