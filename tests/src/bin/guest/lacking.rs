//! Hosts that lack something: made, asked, and made whole again.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::thread::CapabilitySet;
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions, doctor};
use sandboxset::{Backend, CreateRequest, ErrorCode, SandboxId, SandboxSpec, ScratchDirs};
use sandboxset_tests::lacks::Lack;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::PROGRAM;
use crate::boot::run_command;
use crate::checks::HANG;

const CGROUPS: &str = "/sys/fs/cgroup";

/// What the root of a container keeps.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT);

/// Takes away what the host is to lack, lets a process ask, and gives it back.
pub(crate) fn try_one(lack: &Lack) {
    let sysctl = lack.sysctl.map(|path| Path::new("/proc/sys").join(path));
    let before = sysctl.as_ref().map(|path| fs::read_to_string(path).unwrap());
    sysctl.iter().for_each(|path| fs::write(path, "0").unwrap());
    if let Some(dir) = lack.covered {
        mount("tmpfs", dir, "tmpfs", MountFlags::RDONLY, None).unwrap();
    }
    if lack.contained {
        mount_remount(CGROUPS, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    }
    let held = run_command(Command::new(PROGRAM).arg0("contain").arg(lack.name)) == Some(0);
    println!("RESULT lacks {} {}", lack.name, if held { "ok" } else { "FAILED" });
    if lack.contained {
        mount_remount(CGROUPS, MountFlags::BIND, "").unwrap();
    }
    if let Some(dir) = lack.covered {
        unmount(dir, UnmountFlags::empty()).unwrap();
    }
    sysctl.iter().zip(&before).for_each(|(path, value)| fs::write(path, value).unwrap());
}

/// Becomes the process that asks: with as few rights as it is to have.
pub(crate) fn contain(name: &str) {
    let lack = Lack::named(name);
    if lack.contained {
        CapabilitySet::all().difference(KEPT).iter().for_each(|capability| {
            // A capability that this kernel does not know cannot be removed.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        });
    }
    if lack.filtered {
        filter();
    }
    let mut command = Command::new(PROGRAM);
    panic!("{}", command.arg0("ask").arg(name).uid(lack.uid).gid(lack.uid).exec());
}

/// Refuses what the filters of container engines refuse to processes without `CAP_SYS_ADMIN`.
fn filter() {
    let install = |calls: &[i64], rules: &[SeccompRule], errno: i32| {
        let rules = calls.iter().map(|call| (*call, rules.to_vec())).collect();
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let refuse = SeccompAction::Errno(errno as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
        let filter: seccompiler::BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&filter).unwrap();
    };
    let new_user = libc::CLONE_NEWUSER as u64;
    let flag = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(new_user), new_user);
    install(&[libc::SYS_clone], &[SeccompRule::new(vec![flag.unwrap()]).unwrap()], libc::EPERM);
    install(&[libc::SYS_clone3], &[], libc::ENOSYS);
    let admin = [
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_pivot_root,
        libc::SYS_setns,
        libc::SYS_umount2,
        libc::SYS_unshare,
    ];
    install(&admin, &[], libc::EPERM);
}

/// Asks the doctor and tries to make a sandbox.
pub(crate) fn ask(name: &str) {
    let lack = Lack::named(name);
    let found = doctor();
    for [name, status, detail, fix] in lack.says {
        let check = found.check(name).unwrap();
        assert_eq!(check.status.name(), *status, "{check:?}");
        assert!(check.detail.contains(detail) && check.fix.contains(fix), "{check:?}");
    }
    let request = CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + HANG,
    };
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    match backend.create(&request) {
        Ok(sandbox) => {
            sandbox.destroy().unwrap();
            assert!(lack.refusal.is_empty(), "a sandbox was made");
        }
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::Unsupported, "{error}");
            assert!(!lack.refusal.is_empty() && error.message().contains(lack.refusal), "{error}");
            assert!(error.message().contains("`sandboxset doctor` says how to fix it"), "{error}");
        }
    }
}
