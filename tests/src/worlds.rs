//! The worlds of cgroups that hosts live in, each of which a guest is booted into, and what a host process gets
//! there. The tests outside and the program inside read the same table.

/// One kind of host.
#[derive(Debug)]
pub struct World {
    /// Its name, which the guest gets as its argument.
    pub name: &'static str,
    /// The controllers that are mounted as v1 hierarchies, one mount each, below `/sys/fs/cgroup`.
    pub v1: &'static [&'static str],
    /// Where the v2 tree is mounted, if it is.
    pub v2: Option<&'static str>,
    /// The host processes that are tried in it, one after the other.
    pub actors: &'static [Actor],
}

/// A host process in a world, and what it must find there.
#[derive(Debug)]
pub struct Actor {
    /// Its name.
    pub name: &'static str,
    /// Its user and group.
    pub uid: u32,
    /// The cgroup of each mounted tree that it is put into.
    pub cgroup: &'static str,
    /// The cgroup that is handed to its user in every tree, as systemd does for `Delegate=yes` in those that it can.
    pub delegated: Option<&'static str>,
    /// What it goes through, in this order; each is a function in the guest.
    pub checks: &'static [&'static str],
    /// What the doctor says of its cgroups.
    pub cgroups: &'static str,
    /// What it must do about them, in the doctor's words; empty if nothing.
    pub fix: &'static str,
    /// How it pauses.
    pub freeze: Means,
    /// How each limit is enforced.
    pub memory: Means,
    /// See `memory`.
    pub pids: Means,
    /// See `memory`.
    pub cpu: Means,
}

/// By what means something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A cgroup of the v2 tree.
    V2,
    /// A cgroup of a v1 hierarchy.
    V1,
    /// No cgroup.
    Weaker,
}

use Means::{V1, V2, Weaker};

/// Everything.
const ALL: &[&str] = &[
    "report",
    "doctor",
    "exec",
    "memory",
    "pids",
    "cpu",
    "kill_bomb",
    "pause",
    "reset",
    "destroy_bomb",
    "destroy_paused",
    "keeper_killed",
    "host_killed",
    "host_and_keeper_killed",
    "nothing_moved",
    "nothing_left",
];

/// For those for whom the host does what it does for others in full.
const FEW: &[&str] = &["report", "doctor", "exec", "pause", "nothing_moved", "nothing_left"];

const ROOT: u32 = 0;
const ORDINARY: u32 = 1000;

const LIMITS: &[&str] = &["memory", "pids", "cpu"];

/// Every world.
pub const WORLDS: &[World] = &[
    World {
        name: "v2",
        v1: &[],
        v2: Some("/sys/fs/cgroup"),
        actors: &[
            Actor {
                name: "root",
                uid: ROOT,
                cgroup: "",
                delegated: None,
                checks: ALL,
                cgroups: "pure v2, as root; /sys/fs/cgroup with memory, pids, cpu",
                fix: "",
                freeze: V2,
                memory: V2,
                pids: V2,
                cpu: V2,
            },
            // Its own cgroup has a process, so it uses the one above, which is the machine's.
            Actor {
                name: "service",
                uid: ROOT,
                cgroup: "system/service",
                delegated: None,
                checks: FEW,
                cgroups: "pure v2, as root; /sys/fs/cgroup/system with memory, pids, cpu",
                fix: "",
                freeze: V2,
                memory: V2,
                pids: V2,
                cpu: V2,
            },
            Actor {
                name: "delegated",
                uid: ORDINARY,
                cgroup: "user/app/host",
                delegated: Some("user/app"),
                checks: ALL,
                cgroups: "pure v2, delegated; /sys/fs/cgroup/user/app with memory, pids, cpu",
                fix: "",
                freeze: V2,
                memory: V2,
                pids: V2,
                cpu: V2,
            },
            // It sits in the very cgroup that it was given, which then cannot give controllers to others.
            Actor {
                name: "in_the_way",
                uid: ORDINARY,
                cgroup: "user/busy",
                delegated: Some("user/busy"),
                checks: FEW,
                cgroups: "pure v2, delegated; /sys/fs/cgroup/user/busy with no controllers",
                fix: "DelegateSubgroup=",
                freeze: V2,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
            Actor {
                name: "ordinary",
                uid: ORDINARY,
                cgroup: "user/other",
                delegated: None,
                checks: FEW,
                cgroups: "pure v2, not delegated; nothing is writable for this process",
                fix: "Delegate=yes",
                freeze: Weaker,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
        ],
    },
    World {
        name: "hybrid",
        v1: LIMITS,
        v2: Some("/sys/fs/cgroup/unified"),
        actors: &[
            Actor {
                name: "root",
                uid: ROOT,
                cgroup: "",
                delegated: None,
                checks: ALL,
                cgroups: "hybrid: v1 beside a v2 tree; /sys/fs/cgroup/unified with no controllers; v1 with memory, pids, cpu",
                fix: "",
                freeze: V2,
                memory: V1,
                pids: V1,
                cpu: V1,
            },
            Actor {
                name: "delegated",
                uid: ORDINARY,
                cgroup: "app/host",
                delegated: Some("app"),
                checks: FEW,
                cgroups: "hybrid: v1 beside a v2 tree; /sys/fs/cgroup/unified/app/host with no controllers; v1 with memory, pids, cpu",
                fix: "",
                freeze: V2,
                memory: V1,
                pids: V1,
                cpu: V1,
            },
            Actor {
                name: "ordinary",
                uid: ORDINARY,
                cgroup: "user",
                delegated: None,
                checks: FEW,
                cgroups: "hybrid: v1 beside a v2 tree; nothing is writable for this process",
                fix: "start as root",
                freeze: Weaker,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
        ],
    },
    World {
        name: "v1",
        v1: &["memory", "pids", "cpu,freezer"],
        v2: None,
        actors: &[
            Actor {
                name: "root",
                uid: ROOT,
                cgroup: "",
                delegated: None,
                checks: ALL,
                cgroups: "v1 only; v1 with freezer, memory, pids, cpu",
                fix: "mount a cgroup v2 tree beside v1",
                freeze: V1,
                memory: V1,
                pids: V1,
                cpu: V1,
            },
            Actor {
                name: "delegated",
                uid: ORDINARY,
                cgroup: "app/host",
                delegated: Some("app"),
                checks: ALL,
                cgroups: "v1 only; v1 with freezer, memory, pids, cpu",
                fix: "start as root",
                freeze: V1,
                memory: V1,
                pids: V1,
                cpu: V1,
            },
            Actor {
                name: "ordinary",
                uid: ORDINARY,
                cgroup: "user",
                delegated: None,
                checks: FEW,
                cgroups: "v1 only; nothing is writable for this process",
                fix: "start as root",
                freeze: Weaker,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
        ],
    },
    World {
        name: "none",
        v1: &[],
        v2: None,
        actors: &[
            Actor {
                name: "root",
                uid: ROOT,
                cgroup: "",
                delegated: None,
                checks: ALL,
                cgroups: "no cgroups are mounted; nothing is writable for this process",
                fix: "mount -t cgroup2",
                freeze: Weaker,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
            Actor {
                name: "ordinary",
                uid: ORDINARY,
                cgroup: "",
                delegated: None,
                checks: FEW,
                cgroups: "no cgroups are mounted; nothing is writable for this process",
                fix: "mount -t cgroup2",
                freeze: Weaker,
                memory: Weaker,
                pids: Weaker,
                cpu: Weaker,
            },
        ],
    },
];

impl World {
    /// The world of this name.
    pub fn named(name: &str) -> &'static World {
        WORLDS.iter().find(|world| world.name == name).unwrap_or_else(|| panic!("there is no world {name}"))
    }

    /// The mount points of its cgroup trees.
    pub fn trees(&self) -> Vec<String> {
        let v1 = self.v1.iter().map(|controller| format!("/sys/fs/cgroup/{controller}"));
        v1.chain(self.v2.map(str::to_owned)).collect()
    }

    /// The actor of this name.
    pub fn actor(&self, name: &str) -> &'static Actor {
        let actors: &'static [Actor] = Self::named(self.name).actors;
        actors.iter().find(|actor| actor.name == name).unwrap_or_else(|| panic!("there is no actor {name}"))
    }
}

impl Actor {
    /// Whether anything of it has a cgroup.
    pub fn has_cgroups(&self) -> bool {
        [self.freeze, self.memory, self.pids, self.cpu].iter().any(|means| *means != Weaker)
    }
}
