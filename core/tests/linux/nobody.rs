//! Everything again as a user without any privilege.

use std::process::{Command, Stdio};

use crate::support::skip;

#[test]
fn every_other_test_passes_as_nobody_too() {
    if !rustix::process::geteuid().is_root() {
        return skip("not root: the other tests ran unprivileged already");
    }
    if Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("no setpriv");
    }
    // Copies, because nobody may be unable to reach the build directory.
    let dir = std::env::temp_dir().join(format!("linux-nobody-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&dir, readable).unwrap();
    let program = dir.join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::copy(crate::support::EMBEDDED_KEEPER, dir.join("keeper")).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--test-threads=2", "--nocapture"])
        .current_dir("/")
        .env("TMPDIR", &dir)
        .env("SANDBOXSET_TEST_KEEPER", dir.join("keeper"))
        .output();
    let _ = std::fs::remove_file(&program);
    let _ = std::fs::remove_file(dir.join("keeper"));
    let left = std::fs::remove_dir(&dir);
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("as nobody: {line}");
    }
    assert!(output.status.success(), "as nobody:\n{text}");
    left.expect("the tests left nothing in their temporary directory");
}
