//! The program as a runtime, outside of any sandbox, and its command line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sandboxset-bench");

#[test]
fn several_connections_are_answered_by_turns() {
    let dir = std::env::temp_dir().join(format!("sandboxset-bench-test-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let socket = dir.join("echo.sock");
    // The shell only makes descriptor 3, as the keeper does in a sandbox.
    let mut runtime = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" --echo-runtime 3>&1", PROGRAM])
        .env("SANDBOXSET_SOCKET", &socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(runtime.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "READY\n");
    let mut first = UnixStream::connect(&socket).unwrap();
    let mut second = UnixStream::connect(&socket).unwrap();
    for byte in 0..3_u8 {
        for stream in [&mut first, &mut second] {
            stream.write_all(&[byte]).unwrap();
            let mut answer = [255];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [byte]);
        }
        // One that leaves does not disturb the others.
        drop(UnixStream::connect(&socket).unwrap());
    }
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_pipes_are_answered_without_any_connection() {
    let dir = std::env::temp_dir().join(format!("sandboxset-bench-pipes-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    for name in ["request", "answer"] {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, dir.join(name), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    let open = |name| std::fs::OpenOptions::new().read(true).write(true).open(dir.join(name)).unwrap();
    let (mut request, mut answer) = (open("request"), open("answer"));
    let mut runtime = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" --echo-runtime \"$1\" 3>&1", PROGRAM])
        .arg(&dir)
        .env("SANDBOXSET_SOCKET", dir.join("echo.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for byte in 0..3_u8 {
        request.write_all(&[byte]).unwrap();
        let mut got = [255];
        answer.read_exact(&mut got).unwrap();
        assert_eq!(got, [byte]);
    }
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_runtime_without_its_surroundings_says_so() {
    let output =
        Command::new(PROGRAM).arg("--echo-runtime").env_remove("SANDBOXSET_SOCKET").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("SANDBOXSET_SOCKET"));
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for (args, says) in [
        (&["--slow"][..], "unknown option --slow"),
        (&["--results"], "--results needs a path"),
        (&["no.such.row"], "no row has such a name"),
    ] {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_program_that_is_missing_is_a_loud_row_and_a_failure() {
    let results = std::env::temp_dir().join(format!("sandboxset-bench-results-{}.json", std::process::id()));
    let output = Command::new(PROGRAM)
        .args(["c.get_put", "--c-program", "/no/such/program", "--results"])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("NOT MEASURED  c.get_put: /no/such/program"), "{text}");
    let rows: serde_json::Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    assert_eq!(rows[0]["name"], "c.get_put");
    assert!(rows[0]["p50"].is_null());
    std::fs::remove_file(results).unwrap();
}
