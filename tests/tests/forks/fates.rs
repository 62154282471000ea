//! What happens to a parent costs a fork one try: another parent takes its place.

use std::path::Path;
use std::time::Duration;

use sandboxset::backend::linux::LinuxOptions;
use sandboxset::{Command, ErrorCode, SandboxRef};
use sandboxset_tests::census::Scope;
use sandboxset_tests::evil::{Begin, Evil, EvilKeeper};
use sandboxset_tests::machine::is_root;

use crate::family::{Family, Servers, assert_forked, eventually};
use crate::{HANG, alone};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Destroyed,
    Killed,
    OutOfMemory,
    Stopped,
}

const FATES: [Fate; 4] = [Fate::Destroyed, Fate::Killed, Fate::OutOfMemory, Fate::Stopped];

impl Fate {
    fn befall(self, parent: &SandboxRef) {
        let signal = |signal: &str| {
            // The server is the second process there. The command may well end with the sandbox that it is in.
            let _ = parent.exec(&Command::new(["/bin/sh", "-c", &format!("kill -{signal} 2")]));
        };
        match self {
            Fate::Destroyed => parent.destroy("a fate").unwrap(),
            Fate::Killed => signal("KILL"),
            Fate::OutOfMemory => signal("USR2"),
            Fate::Stopped => signal("STOP"),
        }
    }
}

/// Two tries, of which the first may take half of it: the time that a parent costs which stands still.
const TIME: Duration = Duration::from_secs(20);

#[test]
fn a_parent_that_dies_or_stands_still_is_replaced_at_the_next_fork() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let scope = Scope::own();
    for fate in FATES {
        let before = scope.take();
        let family = Family::new(&servers, "/code/leaky_zygote", 4, TIME);
        family.warm_up();
        let parent = family.parent();
        fate.befall(&parent);
        if fate == Fate::OutOfMemory {
            // It takes a moment until the kernel has nothing left.
            eventually("it is dead", || parent.exec(&Command::new(["/bin/true"])).is_err());
        }
        let _ = parent.put();
        drop(parent);
        let child = family.fork().unwrap_or_else(|error| panic!("{fate:?}: {error}"));
        assert_forked(&child);
        let stats = family.parents.stats();
        assert_eq!(stats.created, 2, "{fate:?}: {stats:?}");
        // One that is about to die may still be taken for alive; then it costs a try as one that stands still does.
        let tries = u64::from(fate == Fate::Stopped)..=1;
        assert!(tries.contains(&stats.fork_failures), "{fate:?}: {stats:?}");
        child.put().unwrap();
        drop(child);
        family.close();
        scope.assert_settles(&before);
    }
}

/// As when the keeper ends between a handover and the host's first look at it.
#[test]
fn a_fork_that_ended_before_its_handover_is_tried_on_another_parent() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    if !is_root() {
        println!("SKIPPED: not root: the keeper cannot be copied from one that runs");
        return;
    }
    let stand_in = Path::new(env!("CARGO_BIN_EXE_evil_keeper"));
    let keeper = EvilKeeper::with_own_copy(stand_in, Evil::Dies, Begin::BeforeHandover);
    let scope = Scope::own();
    let before = scope.take();
    let options = LinuxOptions { keeper: Some(keeper.program()), ..LinuxOptions::default() };
    let family = Family::with_options(options, &servers, "/code/zygote", 2, TIME);
    // The first parent is gone as well, so that there is none.
    let error = family.fork().map(drop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ForkFailed, "{error}");
    assert!(error.cause().contains("CREATE_FAILED"), "{error}");
    let child = family.fork().unwrap();
    assert_forked(&child);
    let stats = family.parents.stats();
    assert_eq!((stats.created, stats.fork_failures), (2, 1), "{stats:?}");
    child.put().unwrap();
    drop(child);
    family.close();
    scope.assert_settles(&before);
}

#[test]
fn when_every_parent_fails_the_fork_is_an_error_in_time() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let scope = Scope::own();
    let before = scope.take();
    // A server that says READY and hears nobody.
    let dir = servers.dir();
    std::fs::write(dir.join("deaf"), "#!/bin/sh\nprintf 'READY\\n' >&3\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(dir.join("deaf"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let family = Family::new(&servers, "/code/deaf", 2, Duration::from_secs(3));
    let error = family.fork().map(drop).unwrap_err();
    assert!(matches!(error.code(), ErrorCode::Timeout | ErrorCode::ForkFailed), "{error}");
    eventually("both parents are gone", || family.parents.stats().destroyed == 2);
    family.close();
    scope.assert_settles(&before);
}

#[test]
fn a_close_of_the_parents_ends_forks_under_way_and_leaves_nothing() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let scope = Scope::own();
    let before = scope.take();
    let family = Family::new(&servers, "/code/leaky_zygote", 4, HANG);
    family.warm_up();
    let parent = family.parent();
    Fate::Stopped.befall(&parent);
    parent.put().unwrap();
    drop(parent);
    std::thread::scope(|scope| {
        let forks: Vec<_> = (0..3).map(|_| scope.spawn(|| family.fork().map(drop))).collect();
        eventually("they are under way", || family.parents.stats().held == 1);
        let report = family.parents.close(Duration::ZERO).unwrap();
        drop(report);
        for fork in forks {
            let error = fork.join().unwrap().unwrap_err();
            let known = [ErrorCode::ForkFailed, ErrorCode::SandboxDead, ErrorCode::Closed];
            assert!(known.contains(&error.code()), "{error}");
        }
    });
    family.close();
    scope.assert_settles(&before);
}

#[test]
fn a_close_while_forks_wait_leaves_nothing() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let scope = Scope::own();
    for parents_first in [false, true] {
        let before = scope.take();
        let family = Family::new(&servers, "/code/zygote", 4, HANG);
        family.warm_up();
        let child = family.fork().unwrap();
        assert_forked(&child);
        drop(child.put());
        drop(child);
        if parents_first {
            // Its children live on until their own set is closed.
            let closing = std::thread::spawn({
                let parents = family.parents.clone();
                move || parents.close(HANG).unwrap()
            });
            assert!(family.children.close(HANG).unwrap().survivors.is_empty());
            assert!(closing.join().unwrap().survivors.is_empty());
        }
        family.close();
        scope.assert_settles(&before);
    }
}
