//! The doctor on this host, and on hosts that lack something: each lack is made in namespaces, or by a filter, of
//! one child's own, so that the real host is never touched. The same child without the lack is the control.

#![cfg(feature = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{CheckStatus, LinuxBackend, LinuxOptions, doctor};
use sandboxset::{Backend, CreateRequest, SandboxId, SandboxSpec, ScratchDirs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Names the filters that the child puts on itself.
const FILTER: &str = "SANDBOXSET_TEST_FILTER";

/// In a mount namespace of its own.
const READ_ONLY_CGROUPS: &str =
    "grep cgroup /proc/mounts | while read -r what dir rest; do mount -o remount,bind,ro $dir; done";

/// A host that lacks one thing.
#[derive(Default)]
struct Host<'a> {
    /// Further options of `unshare`.
    unshare: &'static [&'static str],
    /// What a shell does before the child is started.
    script: &'a str,
    /// The filters of the child.
    filter: &'static str,
}

/// What the child found out.
struct Found {
    /// Status, detail and fix by name.
    checks: BTreeMap<String, [String; 3]>,
    /// What became of a create of its own: `made`, or the error.
    create: String,
}

impl Found {
    fn status(&self, name: &str) -> &str {
        &self.checks[name][0]
    }

    /// Checks one line of the report.
    fn expect(&self, name: &str, status: &str, detail: &str, fix: &str) {
        let found = &self.checks[name];
        assert_eq!(found[0], status, "{name}: {found:?}");
        assert!(found[1].contains(detail), "{name}: {found:?} lacks {detail:?}");
        assert!(found[2].contains(fix), "{name}: {found:?} lacks {fix:?}");
    }

    /// That no sandbox can be made, and that the error of a create says why and who helps.
    fn expect_no_sandbox(&self, code: &str, why: &str) {
        self.expect("sandbox", "missing", why, "see the lines above");
        for part in [code, why, "`sandboxset doctor` says how to fix it"] {
            assert!(self.create.contains(part), "{:?} lacks {part:?}", self.create);
        }
    }

    fn expect_sandbox(&self) {
        self.expect("sandbox", "works", "destroyed in", "");
        assert_eq!(self.create, "made");
    }
}

/// What a child finds on such a host; `None`, said loudly, where this host cannot make one.
fn on(host: &Host<'_>) -> Option<Found> {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .args(host.unshare)
        // By descriptor, because the script may cover the directory that the program is in.
        .args(["sh", "-e", "-c"])
        .arg(format!(
            "exec 9< \"$0\"\n{}\nexec $PREFIX /proc/self/fd/9 child --exact --ignored --nocapture",
            host.script
        ))
        .arg(std::env::current_exe().unwrap())
        .env(FILTER, host.filter)
        .env("PREFIX", "")
        .env_remove("SANDBOXSET_KEEPER")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skip(&format!("no unshare: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if said.is_empty() {
        return skip(&format!("such a host cannot be made here: {}", errors.trim()));
    }
    assert!(output.status.success(), "{said}{errors}");
    let mut found = Found { checks: BTreeMap::new(), create: String::new() };
    for line in said.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["check", name, status, detail, fix] => {
                found.checks.insert(name.into(), [status, detail, fix].map(str::to_owned));
            }
            ["create", result] => found.create = result.into(),
            _ => {}
        }
    }
    assert!(found.checks.len() > 20 && !found.create.is_empty(), "{said}{errors}");
    Some(found)
}

/// The control: whether that feature works where nothing was taken away.
fn control(features: &[&str]) -> bool {
    let Some(found) = on(&Host::default()) else { return false };
    for name in features {
        if found.status(name) != "works" {
            let _: Option<()> = skip(&format!("{name} does not work here anyway: {:?}", found.checks[*name]));
            return false;
        }
    }
    true
}

/// Says that a test was skipped, past the test harness, which swallows what a passing test prints.
fn skip<T>(reason: &str) -> Option<T> {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {reason}");
    None
}

#[test]
#[ignore = "run by the other tests, in surroundings that they make"]
fn child() {
    for name in std::env::var(FILTER).unwrap_or_default().split_whitespace() {
        seccompiler::apply_filter_all_threads(&filter(name)).unwrap();
    }
    let mut said = String::from("\n");
    for check in doctor().checks {
        said += &format!("check\t{}\t{}\t{}\t{}\n", check.name, check.status.name(), check.detail, check.fix);
    }
    // The first process of a pid namespace is given the children of those that ended.
    if std::process::id() != 1 {
        let everybody = rustix::process::WaitId::All;
        let any = rustix::process::waitid(everybody, rustix::process::WaitIdOptions::EXITED);
        assert_eq!(any.unwrap_err(), rustix::io::Errno::CHILD, "the caller has a child to wait for");
    }
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let request = CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + Duration::from_secs(60),
    };
    match backend.create(&request) {
        Ok(sandbox) => {
            sandbox.destroy().unwrap();
            said += "create\tmade\n";
        }
        Err(error) => said += &format!("create\t{error}\n"),
    }
    std::io::stdout().write_all(said.as_bytes()).unwrap();
}

/// Refuses some system calls, as the filters of container engines do.
fn filter(name: &str) -> BpfProgram {
    let new_user = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(libc::CLONE_NEWUSER as u64),
        libc::CLONE_NEWUSER as u64,
    )
    .unwrap();
    let (call, rules, errno) = match name {
        "clone3" => (libc::SYS_clone3, vec![], libc::ENOSYS),
        "clone" => (libc::SYS_clone, vec![SeccompRule::new(vec![new_user]).unwrap()], libc::EPERM),
        "memfd" => (libc::SYS_memfd_create, vec![], libc::EPERM),
        _ => panic!("no filter {name}"),
    };
    let refuse = SeccompAction::Errno(errno as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new([(call, rules)].into(), SeccompAction::Allow, refuse, arch)
        .unwrap()
        .try_into()
        .unwrap()
}

#[test]
fn a_healthy_host_is_told_so() {
    let diagnosis = doctor();
    let mut names: Vec<_> = diagnosis.checks.iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), diagnosis.checks.len(), "a name twice");
    for check in &diagnosis.checks {
        assert!(!check.detail.is_empty(), "{check:?}");
        assert_eq!(check.fix.is_empty(), check.status == CheckStatus::Works, "{check:?}");
    }
    if diagnosis.check("namespace.user").unwrap().status == CheckStatus::Missing {
        let _: Option<()> = skip("no user namespaces here");
        return;
    }
    assert!(diagnosis.can_make_sandboxes(), "{}", diagnosis.to_table());
    assert!(diagnosis.to_table().contains("sandbox           works     created in"));
}

#[test]
fn root_of_a_user_namespace_with_one_user_has_sandboxes_of_its_own_user() {
    let Some(found) = on(&Host::default()) else { return };
    found.expect("user", "degraded", "root of a user namespace with few users", "CAP_SETUID");
    found.expect("container", "works", "does not know every user", "");
    found.expect_sandbox();
}

#[test]
fn user_namespaces_that_are_switched_off_are_named() {
    if !control(&["namespace.user", "sandbox"]) {
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces";
    let Some(found) = on(&Host { script, ..Host::default() }) else { return };
    let why = "user.max_user_namespaces is 0";
    found.expect("namespace.user", "missing", why, "sysctl -w user.max_user_namespaces=15000");
    found.expect("namespace.net", "missing", "not tried", "see namespace.user");
    found.expect_no_sandbox("UNSUPPORTED", why);
}

#[test]
fn one_kind_of_namespace_that_is_switched_off_is_named() {
    if !control(&["namespace.net", "sandbox"]) {
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_net_namespaces";
    let Some(found) = on(&Host { script, ..Host::default() }) else { return };
    let why = "user.max_net_namespaces is 0";
    found.expect("namespace.user", "works", "made one", "");
    found.expect("namespace.net", "missing", why, "sysctl -w user.max_net_namespaces=15000");
    found.expect_no_sandbox("UNSUPPORTED", why);
}

#[test]
fn a_filter_without_clone3_is_named() {
    if !control(&["clone3", "sandbox"]) {
        return;
    }
    let Some(found) = on(&Host { filter: "clone3", ..Host::default() }) else { return };
    found.expect("clone3", "missing", "a system call filter (seccomp)", "seccomp=unconfined");
    found.expect("namespace.user", "works", "made one", "");
    found.expect_no_sandbox("UNSUPPORTED", "this host lacks clone3");
}

#[test]
fn a_filter_without_user_namespaces_is_named() {
    if !control(&["namespace.user", "sandbox"]) {
        return;
    }
    let Some(found) = on(&Host { filter: "clone clone3", ..Host::default() }) else { return };
    found.expect("namespace.user", "missing", "a system call filter (seccomp)", "seccomp=unconfined");
    found.expect_no_sandbox("UNSUPPORTED", "a system call filter (seccomp)");
}

#[test]
fn a_restriction_by_apparmor_is_named() {
    if !control(&["namespace.user", "sandbox"]) {
        return;
    }
    // What its kernel has there; and EPERM, as it gives to a program without a profile. Without capabilities,
    // because with them nothing is restricted.
    let script = "mount -t tmpfs none /proc/sys/kernel
        echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns
        PREFIX='setpriv --bounding-set=-all --inh-caps=-all'";
    let Some(restricted) = on(&Host { script, filter: "clone clone3", ..Host::default() }) else { return };
    let why = "apparmor_restrict_unprivileged_userns is 1";
    restricted.expect("namespace.user", "missing", why, "`userns,`");
    restricted.expect(
        "namespace.user",
        "missing",
        why,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    );
}

#[test]
fn a_covered_proc_is_named() {
    if !control(&["proc", "sandbox"]) {
        return;
    }
    let Some(found) = on(&Host { script: "mount -t tmpfs none /proc/fs", ..Host::default() }) else { return };
    let why = "parts of this process's own /proc are covered";
    found.expect("proc", "missing", why, "systempaths=unconfined");
    found.expect_no_sandbox("UNSUPPORTED", why);
}

#[test]
fn a_root_with_another_file_system_in_it_is_a_degradation() {
    if !control(&["root.overlay", "sandbox"]) {
        return;
    }
    // Container engines mount files into /etc; what is wanted of it is shared without them.
    let script = "mount --bind /proc/version /etc/hostname";
    let Some(found) = on(&Host { script, ..Host::default() }) else { return };
    found.expect("root.overlay", "works", "inodes of the sandbox's own", "");
    let script = "mount -t tmpfs none /usr/share";
    let Some(found) = on(&Host { script, ..Host::default() }) else { return };
    found.expect("root.overlay", "degraded", "/usr (Invalid argument", "no other file system");
    found.expect_sandbox();
}

#[test]
fn cgroups_that_cannot_be_written_are_a_degradation() {
    if !control(&["cgroup", "cgroup.freeze", "cgroup.kill", "memory", "sandbox"]) {
        return;
    }
    let script =
        "grep cgroup /proc/mounts | while read -r what dir rest; do mount -o remount,bind,ro $dir; done";
    let Some(found) = on(&Host { script, ..Host::default() }) else { return };
    found.expect("cgroup", "degraded", "nothing is writable for this process", "");
    assert!(!found.checks["cgroup"][2].is_empty());
    found.expect("cgroup.freeze", "degraded", "by signal", "see cgroup");
    found.expect("cgroup.kill", "degraded", "by signal", "see cgroup");
    found.expect("memory", "degraded", "each process only", "memory controller");
    found.expect("cpu", "missing", "no writable cpu cgroup", "cpu controller");
    found.expect_sandbox();
}

#[test]
fn memory_that_may_not_be_executed_is_a_degradation_while_a_directory_may() {
    if !control(&["memfd_exec", "sandbox"]) {
        return;
    }
    let unshare = &["--pid", "--fork", "--mount-proc"][..];
    // Without cgroups, whose owners are known by pids that mean nothing in another pid namespace.
    let script = &format!("{READ_ONLY_CGROUPS}\necho 2 > /proc/sys/vm/memfd_noexec");
    if let Some(found) = on(&Host { unshare, script, ..Host::default() }) {
        let fix = "sysctl -w vm.memfd_noexec=1";
        found.expect("memfd_exec", "degraded", "vm.memfd_noexec is 2", fix);
        found.expect_sandbox();
    }
    if let Some(found) = on(&Host { filter: "memfd", ..Host::default() }) {
        found.expect("memfd_exec", "degraded", "starts from a file instead", "allow memfd_create");
        found.expect_sandbox();
    }
    let directories = "unset XDG_RUNTIME_DIR TMPDIR
        for dir in /tmp /dev/shm /var/tmp; do
            if [ -d $dir ]; then mount -t tmpfs -o noexec none $dir; fi
        done";
    let script = &format!("{script}\n{directories}");
    if let Some(found) = on(&Host { unshare, script, ..Host::default() }) {
        found.expect("memfd_exec", "missing", "neither from memory", "not mounted noexec");
        found.expect_no_sandbox("BACKEND_UNAVAILABLE", "the keeper could not be started");
        assert!(found.create.contains("memfd"), "{}", found.create);
    }
}
