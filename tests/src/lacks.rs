//! Hosts that lack something, each made in a guest for a moment, and what is said there. The tests outside and the
//! program inside read the same table.

/// A host that lacks something.
#[derive(Debug)]
pub struct Lack {
    /// Its name.
    pub name: &'static str,
    /// The user who asks, and that user's group.
    pub uid: u32,
    /// A sysctl, by its path below `/proc/sys`, that is 0.
    pub sysctl: Option<&'static str>,
    /// A directory that is covered.
    pub covered: Option<&'static str>,
    /// Whether the process is in something like a container: root with few capabilities, cgroups read-only.
    pub contained: bool,
    /// Whether it has a filter like those of container engines.
    pub filtered: bool,
    /// Names of the doctor's checks, and what each must say: status, detail, fix.
    pub says: &'static [[&'static str; 4]],
    /// What is in the error of a create; empty if it works.
    pub refusal: &'static str,
}

const ROOT: u32 = 0;
const ORDINARY: u32 = 1000;

/// A host that lacks nothing.
const COMPLETE: Lack = Lack {
    name: "nothing",
    uid: ORDINARY,
    sysctl: None,
    covered: None,
    contained: false,
    filtered: false,
    says: &[],
    refusal: "",
};

/// Every such host; the first and the one for root are the controls.
pub const LACKS: &[Lack] = &[
    Lack {
        says: &[["namespace.user", "works", "made one", ""], ["sandbox", "works", "created in", ""]],
        ..COMPLETE
    },
    Lack {
        name: "user_namespaces",
        sysctl: Some("user/max_user_namespaces"),
        says: &[
            [
                "namespace.user",
                "missing",
                "user.max_user_namespaces is 0",
                "sysctl -w user.max_user_namespaces=15000",
            ],
            ["sandbox", "missing", "user.max_user_namespaces is 0", "see the lines above"],
        ],
        refusal: "user.max_user_namespaces is 0",
        ..COMPLETE
    },
    // Debian's own switch, which other kernels do not have.
    Lack {
        name: "user_namespaces_of_ordinary_users",
        sysctl: Some("kernel/unprivileged_userns_clone"),
        says: &[
            [
                "namespace.user",
                "missing",
                "only root may make user namespaces: kernel.unprivileged_userns_clone is 0",
                "sysctl -w kernel.unprivileged_userns_clone=1",
            ],
            ["sandbox", "missing", "kernel.unprivileged_userns_clone is 0", "see the lines above"],
        ],
        refusal: "kernel.unprivileged_userns_clone is 0",
        ..COMPLETE
    },
    Lack {
        name: "nothing_for_root",
        uid: ROOT,
        sysctl: Some("kernel/unprivileged_userns_clone"),
        says: &[["namespace.user", "works", "made one", ""], ["sandbox", "works", "created in", ""]],
        ..COMPLETE
    },
    Lack {
        name: "uncovered_proc",
        uid: ROOT,
        covered: Some("/proc/acpi"),
        contained: true,
        says: &[
            ["proc", "missing", "parts of this process's own /proc are covered", "systempaths=unconfined"],
            ["sandbox", "missing", "are covered", "see the lines above"],
        ],
        refusal: "parts of this process's own /proc are covered",
        ..COMPLETE
    },
    Lack {
        name: "writable_cgroups",
        uid: ROOT,
        contained: true,
        says: &[
            ["cgroup", "degraded", "nothing is writable for this process", "mount cgroups writable"],
            ["cgroup.freeze", "degraded", "by signal", "see cgroup"],
            ["memory", "degraded", "each process only", "see cgroup"],
            ["sandbox", "works", "created in", ""],
        ],
        ..COMPLETE
    },
    Lack {
        name: "system_calls",
        uid: ROOT,
        contained: true,
        filtered: true,
        says: &[
            ["namespace.user", "missing", "a system call filter (seccomp)", "seccomp=unconfined"],
            ["clone3", "missing", "a system call filter (seccomp)", "seccomp=unconfined"],
            ["mount_api", "missing", "a system call filter (seccomp)", "seccomp=unconfined"],
            ["sandbox", "missing", "a system call filter (seccomp)", "see the lines above"],
        ],
        refusal: "a system call filter (seccomp)",
        ..COMPLETE
    },
];

impl Lack {
    /// The host of this name.
    pub fn named(name: &str) -> &'static Lack {
        LACKS.iter().find(|lack| lack.name == name).unwrap_or_else(|| panic!("no host lacks {name}"))
    }
}
