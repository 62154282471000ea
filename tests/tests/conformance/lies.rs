//! The negative control of the suite: agents that are wrong in one way, each of which must be caught.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::agents::{HANG, Language, reference};
use crate::cases::{self, Case};
use crate::matrix::WORKERS;
use crate::run::{Fate, run};

/// What the agent of Rust can be told to do wrong.
const LIES: &[&str] = &[
    "dies",
    "falls_silent",
    "talks_nonsense",
    "ends_badly",
    "supports_nothing",
    "puts_nothing",
    "destroys_nothing",
    "cancels_nothing",
    "never_fails",
    "confuses_codes",
    "confuses_names",
    "confuses_phases",
    "retries_nothing",
    "retries_everything",
    "names_no_field",
    "names_no_sandbox",
    "is_speechless",
    "knows_no_cause",
    "knows_one_sandbox",
    "counts_no_uses",
    "counts_nothing",
    "destroys_for_no_reason",
    "always_exits",
    "always_succeeds",
    "swallows_output",
    "drops_nothing",
    "always_holds",
    "sees_no_event",
    "forgets_the_order",
    "confuses_events",
    "reads_nothing",
    "leaves_nothing",
];

/// Many a lie is caught by waiting in vain, so this waits less than for honest agents; the longest that any of them
/// needs is 5 s, for a close that cannot destroy.
const SHORT: Duration = Duration::from_secs(15);

#[test]
fn the_driver_catches_every_lie() {
    let cases = cases::all();
    let cases: Vec<&Case> = cases.iter().filter(|case| case.backends.iter().any(|b| b == "mock")).collect();
    let next = AtomicUsize::new(0);
    let believed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(lie) = LIES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch(lie, &cases) {
                        // Written past the test harness, which hides what passing tests print.
                        Some(how) => drop(writeln!(std::io::stderr(), "lie {lie}: caught by {how:.120}")),
                        None => believed.lock().unwrap().push(*lie),
                    }
                }
            });
        }
    });
    let believed = believed.into_inner().unwrap();
    assert!(believed.is_empty(), "nothing was wrong with agents that lie so: {believed:?}");
}

/// The first case that a lying agent fails, and how.
fn catch(lie: &str, cases: &[&Case]) -> Option<String> {
    let mut command = reference().command.unwrap();
    command.extend(["--lie".to_owned(), lie.to_owned()]);
    let language = Language { name: "rust", command: Ok(command) };
    cases.iter().find_map(|case| {
        let what = run(&language, "mock", case, SHORT).err()?;
        Some(format!("{}: {}", case.id, what.lines().next().unwrap_or_default()))
    })
}

/// What catches every lie must not catch the truth.
#[test]
fn the_truth_is_believed() {
    let case = &cases::all()[0];
    assert_eq!(run(&reference(), &case.backends[0], case, HANG), Ok(Fate::Passed));
}
