//! User namespaces, and the others below them.

use rustix::io::Errno;
use sandboxset_keeper::{CLONE_STEP, Failure, NETWORK_STEP};

use super::super::sys::{self, Trial};
use super::{Check, host};

/// Why namespaces are refused, and what to do about it.
pub(super) struct Cause {
    pub(super) detail: String,
    pub(super) fix: String,
}

/// What a host lacks, as the error of a failed create tells it.
pub(in super::super) struct MissingFeature {
    pub(in super::super) detail: String,
    /// Whether trying again is useless.
    pub(in super::super) permanent: bool,
}

/// The feature of the host for want of which a sandbox could not be made, if that is the reason.
pub(in super::super) fn missing_feature(failure: &Failure) -> Option<MissingFeature> {
    let errno = super::super::fault::errno(failure);
    let cloning = [CLONE_STEP, NETWORK_STEP].contains(&&*failure.step);
    let (name, cause) = match errno {
        Errno::NOSPC if cloning => ("namespaces", cause(errno)),
        Errno::NOSYS if cloning => ("clone3", forbidden(errno)),
        Errno::PERM | Errno::ACCESS if cloning => ("user namespaces", cause(errno)),
        // There the namespaces are granted, and the rights in them are not.
        Errno::PERM | Errno::ACCESS if apparmor_restricts() && !may_mount_in_namespaces() => {
            ("user namespaces", cause(errno))
        }
        Errno::PERM | Errno::ACCESS if failure.step == "mount /proc" => {
            ("a /proc of its own", covered_proc(errno))
        }
        Errno::NOSYS => ("system calls", forbidden(errno)),
        _ => return None,
    };
    let permanent = errno != Errno::NOSPC || zero_limit().is_some();
    Some(MissingFeature { detail: format!("this host lacks {name}: {}", cause.detail), permanent })
}

fn may_mount_in_namespaces() -> bool {
    sys::in_new_namespaces(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, Trial::ChangeMounts).is_ok()
}

struct Kind {
    name: &'static str,
    flag: libc::c_int,
    trial: Trial,
    limit: &'static str,
    config: &'static str,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "namespace.mount",
        flag: libc::CLONE_NEWNS,
        trial: Trial::ChangeMounts,
        limit: "max_mnt_namespaces",
        config: "",
    },
    kind("namespace.pid", libc::CLONE_NEWPID, "max_pid_namespaces", "CONFIG_PID_NS"),
    kind("namespace.ipc", libc::CLONE_NEWIPC, "max_ipc_namespaces", "CONFIG_IPC_NS"),
    kind("namespace.uts", libc::CLONE_NEWUTS, "max_uts_namespaces", "CONFIG_UTS_NS"),
    kind("namespace.cgroup", libc::CLONE_NEWCGROUP, "max_cgroup_namespaces", "CONFIG_CGROUPS"),
    kind("namespace.net", libc::CLONE_NEWNET, "max_net_namespaces", "CONFIG_NET_NS"),
];

const fn kind(name: &'static str, flag: libc::c_int, limit: &'static str, config: &'static str) -> Kind {
    Kind { name, flag, trial: Trial::Enter, limit, config }
}

pub(super) fn checks() -> Vec<Check> {
    let user = sys::in_new_namespaces(libc::CLONE_NEWUSER, Trial::Enter);
    let mut checks = Vec::new();
    checks.push(match user {
        Ok(()) => Check::works("namespace.user", "made one"),
        Err(errno) => refused("namespace.user", cause(errno)),
    });
    let needs_user =
        |name| Check::missing(name, "not tried: it needs a user namespace", "see namespace.user");
    for kind in &KINDS {
        if user.is_err() {
            checks.push(needs_user(kind.name));
            continue;
        }
        checks.push(match sys::in_new_namespaces(libc::CLONE_NEWUSER | kind.flag, kind.trial) {
            Ok(()) => Check::works(kind.name, "made one"),
            Err(errno) => refused(kind.name, cause_of(kind, errno)),
        });
    }
    if user.is_err() {
        checks.push(needs_user("proc"));
        return checks;
    }
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    checks.push(match sys::in_new_namespaces(flags, Trial::MakeProc) {
        Ok(()) => Check::works("proc", "made one in a user namespace"),
        Err(errno @ (Errno::PERM | Errno::ACCESS)) if !apparmor_restricts() => {
            refused("proc", covered_proc(errno))
        }
        Err(errno) => refused("proc", cause(errno)),
    });
    checks
}

fn covered_proc(errno: Errno) -> Cause {
    Cause {
        detail: format!("{errno}: parts of this process's own /proc are covered, as container engines do"),
        fix: "start the container with an uncovered /proc: `docker run --security-opt systempaths=unconfined`, \
              `podman run --security-opt unmask=ALL`, in Kubernetes `procMount: Unmasked` with `hostUsers: false`"
            .into(),
    }
}

fn refused(name: &'static str, cause: Cause) -> Check {
    Check::missing(name, cause.detail, cause.fix)
}

fn cause_of(kind: &Kind, errno: Errno) -> Cause {
    if errno == Errno::INVAL && !kind.config.is_empty() {
        return Cause {
            detail: format!("the kernel was built without {}", kind.config),
            fix: format!("run a kernel with {}=y", kind.config),
        };
    }
    cause(errno)
}

/// The sysctl that switches a kind of namespace off, if one does.
fn zero_limit() -> Option<String> {
    let limits = KINDS.iter().map(|kind| kind.limit);
    let limit = ["max_user_namespaces"]
        .into_iter()
        .chain(limits)
        .find(|limit| host::sysctl(&format!("user/{limit}")).as_deref() == Some("0"))?;
    Some(format!("user.{limit}"))
}

/// Why the kernel refused a user namespace, or the rights that should come with it, with this error.
fn cause(errno: Errno) -> Cause {
    let root = rustix::process::geteuid().is_root();
    if std::fs::symlink_metadata("/proc/self/ns").is_ok()
        && std::fs::symlink_metadata("/proc/self/ns/user").is_err()
    {
        return Cause {
            detail: "the kernel was built without user namespaces".into(),
            fix: "run a kernel with CONFIG_USER_NS=y".into(),
        };
    }
    if errno == Errno::NOSPC
        && let Some(limit) = zero_limit()
    {
        return Cause {
            detail: format!("these namespaces are switched off: {limit} is 0"),
            fix: set_sysctl(&limit, "15000"),
        };
    }
    if !root && host::sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Cause {
            detail: "only root may make user namespaces: kernel.unprivileged_userns_clone is 0".into(),
            fix: set_sysctl("kernel.unprivileged_userns_clone", "1"),
        };
    }
    if errno == Errno::NOSPC {
        return Cause {
            detail: "there are too many user namespaces already, or they are nested 32 deep".into(),
            fix: format!("end what holds them, or {}", set_sysctl("user.max_user_namespaces", "100000")),
        };
    }
    if matches!(errno, Errno::PERM | Errno::ACCESS) && apparmor_restricts() {
        return Cause {
            detail: "AppArmor denies user namespaces to ordinary programs: \
                     kernel.apparmor_restrict_unprivileged_userns is 1"
                .into(),
            fix: format!(
                "give the host program an AppArmor profile with the rule `userns,` (on Ubuntu 24.04: a file in \
                 /etc/apparmor.d, then `apparmor_parser -r` it), or for every program, {}",
                set_sysctl("kernel.apparmor_restrict_unprivileged_userns", "0")
            ),
        };
    }
    if matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOSYS) && host::is_filtered() {
        return forbidden(errno);
    }
    Cause {
        detail: format!("the kernel refuses a user namespace: {errno}"),
        fix: "start the process outside a chroot, as a user that its own user namespace knows, and under no \
              security module that denies user namespaces"
            .into(),
    }
}

/// Why a system call that the kernel has is refused.
pub(super) fn forbidden(errno: Errno) -> Cause {
    if !host::is_filtered() {
        let fix = match errno {
            Errno::NOSYS => "run Linux 5.14 or newer",
            _ => "start the process under no security module that forbids it",
        };
        return Cause { detail: format!("the kernel refuses it: {errno}"), fix: fix.into() };
    }
    Cause {
        detail: format!("{errno}: a system call filter (seccomp) of this process forbids it"),
        fix: "allow clone, clone3, unshare, setns, open_tree, move_mount, fsopen, fsconfig, fsmount, \
              mount_setattr and pivot_root in the filter that this process was started with: `docker run \
              --security-opt seccomp=unconfined` or a profile of your own, in Kubernetes `seccompProfile: \
              {type: Localhost}`, in systemd without RestrictNamespaces= and SystemCallFilter="
            .into(),
    }
}

/// Whether AppArmor keeps user namespaces, or the rights in them, from this process.
fn apparmor_restricts() -> bool {
    !host::capabilities().has(host::SYS_ADMIN)
        && host::sysctl("kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value != "0")
}

/// The command that sets a sysctl, now and for later boots.
pub(super) fn set_sysctl(name: &str, value: &str) -> String {
    format!(
        "as root: `sysctl -w {name}={value}`; to keep it: put `{name} = {value}` into /etc/sysctl.d/sandboxset.conf"
    )
}
