//! Every system call that host, keeper and init make in a life of a sandbox fails once, kills its caller or takes too
//! long. Whatever happens, nothing hangs, nothing crashes, nothing is left, and every error says what it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandboxset_tests::census::temporary_dir;
use sandboxset_tests::strace::{Injection, Run, Stage, Target, copy_keeper, strace};

use crate::calls::plan;
use crate::{alone, skip};

/// How many of the injections are made unless all are wanted.
const SAMPLE: usize = 100;
/// How many lives are led at once: most of one is waiting.
const AT_ONCE: usize = 4;

#[test]
fn whatever_system_call_fails_nothing_hangs_crashes_or_is_left() {
    let _alone = alone();
    let strace = match strace() {
        Ok(strace) => strace,
        Err(reason) => return skip(&reason),
    };
    let (life, stand_in) = (env!("CARGO_BIN_EXE_life"), env!("CARGO_BIN_EXE_traced_keeper"));
    let dir = temporary_dir("keeper");
    let keeper = dir.path().join("keeper");
    copy_keeper(&keeper);
    let stage = || Stage::new(&strace, Path::new(life), Path::new(stand_in), &keeper);
    let start = Instant::now();
    let injections = chosen(plan(&stage()));
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(&Injection, Run, Duration)>> = Mutex::default();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                let stage = stage();
                while let Some(injection) = injections.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let run = stage.run(injection.target, Some(injection));
                    results.lock().unwrap().push((injection, run, began.elapsed()));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    report(&results, start.elapsed());
    let bad: Vec<String> = results
        .iter()
        .map(|(injection, run, _)| (injection, run, complaints(injection, run)))
        .filter(|(.., complaints)| !complaints.is_empty())
        .map(|(injection, run, complaints)| {
            format!("{injection}\n{}\n  {}", complaints.join("\n"), run.said.join("\n  "))
        })
        .collect();
    assert!(bad.is_empty(), "{} lives went wrong:\n{}", bad.len(), bad.join("\n\n"));
}

/// All of them if so asked by `SANDBOXSET_ALL_SYSTEM_CALLS`; what contains `SANDBOXSET_SYSTEM_CALL`; else every so
/// many, always the same.
fn chosen(mut injections: Vec<Injection>) -> Vec<Injection> {
    let possible = injections.len();
    if let Ok(text) = std::env::var("SANDBOXSET_SYSTEM_CALL") {
        injections.retain(|injection| injection.to_string().contains(&text));
    } else if std::env::var_os("SANDBOXSET_ALL_SYSTEM_CALLS").is_none() {
        injections = injections.into_iter().step_by(possible.div_ceil(SAMPLE)).collect();
    }
    println!("{} of {possible} injections", injections.len());
    injections
}

/// What is wrong with a life.
fn complaints(injection: &Injection, run: &Run) -> Vec<String> {
    let mut complaints = run.faults.clone();
    // An error of the device is nothing that anybody expects; everything else has a code of its own.
    let riddle = |line: &&String| line.contains(" error Internal ") && !line.contains("(os error 5)");
    complaints.extend(run.said.iter().filter(riddle).map(|line| format!("a riddle: {line}")));
    // The first keeper is hit once; then there must be a life. Each thread and each init is hit anew.
    if injection.target == Target::Keeper && !run.said.iter().any(|line| line == "life ok") {
        complaints.push("it did not recover".into());
    }
    complaints
}

fn report(results: &[(&Injection, Run, Duration)], elapsed: Duration) {
    let mut lines: BTreeMap<String, (usize, usize, Duration)> = BTreeMap::new();
    for (injection, run, took) in results {
        let kind = injection.effect.split('=').next().unwrap_or_default();
        let line = lines.entry(format!("{:?} {kind}", injection.target)).or_default();
        line.0 += 1;
        line.1 += usize::from(run.hits > 0);
        line.2 = line.2.max(*took);
    }
    for (kind, (tried, hit, longest)) in lines {
        println!("{kind}: {tried} tried, {hit} took effect, the longest life took {longest:.1?}");
    }
    let hits = results.iter().filter(|(_, run, _)| run.hits > 0).count();
    println!("{hits} injections took effect in {elapsed:.0?}");
    assert!(hits > results.len() / 3, "hardly any injection took effect, so this shows nothing");
}
