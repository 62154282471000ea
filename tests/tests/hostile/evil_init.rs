//! The init of a live sandbox is not ours any more: it answers wrongly, late, too much or not at all. Every call ends
//! with an error of a kind that says so, the next sandbox is an honest one, and nothing is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Bind, Command, Config, Error, ErrorCode, GetOptions, LateBinding, Phase, Result, Reuse, SandboxRef,
    SandboxSet, SandboxSpec,
};
use sandboxset_tests::census::{Scope, temporary_dir};
use sandboxset_tests::evil::{Begin, Evil, EvilKeeper};
use sandboxset_tests::machine::is_root;
use sandboxset_tests::strace::copy_keeper;

use crate::support::{HANG, alone};

/// How many calls are under way at once: most of those that take long only wait.
const AT_ONCE: usize = 16;
/// For what has no shorter limit of its own; the longest of those is 10 s.
const SHORT: Duration = Duration::from_millis(300);

/// What is asked of the init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Create,
    Exec,
    Spawn,
    Write,
    Read,
    List,
    Remove,
    Connect,
    Bind,
    Reset,
    Pause,
}

const CALLS: [Call; 11] = [
    Call::Create,
    Call::Exec,
    Call::Spawn,
    Call::Write,
    Call::Read,
    Call::List,
    Call::Remove,
    Call::Connect,
    Call::Bind,
    Call::Reset,
    Call::Pause,
];

impl Call {
    fn begin(self) -> Begin {
        match self {
            Call::Reset => Begin::AtReset,
            Call::Pause => Begin::WithoutCgroups,
            _ => Begin::AtOnce,
        }
    }
}

/// One evil init and what it is asked.
struct Case {
    evil: Evil,
    call: Call,
    keeper: EvilKeeper,
}

fn set(case: &Case) -> SandboxSet {
    let options = LinuxOptions { keeper: Some(case.keeper.program()), ..LinuxOptions::default() };
    let reuse = if matches!(case.call, Call::Create | Call::Reset) { Reuse::Reset } else { Reuse::Keep };
    let config = Config { max_size: 1, reuse, ..Config::default() };
    SandboxSet::new(Arc::new(LinuxBackend::new(options).unwrap()), SandboxSpec::default(), config).unwrap()
}

fn get(set: &SandboxSet, binding: Option<LateBinding>) -> Result<SandboxRef> {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), binding, ..GetOptions::default() })
}

fn command(argument: &str) -> Command {
    let mut command = Command::new(["/bin/echo", argument]);
    (command.timeout, command.grace) = (SHORT, Duration::ZERO);
    command
}

/// Asks, and answers what the caller was told.
fn ask(set: &SandboxSet, evil: Evil, call: Call) -> Result<()> {
    let bind = Bind { source: "/usr".into(), target: "/mnt/usr".into(), writable: false };
    let binding = (call == Call::Bind).then(|| LateBinding { binds: vec![bind], ..LateBinding::default() });
    let sandbox = get(set, binding)?;
    let (file, long) = (Path::new("file"), "x".repeat(30 << 10));
    let result = match call {
        Call::Create | Call::Bind => Ok(()),
        // More than there is room for in the socket of an init that reads nothing.
        Call::Exec if evil == Evil::Deaf => std::thread::scope(|threads| {
            let execs = [(); 12].map(|()| threads.spawn(|| sandbox.exec(&command(&long)).map(drop)));
            execs.into_iter().map(|exec| exec.join().unwrap()).fold(Ok(()), Result::and)
        }),
        Call::Exec => sandbox.exec(&command("x")).map(drop),
        Call::Spawn => sandbox.spawn(&command("x")).and_then(|process| {
            let waited = process.wait(HANG, None).map(drop);
            process.kill().and(waited)
        }),
        Call::Write => sandbox.write_file(file, b"x", 0o600),
        Call::Read => sandbox.read_file(file, 1 << 20).map(drop),
        Call::List => sandbox.list_dir(Path::new("."), 1 << 20).map(drop),
        Call::Remove => sandbox.remove(file),
        Call::Connect => sandbox.connect(SHORT, None).map(drop),
        // What goes wrong at a put its caller is not told; the sandbox must be gone.
        Call::Reset | Call::Pause => {
            let id = sandbox.id();
            sandbox.put()?;
            let next = get(set, None)?;
            let again = next.id() == id;
            next.destroy("it was looked at")?;
            if again {
                return Ok(());
            }
            return Err(Error::new(ErrorCode::SandboxDead, Phase::Use, "destroyed at the put"));
        }
    };
    match sandbox.destroy("it was evil") {
        // It may have been found out, and destroyed, already.
        Ok(()) => {}
        Err(error) => assert_eq!(error.code(), ErrorCode::StaleRef, "{evil:?} {call:?}: {error}"),
    }
    result
}

/// Whether a caller may be told that all went well: where an answer is as good as an honest one.
fn is_plausible(evil: Evil, call: Call) -> bool {
    match evil {
        Evil::LiesAboutEnds => matches!(call, Call::Exec | Call::Spawn),
        Evil::Late => matches!(call, Call::Exec | Call::Spawn | Call::Write | Call::Remove | Call::Pause),
        Evil::AnswersTwice => matches!(call, Call::Write | Call::Remove | Call::Pause),
        // That it is the host's only an evil keeper can bring about.
        Evil::HostDirectory => call == Call::List,
        _ => false,
    }
}

fn check(case: &Case) -> String {
    let Case { evil, call, .. } = *case;
    let what = format!("{evil:?} {call:?}");
    let set = set(case);
    let start = Instant::now();
    let told = match ask(&set, evil, call) {
        Ok(()) => {
            assert!(is_plausible(evil, call), "{what}: the caller was told that all went well");
            "ok".to_owned()
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control) && text.len() < 64 << 10, "{what}: {text:?}");
            // Numbers that no kernel gives, and doubts about whether a sandbox is as it was.
            let odd = evil == Evil::FailsOddly || call == Call::Create;
            assert!(error.code() != ErrorCode::Internal || odd, "{what}: {error:?}");
            format!("{:?}", error.code())
        }
    };
    let took = start.elapsed();
    assert!(took < HANG, "{what}: {took:?}");
    let honest = get(&set, None).unwrap_or_else(|error| panic!("{what}: no next sandbox: {error}"));
    let mut echo = Command::new(["/bin/echo", "honest"]);
    echo.timeout = HANG;
    assert_eq!(honest.exec(&echo).unwrap().stdout.text(), "honest\n", "{what}");
    honest.destroy("it served").unwrap();
    let report = set.close(HANG).unwrap();
    assert!(report.survivors.is_empty(), "{what}: {report:?}");
    format!("{what}: {told} in {took:.1?}")
}

#[test]
fn whatever_an_init_does_every_call_ends_and_the_next_sandbox_is_honest() {
    let _alone = alone();
    if !is_root() {
        println!("SKIPPED: only root can copy the keeper from one that runs");
        return;
    }
    let dir = temporary_dir("evil-keeper");
    let (stand_in, keeper) = (Path::new(env!("CARGO_BIN_EXE_evil_keeper")), dir.path().join("keeper"));
    copy_keeper(&keeper);
    let scope = Scope::own();
    let before = scope.take();
    // What waits for a deadline first, so that all else goes on beside it.
    let slow = |evil: Evil| matches!(evil, Evil::Silent | Evil::Deaf | Evil::Late);
    let mut cases: Vec<(Evil, Call)> =
        Evil::ALL.iter().flat_map(|evil| CALLS.map(|call| (*evil, call))).collect();
    cases.sort_by_key(|(evil, _)| !slow(*evil));
    let (next, said, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let start = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(&(evil, call)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let keeper = EvilKeeper::new(stand_in, &keeper, evil, call.begin());
                    let case = Case { evil, call, keeper };
                    match catch_unwind(AssertUnwindSafe(|| check(&case))) {
                        Ok(line) => said.lock().unwrap().push(line),
                        Err(_) => failed.lock().unwrap().push((evil, call)),
                    }
                }
            });
        }
    });
    println!("{}", said.into_inner().unwrap().join("\n"));
    println!("{} calls of evil inits in {:.0?}", cases.len(), start.elapsed());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    scope.assert_settles(&before);
}
