//! Attempts to see, reach or become something outside.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use sandboxset::{Bind, SandboxSpec};
use sandboxset_tests::census::temporary_dir;
use sandboxset_tests::machine::{is_root, ordinary_user};

use crate::support::{Guarded, probe_program, run};

const REFUSED: i32 = 0;
const SUCCEEDED: i32 = 1;

/// Whether the same attempt must succeed on the host.
#[derive(Clone, Copy, PartialEq)]
enum Control {
    Always,
    AsRoot,
    /// The host may refuse it too, by a setting of its own.
    Maybe,
}

/// Things of the host that an attempt may be after.
struct Bait {
    tcp: TcpListener,
    _abstract_socket: UnixListener,
    name: String,
    dir: sandboxset_tests::census::TemporaryDir,
    process: Child,
}

impl Bait {
    fn lay() -> Self {
        let name = format!("hostile-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let dir = temporary_dir("hostile");
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        Bait {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            _abstract_socket: UnixListener::bind_addr(&address).unwrap(),
            process: Command::new("sleep").arg0(&name).arg("600").spawn().unwrap(),
            name,
            dir,
        }
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_attempt_is_refused_inside_and_succeeds_outside() {
    let set = Guarded::new(SandboxSpec::default());
    let bait = Bait::lay();
    let port = bait.tcp.local_addr().unwrap().port().to_string();
    let secret = bait.dir.path().join("secret").to_str().unwrap().to_owned();
    let dir = bait.dir.path().to_str().unwrap().to_owned();
    let pid = bait.process.id().to_string();
    use Control::{Always, AsRoot, Maybe};
    // Attempt, argument inside, argument outside if another, control.
    let attempts: &[(&str, &str, &str, Control)] = &[
        ("capabilities", "", "", Always),
        ("new_privileges", "", "", Always),
        ("unfiltered", "", "", Always),
        ("descriptors", "", "", Always),
        ("environment", "", "", Always),
        ("tcp", &port, &port, Always),
        ("abstract_socket", &bait.name, &bait.name, Always),
        ("packet_socket", "", "", AsRoot),
        ("netlink_change", "", "", AsRoot),
        ("host_file", &secret, &secret, Always),
        ("host_file", "/etc/shadow", "/etc/shadow", AsRoot),
        ("host_file", "/root/.profile", &secret, Always),
        ("host_process", &bait.name, &bait.name, Always),
        ("signal_host", &pid, &pid, Always),
        ("user_namespace", "", "", Maybe),
        ("user_namespace_by_clone", "", "", Maybe),
        ("mount", "", "", AsRoot),
        ("host_name", "", "", AsRoot),
        ("ptrace", "", "", Always),
        ("init_memory", "", "", AsRoot),
        ("write_root", "/", &dir, Always),
        ("write_root", "/usr", &dir, Always),
        ("write_root", "/etc", &dir, Always),
        ("write_root", "/proc", &dir, Always),
        ("write_root", "/dev", &dir, Always),
        ("write_root", "/sys", &dir, Always),
        ("device", "", "", AsRoot),
        ("kernel_setting", "", "", AsRoot),
        // keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup, open_by_handle_at, kexec_load, init_module.
        ("system_call", "250", "250", Always),
        ("system_call", "298", "298", AsRoot),
        ("system_call", "321", "321", AsRoot),
        ("system_call", "323", "323", Maybe),
        ("system_call", "425", "425", Maybe),
        ("system_call", "304", "304", AsRoot),
        ("system_call", "246", "246", Maybe),
        ("system_call", "175", "175", Maybe),
    ];

    let sandbox = set.get();
    let program = std::fs::read(probe_program()).unwrap();
    sandbox.write_file("probe.py".as_ref(), &program, 0o644).unwrap();
    let (mut failures, mut controls, mut without) = (Vec::new(), 0, 0);
    for &(name, inside, outside, control) in attempts {
        let output = run(&sandbox, &["/usr/bin/python3", "/scratch/probe.py", name, inside]);
        if output.exit_code() != Some(REFUSED) {
            failures.push(format!("{name} {inside}: inside {:?} {}", output.outcome, show(&output)));
        }
        match (outside_code(name, outside, &bait), control) {
            (Some(SUCCEEDED), _) => controls += 1,
            (code, Always) => failures.push(format!("{name} {outside}: the control answered {code:?}")),
            (code, AsRoot) if is_root() => {
                failures.push(format!("{name} {outside}: the control as root answered {code:?}"));
            }
            _ => {
                println!("{name} {outside}: without control, the host refuses it too");
                without += 1;
            }
        }
    }
    println!("attempts: {} refused, {controls} controls effective, {without} without", attempts.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));

    // Which includes: whoever tries to kill the init achieves nothing.
    assert_eq!(run(&sandbox, &["/usr/bin/python3", "/scratch/probe.py", "kill_init"]).exit_code(), Some(0));
    assert!(run(&sandbox, &["true"]).success());
    sandbox.put().unwrap();
}

fn show(output: &sandboxset::Output) -> String {
    format!("{} {}", output.stdout.text().trim(), output.stderr.text().trim())
}

/// The same program, on the host. It has a descriptor and a variable more than usual, for those who look for them.
fn outside_code(name: &str, argument: &str, bait: &Bait) -> Option<i32> {
    let status = Command::new("sh")
        .args(["-c", "exec 9</dev/null; exec /usr/bin/python3 \"$@\"", "sh"])
        .arg(probe_program())
        .args([name, argument])
        .env("HOSTILE", "1")
        .current_dir(bait.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.code()
}

#[test]
fn a_setuid_program_raises_nobody() {
    let Some(user) = ordinary_user() else {
        println!("SKIPPED: only root can make a program setuid root");
        return;
    };
    let dir = temporary_dir("hostile-setuid");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    let control = Command::new(&program).arg("-u").uid(user.uid).gid(user.gid).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&control.stdout), "0\n", "the control must become root");

    let bind = Bind { source: dir.path().into(), target: "/setuid".into(), writable: false };
    let set = Guarded::new(SandboxSpec { binds: vec![bind], ..SandboxSpec::default() });
    let sandbox = set.get();
    let output = run(&sandbox, &["/setuid/id", "-u"]);
    assert_eq!(output.stdout.text(), "1000\n", "{}", show(&output));
    let output = run(&sandbox, &["su", "-c", "id -u"]);
    assert!(!output.success() && !output.stdout.text().contains('0'), "{}", show(&output));
    sandbox.put().unwrap();
}
