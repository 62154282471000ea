//! Finding out where cgroups may be made.
//!
//! Freezing and killing need a v2 tree, even one without controllers, or at least the v1 freezer; each limit is taken
//! from v2 if its controller is there, else from the v1 hierarchy that has it. So pure v2, hybrid, v1 only and nothing at all are
//! not four cases but four outcomes of the same search.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use sandboxset_keeper::{CgroupPlan, Controller};

const CONTROLLERS: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

/// A mounted cgroup hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    mount_point: PathBuf,
    /// The cgroup that the mount shows as its root.
    root: PathBuf,
    /// The v1 controllers; none for v2.
    controllers: Vec<String>,
    v2: bool,
}

/// Which hierarchies are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum World {
    /// None.
    None,
    /// Only v1.
    V1,
    /// Controllers on v1, and a v2 tree beside them.
    Hybrid,
    /// Only v2.
    V2,
}

/// Says what is mounted, beside what [`detect`] says.
pub(in super::super) fn survey() -> (World, CgroupPlan) {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    (world(&parse_mountinfo(&mountinfo)), detect())
}

/// A named v1 hierarchy without controllers, as systemd has one, counts for nothing.
fn world(hierarchies: &[Hierarchy]) -> World {
    let v2 = hierarchies.iter().any(|hierarchy| hierarchy.v2);
    let has_ours = |hierarchy: &Hierarchy| {
        CONTROLLERS.iter().any(|ours| hierarchy.controllers.iter().any(|name| name == ours.name()))
    };
    match (v2, hierarchies.iter().any(has_ours)) {
        (false, false) => World::None,
        (false, true) => World::V1,
        (true, true) => World::Hybrid,
        (true, false) => World::V2,
    }
}

/// Looks at this process's cgroups and their files; changes nothing.
pub(in super::super) fn detect() -> CgroupPlan {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    plan(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

fn plan(mountinfo: &str, membership: &str) -> CgroupPlan {
    let hierarchies = parse_mountinfo(mountinfo);
    let mut plan = CgroupPlan::default();
    if let Some(v2) = hierarchies.iter().find(|hierarchy| hierarchy.v2)
        && let Some(own) = own_directory(v2, membership)
        && let Some((dir, controllers)) = best_v2_directory(&v2.mount_point, &own)
    {
        plan.unified = Some(dir.into_os_string().into_vec());
        plan.unified_controllers = controllers;
    }
    // First, because what is frozen cannot be removed from the others.
    let freezer = plan.unified.is_none().then_some(Controller::Freezer);
    for controller in freezer.into_iter().chain(CONTROLLERS) {
        if plan.unified_controllers.contains(&controller) {
            continue;
        }
        let has = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| name == controller.name());
        let Some(v1) = hierarchies.iter().find(has) else { continue };
        let Some(own) = own_directory(v1, membership) else { continue };
        if writable(&own) {
            plan.v1.push((controller, own.into_os_string().into_vec()));
        }
    }
    plan
}

/// The cgroup mounts among the lines of a `mountinfo`, in mount order.
fn parse_mountinfo(mountinfo: &str) -> Vec<Hierarchy> {
    let parse_line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let v2 = match *right.first()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = right.get(2).copied().unwrap_or_default();
        let controllers = if v2 { Vec::new() } else { options.split(',').map(str::to_owned).collect() };
        let (root, mount_point) = (unescape(left.get(3)?), unescape(left.get(4)?));
        Some(Hierarchy { mount_point, root, controllers, v2 })
    };
    mountinfo.lines().filter_map(parse_line).collect()
}

/// The kernel writes blanks, tabs, newlines and backslashes of a path as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = field.get(index + 1..index + 4).filter(|_| bytes[index] == b'\\');
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                index += 4;
            }
            None => {
                path.push(bytes[index]);
                index += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(path).into()
}

/// The directory of the cgroup that this process is in, if the mount shows it.
fn own_directory(hierarchy: &Hierarchy, membership: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = match hierarchy.v2 {
            true => number == "0" && controllers.is_empty(),
            false => {
                number != "0"
                    && controllers.split(',').any(|name| hierarchy.controllers.iter().any(|own| own == name))
            }
        };
        same.then_some(path)
    })?;
    let below = Path::new(path).strip_prefix(&hierarchy.root).ok()?;
    if below.components().any(|component| component == std::path::Component::ParentDir) {
        return None;
    }
    // Joining nothing would add a slash.
    let own = match below.as_os_str().is_empty() {
        true => hierarchy.mount_point.clone(),
        false => hierarchy.mount_point.join(below),
    };
    own.is_dir().then_some(own)
}

/// The own cgroup or the nearest one above it where cgroups may be made and every controller can be had; else the
/// nearest with the most controllers.
fn best_v2_directory(mount_point: &Path, own: &Path) -> Option<(PathBuf, Vec<Controller>)> {
    let mut best: Option<(PathBuf, Vec<Controller>)> = None;
    for dir in own.ancestors().take_while(|dir| dir.starts_with(mount_point)) {
        // To be born into a cgroup below, a process needs to write the list of the common ancestor.
        if !writable(dir) || !writable(&dir.join("cgroup.procs")) || !is_domain(dir) {
            continue;
        }
        let controllers = usable_controllers(dir);
        if best.as_ref().is_none_or(|(_, most)| controllers.len() > most.len()) {
            best = Some((dir.to_owned(), controllers));
        }
    }
    best
}

/// A threaded cgroup cannot have children with limits of their own. The root has no type file.
fn is_domain(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.type")).map_or(true, |kind| kind.trim() == "domain")
}

/// The controllers that children of `dir` have, or would have if we asked. A cgroup that holds processes cannot
/// give its children controllers, unless it is the root, which has no `cgroup.type`.
fn usable_controllers(dir: &Path) -> Vec<Controller> {
    let enabled = controllers_in(dir, "cgroup.subtree_control");
    let available = controllers_in(dir, "cgroup.controllers");
    let may_enable = !holds_processes(dir) && writable(&dir.join("cgroup.subtree_control"));
    let usable = |controller: &Controller| {
        enabled.contains(controller) || (may_enable && available.contains(controller))
    };
    CONTROLLERS.into_iter().filter(usable).collect()
}

/// Whether processes in the v2 directory are what keeps it from giving controllers to sandboxes.
pub(in super::super) fn is_occupied(plan: &CgroupPlan) -> bool {
    let Some(dir) = &plan.unified else { return false };
    let dir = Path::new(OsStr::from_bytes(dir));
    let available = controllers_in(dir, "cgroup.controllers");
    holds_processes(dir) && available.iter().any(|name| !plan.unified_controllers.contains(name))
}

/// Whether the rule that only leaves have processes binds a cgroup: never the root, which has no type file.
fn holds_processes(dir: &Path) -> bool {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    dir.join("cgroup.type").exists() && !procs.trim().is_empty()
}

fn controllers_in(dir: &Path, file: &str) -> Vec<Controller> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    let listed = |controller: &Controller| text.split_whitespace().any(|name| name == controller.name());
    CONTROLLERS.into_iter().filter(listed).collect()
}

fn writable(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory tree in place of a cgroup file system, removed with the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cgroup-plan-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Tree(path)
        }

        /// A v2 cgroup; `kind` is empty for a root.
        fn v2(&self, path: &str, kind: &str, procs: &str, controllers: &str, enabled: &str) {
            let dir = self.0.join(path);
            fs::create_dir_all(&dir).unwrap();
            if !kind.is_empty() {
                fs::write(dir.join("cgroup.type"), kind).unwrap();
            }
            fs::write(dir.join("cgroup.procs"), procs).unwrap();
            fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
            fs::write(dir.join("cgroup.subtree_control"), enabled).unwrap();
        }

        fn mounts(&self, lines: &[&str]) -> String {
            lines.iter().map(|line| line.replace("DIR", self.0.to_str().unwrap()) + "\n").collect()
        }

        fn bytes(&self, path: &str) -> Vec<u8> {
            self.0.join(path).into_os_string().into_vec()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const ALL: &str = "cpuset cpu io memory pids\n";

    #[test]
    fn pure_v2_uses_the_nearest_ancestor_that_may_give_every_controller() {
        let tree = Tree::new("v2");
        let mounts = tree.mounts(&["30 1 0:26 / DIR rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"]);
        tree.v2("", "", "1\n", ALL, "cpu memory pids");
        tree.v2("user/app/own", "domain\n", "77\n", ALL, "");
        tree.v2("user/app", "domain\n", "", ALL, "");
        tree.v2("user", "domain\n", "", ALL, "memory pids");
        let found = plan(&mounts, "0::/user/app/own\n");
        assert_eq!(found.unified, Some(tree.bytes("user/app")));
        assert_eq!(found.unified_controllers, CONTROLLERS);
        assert!(found.v1.is_empty());
    }

    #[test]
    fn a_cgroup_with_processes_still_serves_for_freezing() {
        let tree = Tree::new("busy");
        let mounts = tree.mounts(&["30 1 0:26 /docker/abc DIR rw - cgroup2 cgroup2 rw"]);
        tree.v2("own", "domain\n", "77\n", ALL, "");
        let found = plan(&mounts, "0::/docker/abc/own\n");
        assert_eq!(found.unified, Some(tree.bytes("own")));
        assert!(found.unified_controllers.is_empty());
        assert!(is_occupied(&found));
        fs::write(tree.0.join("own/cgroup.procs"), "").unwrap();
        assert!(!is_occupied(&found));
    }

    #[test]
    fn a_threaded_cgroup_is_passed_over() {
        let tree = Tree::new("threaded");
        let mounts = tree.mounts(&["30 1 0:26 / DIR rw - cgroup2 cgroup2 rw"]);
        tree.v2("", "", "", ALL, "pids");
        tree.v2("own", "threaded\n", "", ALL, "");
        let found = plan(&mounts, "0::/own\n");
        assert_eq!(found.unified, Some(tree.0.clone().into_os_string().into_vec()));
    }

    #[test]
    fn hybrid_takes_the_limits_from_v1() {
        let tree = Tree::new("hybrid");
        let mounts = tree.mounts(&[
            "32 31 0:29 / DIR/cpu rw,relatime - cgroup cgroup rw,cpu",
            "33 31 0:30 / DIR/cpuacct rw,relatime - cgroup cgroup rw,cpuacct",
            "35 31 0:32 / DIR/memory rw,relatime - cgroup cgroup rw,memory",
            "39 31 0:36 / DIR/pids rw,relatime - cgroup cgroup rw,pids",
            "41 31 0:38 / DIR/with\\040blank rw,relatime - cgroup2 cgroup2 rw",
        ]);
        tree.v2("with blank", "", "1\n", "", "");
        for dir in ["cpu", "cpuacct", "memory/a/b", "pids"] {
            fs::create_dir_all(tree.0.join(dir)).unwrap();
        }
        let found = plan(&mounts, "8:pids:/\n4:memory:/a/b\n2:cpuacct:/\n1:cpu:/\n0::/\n");
        assert_eq!(found.unified, Some(tree.bytes("with blank")));
        assert!(found.unified_controllers.is_empty());
        assert_eq!(
            found.v1,
            [
                (Controller::Memory, tree.bytes("memory/a/b")),
                (Controller::Pids, tree.bytes("pids")),
                (Controller::Cpu, tree.bytes("cpu")),
            ]
        );
    }

    #[test]
    fn every_world_is_told_from_the_others() {
        let of = |lines: &[&str]| world(&parse_mountinfo(&lines.join("\n")));
        let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let v2 = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let named = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert_eq!(of(&[]), World::None);
        assert_eq!(of(&[named]), World::None);
        assert_eq!(of(&[v1, named]), World::V1);
        assert_eq!(of(&[v1, v2]), World::Hybrid);
        assert_eq!(of(&[v2, named]), World::V2);
    }

    #[test]
    fn v1_only_and_nothing_at_all() {
        let tree = Tree::new("v1");
        let mounts =
            tree.mounts(&["35 31 0:32 / DIR/cpu,memory rw - cgroup cgroup rw,cpu,memory", "garbage", ""]);
        fs::create_dir_all(tree.0.join("cpu,memory/own")).unwrap();
        let found = plan(&mounts, "4:cpu,memory:/own\nnonsense\n0::/\n");
        assert_eq!(found.unified, None);
        let own = tree.bytes("cpu,memory/own");
        assert_eq!(found.v1, [(Controller::Memory, own.clone()), (Controller::Cpu, own)]);
        let mounts = tree.mounts(&["35 31 0:32 / DIR/cpu,memory rw - cgroup cgroup rw,cpu,freezer"]);
        let found = plan(&mounts, "4:cpu,freezer:/own\n");
        assert_eq!(
            found.v1.iter().map(|(controller, _)| *controller).collect::<Vec<_>>(),
            [Controller::Freezer, Controller::Cpu]
        );
        assert_eq!(plan("", ""), CgroupPlan::default());
        assert_eq!(plan(&mounts, "4:cpu,memory:/elsewhere\n"), CgroupPlan::default());
    }
}
