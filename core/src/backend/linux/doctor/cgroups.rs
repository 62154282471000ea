//! Which of the worlds of cgroups this host is in, and what sandboxes get of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sandboxset_keeper::{CgroupPlan, Controller};

use super::super::cgroup::{self, World};
use super::Check;
use crate::{IsolationReport, LayerStatus};

/// How an ordinary user, and a container, come by cgroups of their own.
const DELEGATE: &str = "run the process in a cgroup that is its own: `systemd-run --user --scope -p Delegate=yes \
    COMMAND` or a unit with Delegate=yes; in a container mount cgroups writable: `docker run --cgroupns=private` \
    with `-v /sys/fs/cgroup:/sys/fs/cgroup:rw`, `podman run --cgroups=split`";

/// Only cgroups without processes give controllers to those below them.
const MAKE_ROOM: &str = "start the process in a cgroup below the delegated one: with DelegateSubgroup= in the unit \
    (systemd 254), or by a script that does `mkdir $CGROUP/host && echo $$ > $CGROUP/host/cgroup.procs` before it \
    executes the program; we never move it ourselves";

pub(super) fn checks(report: &IsolationReport) -> Vec<Check> {
    let (world, plan) = cgroup::survey();
    let mut checks = vec![describe(world, &plan)];
    for name in ["cgroup.freeze", "cgroup.kill", "memory", "pids", "cpu"] {
        checks.push(layer(name, report, &plan));
    }
    checks.push(swap(&plan));
    checks
}

fn describe(world: World, plan: &CgroupPlan) -> Check {
    const NAME: &str = "cgroup";
    let kind = match (world, &plan.unified) {
        (World::None, _) => "no cgroups are mounted",
        (World::V1, _) => "v1 only",
        (World::Hybrid, _) => "hybrid: v1 beside a v2 tree",
        (World::V2, Some(_)) if rustix::process::geteuid().is_root() => "pure v2, as root",
        (World::V2, Some(_)) => "pure v2, delegated",
        (World::V2, None) => "pure v2, not delegated",
    };
    let mut detail = kind.to_owned();
    if let Some(dir) = &plan.unified {
        let names: Vec<_> = plan.unified_controllers.iter().map(|controller| controller.name()).collect();
        let controllers = if names.is_empty() { "no controllers".to_owned() } else { names.join(", ") };
        detail += &format!("; {} with {controllers}", path(dir).display());
    }
    if !plan.v1.is_empty() {
        let names: Vec<_> = plan.v1.iter().map(|(controller, _)| controller.name()).collect();
        detail += &format!("; v1 with {}", names.join(", "));
    }
    if cgroup::is_occupied(plan) {
        return Check::degraded(NAME, detail + ", because this process, or another, sits in it", MAKE_ROOM);
    }
    let complete = plan.unified.is_some() && plan.unified_controllers.len() + plan.v1.len() == 3;
    if complete {
        return Check::works(NAME, detail);
    }
    if plan.unified.is_none() && plan.v1.is_empty() {
        detail += "; nothing is writable for this process";
    }
    Check::degraded(NAME, detail, fix(world))
}

fn fix(world: World) -> &'static str {
    match world {
        World::None => "mount cgroup v2: as root: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`",
        World::V1 if rustix::process::geteuid().is_root() => {
            "boot with systemd.unified_cgroup_hierarchy=1, or mount a cgroup v2 tree beside v1: \
             `mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
        }
        World::V2 => DELEGATE,
        World::V1 | World::Hybrid => {
            "start as root, with writable cgroups; or boot with systemd.unified_cgroup_hierarchy=1 and delegate"
        }
    }
}

fn layer(name: &'static str, report: &IsolationReport, plan: &CgroupPlan) -> Check {
    let Some(layer) = report.layer(name) else {
        return Check::missing(name, "the backend does not report it", "this is a defect of ours");
    };
    let controller_fix = match name {
        "cgroup.freeze" | "cgroup.kill" if plan.unified.is_some() => "run Linux 5.14 or newer".to_owned(),
        "cgroup.freeze" | "cgroup.kill" => "see cgroup: a writable cgroup v2 tree is wanted".to_owned(),
        _ => format!("see cgroup: a writable cgroup with the {name} controller is wanted"),
    };
    match layer.status {
        LayerStatus::Active => Check::works(name, layer.detail.clone()),
        LayerStatus::Degraded => Check::degraded(name, layer.detail.clone(), controller_fix),
        LayerStatus::Missing => Check::missing(name, layer.detail.clone(), controller_fix),
    }
}

/// Whether swap counts against a sandbox's memory.
fn swap(plan: &CgroupPlan) -> Check {
    const NAME: &str = "swap";
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    let no_swap = total.is_some_and(|rest| rest.trim().starts_with("0 "));
    let accounted = match plan.v1.iter().find(|(controller, _)| *controller == Controller::Memory) {
        Some((_, dir)) => path(dir).join("memory.memsw.limit_in_bytes").exists(),
        None => plan.unified_controllers.contains(&Controller::Memory) && v2_accounts_swap(plan),
    };
    match (accounted, no_swap) {
        (true, _) => Check::works(NAME, "counted"),
        (false, true) => Check::works(NAME, "not counted, and there is none"),
        (false, false) => Check::degraded(
            NAME,
            "not counted: a sandbox at its memory limit may go on in swap",
            "boot with swapaccount=1, see memory, or switch swap off as root: `swapoff -a`",
        ),
    }
}

/// Only a cgroup whose parent gives it the memory controller has the file, so one is looked for.
fn v2_accounts_swap(plan: &CgroupPlan) -> bool {
    let Some(dir) = &plan.unified else { return false };
    let has_file = |dir: &Path| dir.join("memory.swap.max").exists();
    if has_file(path(dir)) {
        return true;
    }
    let Ok(entries) = fs::read_dir(path(dir)) else { return false };
    let found = entries.flatten().any(|entry| has_file(&entry.path()));
    // Counting is the default of every kernel since 5.8 that was built with swap; where no cgroup shows it yet, the
    // boot option is what can have switched it off.
    found || !fs::read_to_string("/proc/cmdline").unwrap_or_default().contains("swapaccount=0")
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
