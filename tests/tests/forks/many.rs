//! Crowds that fork at once, and long lines of forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Backend, Config, GetOptions, SandboxSet, SandboxSpec};
use sandboxset_tests::census::Scope;
use sandboxset_tests::machine::setting;

use crate::family::{Family, Servers, assert_forked, fork_server};
use crate::{HANG, alone};

#[test]
fn a_crowd_at_an_empty_set_makes_no_more_parents_than_it_may() {
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let gets = setting("SANDBOXSET_CROWD", 1000);
    let scope = Scope::own();
    let before = scope.take();
    let family = Family::new(&servers, "/code/zygote", 8, HANG);
    let served = AtomicU64::new(0);
    let options = GetOptions { timeout: Some(5 * HANG), ..GetOptions::default() };
    std::thread::scope(|scope| {
        for _ in 0..gets {
            // A thread each, which hardly needs a stack.
            let get = || {
                let child = family.children.get_or_create_unpaused(&options).unwrap();
                assert_forked(&child);
                child.put().unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, get).unwrap();
        }
    });
    assert_eq!(served.load(Ordering::Relaxed), gets);
    let (parents, children) = (family.parents.stats(), family.children.stats());
    assert!((1..=2).contains(&parents.created), "{parents:?}");
    assert!(children.created <= 8 && parents.forks == children.created, "{children:?} {parents:?}");
    println!("{gets} gets at once: {} children of {} parents", children.created, parents.created);
    family.close();
    scope.assert_settles(&before);
}

#[test]
fn a_line_of_eight_sets_serves_and_comes_down_from_either_end() {
    const LINE: usize = 8;
    let _alone = alone();
    let Some(servers) = Servers::compile() else { return };
    let scope = Scope::own();
    for from_the_root in [false, true] {
        let before = scope.take();
        let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
        let config = |parent| Config { max_size: 1, parent, create_timeout: HANG, ..Config::default() };
        let root = fork_server(&["/code/zygote"], Some(servers.dir()));
        let mut sets = vec![SandboxSet::new(Arc::clone(&backend), root, config(None)).unwrap()];
        for _ in 1..LINE {
            let parent = sets.last().cloned();
            let spec = fork_server(&["one more"], None);
            sets.push(SandboxSet::new(Arc::clone(&backend), spec, config(parent)).unwrap());
        }
        let leaf =
            SandboxSet::new(Arc::clone(&backend), SandboxSpec::default(), config(sets.last().cloned()));
        sets.push(leaf.unwrap());
        let options = GetOptions { timeout: Some(5 * HANG), ..GetOptions::default() };
        let child = sets[LINE].get_or_create_unpaused(&options).unwrap();
        assert_forked(&child);
        child.put().unwrap();
        drop(child);
        assert!(sets.iter().all(|set| set.stats().created == 1));
        if from_the_root {
            // Each waits for those below it, so all are closed at once, the root first.
            let closing: Vec<_> = sets
                .iter()
                .map(|set| {
                    let set = set.clone();
                    std::thread::spawn(move || set.close(5 * HANG).unwrap())
                })
                .collect();
            for closed in closing {
                assert!(closed.join().unwrap().survivors.is_empty());
            }
        } else {
            for set in sets.iter().rev() {
                assert!(set.close(HANG).unwrap().survivors.is_empty());
            }
        }
        drop((sets, backend));
        scope.assert_settles(&before);
    }
}
