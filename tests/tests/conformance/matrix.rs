//! Every case in every language on every backend, and the table of what became of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::agents::{HANG, Language, languages};
use crate::bad_input;
use crate::cases::{self, Case};
use crate::host::Host;
use crate::run::{Fate, run};

/// How many agents run at once: they mostly wait.
pub(crate) const WORKERS: usize = 4;

/// What became of one case in one language on one backend.
struct Row {
    language: &'static str,
    backend: &'static str,
    case: String,
    fate: Result<Fate, String>,
}

const BACKENDS: [&str; 2] = ["mock", "linux"];

/// One thing for one worker to do.
enum Job<'a> {
    Case(&'a Case),
    /// Every bad input, in one process.
    BadInput,
}

#[test]
fn every_case_holds_in_every_language() {
    let cases = cases::wanted();
    let whole = std::env::var_os("SANDBOXSET_CASES").is_none();
    let languages = languages();
    let host = Host::look();
    let mut jobs = Vec::new();
    for language in languages.iter().filter(|language| language.command.is_ok()) {
        for backend in BACKENDS {
            if whole {
                jobs.push((language, backend, Job::BadInput));
            }
            let concerned = cases.iter().filter(|case| case.backends.iter().any(|name| name == backend));
            jobs.extend(concerned.map(|case| (language, backend, Job::Case(case))));
        }
    }
    let rows = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((language, backend, job)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = perform(&host, language, backend, job);
                    rows.lock().unwrap().extend(done);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let missing: Vec<&Language> = languages.iter().filter(|language| language.command.is_err()).collect();
    // Written past the test harness, which hides what passing tests print.
    let _ = std::io::stderr().write_all(table(&rows, &missing, cases.len()).as_bytes());

    let mut complaints: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let what = row.fate.as_ref().err()?;
            Some(format!("{} on {}: {}: {what}", row.language, row.backend, row.case))
        })
        .collect();
    let wanted = std::env::var("SANDBOXSET_REQUIRE_AGENTS").unwrap_or_default();
    for name in wanted.split_whitespace() {
        let there = languages.iter().any(|language| language.name == name && language.command.is_ok());
        if !there {
            complaints.push(format!("{name} is missing"));
        }
    }
    if let (Some(why), true) = (&host.obstacle, std::env::var_os("SANDBOXSET_REQUIRE_LINUX").is_some()) {
        complaints.push(format!("no sandbox can be made here: {why}"));
    }
    if whole && host.obstacle.is_none() {
        complaints.extend(idle_gaps(&languages, &rows));
    }
    assert!(complaints.is_empty(), "{}:\n{}", complaints.len(), complaints.join("\n"));
}

fn perform(host: &Host, language: &Language, backend: &'static str, job: &Job<'_>) -> Vec<Row> {
    let row = |case: String, fate| Row { language: language.name, backend, case, fate };
    match job {
        Job::Case(case) => {
            let fate = match host.lacks(backend, case) {
                Some(why) => Ok(Fate::Skipped(why)),
                None => run(language, backend, case, HANG),
            };
            vec![row(case.id.clone(), fate)]
        }
        Job::BadInput => match host.obstacle.as_ref().filter(|_| backend == "linux") {
            Some(why) => vec![row("bad_input".to_owned(), Ok(Fate::Skipped(why.clone())))],
            None => {
                bad_input::run(language, backend).into_iter().map(|(case, fate)| row(case, fate)).collect()
            }
        },
    }
}

/// What a language is said to lack, but no case met.
fn idle_gaps(languages: &[Language], rows: &[Row]) -> Vec<String> {
    let mut idle = Vec::new();
    for language in languages.iter().filter(|language| language.command.is_ok()) {
        for gap in cases::gaps(language.name) {
            let met = |row: &Row| row.language == language.name && row.fate == Ok(Fate::Skipped(gap.clone()));
            if !rows.iter().any(met) {
                idle.push(format!("{}: no case met the gap {gap:?}", language.name));
            }
        }
    }
    idle
}

fn table(rows: &[Row], missing: &[&Language], cases: usize) -> String {
    let mut text = format!("\nconformance    {cases} cases\n{:16}", "language");
    for backend in BACKENDS {
        let _ = write!(text, "{backend:>8} {:>7} {:>7} {:>7}", "passed", "failed", "skipped");
    }
    text.push('\n');
    let mut counts: BTreeMap<(&str, &str), [usize; 3]> = BTreeMap::new();
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in rows {
        let column = match &row.fate {
            Ok(Fate::Passed) => 0,
            Err(_) => 1,
            Ok(Fate::Skipped(why)) => {
                reasons.entry((row.language, why)).or_default().push(&row.case);
                2
            }
        };
        counts.entry((row.language, row.backend)).or_default()[column] += 1;
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.language).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let _ = write!(text, "{name:16}");
        for backend in BACKENDS {
            let [passed, failed, skipped] = counts.get(&(name, backend)).copied().unwrap_or_default();
            let _ = write!(text, "{:8} {passed:7} {failed:7} {skipped:7}", "");
        }
        text.push('\n');
    }
    for ((language, why), skipped) in reasons {
        let few: Vec<&str> = skipped.iter().take(3).copied().collect();
        let more = if skipped.len() > few.len() { ", …" } else { "" };
        let _ = writeln!(text, "SKIP ({}) {language}: {why}: {}{more}", skipped.len(), few.join(", "));
    }
    for language in missing {
        let why = language.command.as_ref().err().map(String::as_str).unwrap_or_default();
        let _ = writeln!(text, "SKIP ({cases}) {}: the whole language: {why}", language.name);
    }
    text
}
