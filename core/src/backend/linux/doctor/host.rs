//! Who this process is on the host, and what it is in.

use std::fs;
use std::path::Path;

use super::Check;

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
pub(super) const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
/// Of all that there are today.
const LAST: u32 = 40;

/// With what root needs each capability for.
const NEEDED_BY_ROOT: [(u32, &str, &str); 4] = [
    (CHOWN, "CAP_CHOWN", "handing scratch dirs on disk to sandboxes"),
    (DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "removing what sandboxes left on disk"),
    (SETGID, "CAP_SETGID", "a group of its own for each sandbox"),
    (SETUID, "CAP_SETUID", "a user of its own for each sandbox"),
];

/// The effective capabilities of this process.
pub(super) struct Capabilities(u64);

impl Capabilities {
    pub(super) fn has(&self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }
}

pub(super) fn capabilities() -> Capabilities {
    let hex = status_field("CapEff").unwrap_or_default();
    Capabilities(u64::from_str_radix(&hex, 16).unwrap_or(0))
}

/// Whether a system call filter is on this process.
pub(super) fn is_filtered() -> bool {
    status_field("Seccomp").is_some_and(|mode| mode == "2")
}

/// The value of a sysctl, by its path below `/proc/sys`.
pub(super) fn sysctl(path: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok().map(|text| text.trim().to_owned())
}

pub(super) fn checks() -> Vec<Check> {
    vec![user(), privileges(), container()]
}

fn user() -> Check {
    const NAME: &str = "user";
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return Check::degraded(
            NAME,
            format!(
                "user {}: all sandboxes run as this user, though each in a namespace of its own",
                uid.as_raw()
            ),
            "nothing needs to be done; as root every sandbox gets a host user of its own",
        );
    }
    let mapped = sandboxset_keeper::may_map_other_users();
    match mapped {
        true => Check::works(NAME, "root: every sandbox gets a host user of its own"),
        false => Check::degraded(
            NAME,
            "root of a user namespace with few users, or without CAP_SETUID: all sandboxes run as this user",
            "nothing needs to be done; start as root of the host, with CAP_SETUID and CAP_SETGID, for a host user \
             per sandbox",
        ),
    }
}

fn privileges() -> Check {
    const NAME: &str = "capabilities";
    let held = capabilities();
    let count = (0..=LAST).filter(|&capability| held.has(capability)).count();
    if !rustix::process::geteuid().is_root() {
        return Check::works(NAME, format!("{count} held; none is needed"));
    }
    let lacking: Vec<_> = NEEDED_BY_ROOT.iter().filter(|(capability, ..)| !held.has(*capability)).collect();
    if !lacking.is_empty() {
        let text: Vec<_> = lacking.iter().map(|(_, name, what)| format!("{name} ({what})")).collect();
        let names: Vec<_> = lacking.iter().map(|(_, name, _)| *name).collect();
        return Check::degraded(
            NAME,
            format!("root without {}", text.join(", ")),
            format!("start the process with {}, or as an ordinary user, who needs none", names.join(", ")),
        );
    }
    let lacks_resource =
        if held.has(SYS_RESOURCE) { "" } else { "; CAP_SYS_RESOURCE is not held and not needed" };
    Check::works(NAME, format!("root with {count} of {}{lacks_resource}", LAST + 1))
}

/// A guess: containers do not say what they are.
fn container() -> Check {
    let init_cgroup = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let engines = ["kubepods", "docker", "libpod", "containerd", "lxc", "garden"];
    let engine = engines.into_iter().find(|engine| init_cgroup.contains(engine));
    let marked = ["/.dockerenv", "/run/.containerenv"].into_iter().find(|file| Path::new(file).exists());
    let named = fs::read_to_string("/run/systemd/container").ok();
    let nested = init_cgroup.lines().any(|line| line.contains("/../"));
    let sign = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Some("KUBERNETES_SERVICE_HOST is set".to_owned())
    } else if let Some(file) = marked {
        Some(format!("{file} exists"))
    } else if let Some(name) = named {
        Some(format!("/run/systemd/container says {}", name.trim()))
    } else if let Some(engine) = engine {
        Some(format!("the cgroup of process 1 is one of {engine}"))
    } else {
        nested.then(|| "process 1 is outside this cgroup namespace".to_owned())
    };
    let mut detail =
        sign.map_or_else(|| "no sign of one".to_owned(), |sign| format!("probably inside one: {sign}"));
    if in_user_namespace() {
        detail += "; in a user namespace that does not know every user";
    }
    Check::works("container", detail)
}

fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let fields: Vec<&str> = map.split_whitespace().collect();
    !map.is_empty() && fields != ["0", "0", "4294967295"]
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
