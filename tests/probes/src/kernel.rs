//! Doors into the kernel.

use std::fs;
use std::os::fd::AsRawFd;

use crate::sys::{address, address_mut, call as system_call, clone, exit, in_child, wait};
use crate::{Verdict, argument};

const NAMESPACES: &[(&str, i32)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
    ("user and all", 0x7e02_0080),
];

pub(crate) fn userns_unshare(_: &[String]) -> Verdict {
    Verdict::worst(NAMESPACES.iter().map(|&(name, flag)| {
        in_child(|| {
            Verdict::refused(&format!("unshare {name}"), system_call(libc::SYS_unshare, &[flag as usize]))
        })
    }))
}

pub(crate) fn userns_clone(_: &[String]) -> Verdict {
    // In the low byte is the signal, so the time namespace is not for clone.
    let flags = NAMESPACES.iter().filter(|(_, flag)| flag & 0xff == 0);
    Verdict::worst(flags.map(|&(name, flag)| {
        let cloned = clone(flag as usize);
        match cloned {
            Ok(None) => exit(0),
            Ok(Some(child)) => drop(wait(child)),
            Err(_) => {}
        }
        Verdict::refused(&format!("clone {name}"), cloned)
    }))
}

/// Its flags are in memory, where a filter cannot see them, so it must not be there at all.
pub(crate) fn userns_clone3(_: &[String]) -> Verdict {
    Verdict::worst(NAMESPACES.iter().chain(&[("nothing", 0)]).map(|&(name, flag)| {
        // struct clone_args: flags first, the exit signal fifth.
        let mut arguments = [0u64; 11];
        arguments[0] = flag as u32 as u64;
        arguments[4] = libc::SIGCHLD as u64;
        let cloned = system_call(libc::SYS_clone3, &[address(&arguments), size_of_val(&arguments)]);
        match cloned {
            Ok(0) => exit(0),
            Ok(child) => drop(wait(child as i32)),
            Err(_) => {}
        }
        Verdict::refused(&format!("clone3 {name}"), cloned)
    }))
}

/// The number of user namespaces that may be made; nothing is written.
pub(crate) fn userns_sysctl(_: &[String]) -> Verdict {
    let path = "/proc/sys/user/max_user_namespaces";
    Verdict::refused(path, fs::OpenOptions::new().write(true).open(path))
}

pub(crate) fn setns(_: &[String]) -> Verdict {
    let names = ["uts", "ipc", "net", "mnt", "cgroup", "pid", "user", "time"];
    let own = names.iter().map(|name| format!("/proc/self/ns/{name}"));
    let init = names.iter().map(|name| format!("/proc/1/ns/{name}"));
    let by_file = own.chain(init).map(|path| match fs::File::open(&path) {
        Ok(file) => in_child(|| {
            let fd = file.as_raw_fd() as usize;
            Verdict::refused(&format!("enter {path}"), system_call(libc::SYS_setns, &[fd, 0]))
        }),
        Err(error) => Verdict::refused::<(), _>(&format!("open {path}"), Err(error)),
    });
    Verdict::worst(by_file)
}

/// A tmpfs by the old and the new calls, a bind, another root.
pub(crate) fn mounts(_: &[String]) -> Verdict {
    let (kind, place, root) =
        (c"tmpfs".to_bytes_with_nul(), c"/tmp".to_bytes_with_nul(), c"/".to_bytes_with_nul());
    let current = libc::AT_FDCWD as usize;
    let attempts: [(&str, libc::c_long, Vec<usize>); 6] = [
        ("fsopen", libc::SYS_fsopen, vec![address(kind), 0]),
        ("open_tree", libc::SYS_open_tree, vec![current, address(root), 1]),
        ("bind", libc::SYS_mount, vec![address(root), address(place), 0, libc::MS_BIND as usize, 0]),
        ("tmpfs", libc::SYS_mount, vec![address(kind), address(place), address(kind), 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, vec![address(place), address(place)]),
        ("chroot", libc::SYS_chroot, vec![address(place)]),
    ];
    Verdict::worst(attempts.map(|(name, number, arguments)| {
        in_child(|| Verdict::refused(name, system_call(number, &arguments)))
    }))
}

/// A number that nobody may know: refused, absent, or deadly.
fn unknown(number: libc::c_long) -> Verdict {
    in_child(|| match system_call(number, &[]) {
        Err(libc::EPERM | libc::ENOSYS) => Verdict::Blocked,
        other => Verdict::holds(&format!("call {number:#x} answered {other:?}"), false),
    })
}

/// `syscall-sweep [first]`: calls newer than the policy, of which a filter by names knows nothing. As control only
/// up to the first that is there.
pub(crate) fn syscall_sweep(arguments: &[String]) -> Verdict {
    for number in libc::SYS_mseal + 1..=600 {
        if unknown(number) == Verdict::Escaped {
            return Verdict::Escaped;
        }
    }
    println!("calls {} to 600 are absent {}", libc::SYS_mseal + 1, argument(arguments, 0));
    Verdict::Blocked
}

/// The numbers of the x32 calls, which are those of the 64-bit ones with another bit.
pub(crate) fn x32(_: &[String]) -> Verdict {
    Verdict::worst((0..=600).map(|number| unknown(0x4000_0000 | number)))
}

/// System calls that must be refused whatever their arguments, which here are zeros.
#[rustfmt::skip]
const CALLS: &[(&str, libc::c_long)] = &[
    ("acct", libc::SYS_acct), ("add_key", libc::SYS_add_key), ("adjtimex", libc::SYS_adjtimex), ("bpf", libc::SYS_bpf),
    ("chroot", libc::SYS_chroot), ("clock_adjtime", libc::SYS_clock_adjtime), ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module), ("fanotify_init", libc::SYS_fanotify_init),
    ("fanotify_mark", libc::SYS_fanotify_mark), ("finit_module", libc::SYS_finit_module), ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount), ("fsopen", libc::SYS_fsopen), ("fspick", libc::SYS_fspick),
    ("get_mempolicy", libc::SYS_get_mempolicy), ("init_module", libc::SYS_init_module),
    ("io_setup", libc::SYS_io_setup), ("io_submit", libc::SYS_io_submit),
    ("io_uring_enter", libc::SYS_io_uring_enter), ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup), ("kcmp", libc::SYS_kcmp),
    ("kexec_load", libc::SYS_kexec_load), ("keyctl", libc::SYS_keyctl), ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("mbind", libc::SYS_mbind), ("memfd_secret", 447), ("migrate_pages", libc::SYS_migrate_pages), ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr), ("move_mount", libc::SYS_move_mount), ("move_pages", libc::SYS_move_pages),
    ("name_to_handle_at", libc::SYS_name_to_handle_at), ("nfsservctl", libc::SYS_nfsservctl),
    ("open_by_handle_at", libc::SYS_open_by_handle_at), ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open), ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pivot_root", libc::SYS_pivot_root), ("process_madvise", libc::SYS_process_madvise),
    ("process_vm_readv", libc::SYS_process_vm_readv), ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace), ("quotactl", libc::SYS_quotactl), ("quotactl_fd", libc::SYS_quotactl_fd),
    ("reboot", libc::SYS_reboot), ("request_key", libc::SYS_request_key), ("set_mempolicy", libc::SYS_set_mempolicy),
    ("setdomainname", libc::SYS_setdomainname), ("sethostname", libc::SYS_sethostname), ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday), ("swapoff", libc::SYS_swapoff), ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog), ("umount2", libc::SYS_umount2), ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd), ("vhangup", libc::SYS_vhangup),
    #[cfg(target_arch = "x86_64")]
    ("_sysctl", libc::SYS__sysctl),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl),
    #[cfg(target_arch = "x86_64")]
    ("kexec_file_load", libc::SYS_kexec_file_load),
    #[cfg(target_arch = "x86_64")]
    ("modify_ldt", libc::SYS_modify_ldt),
    #[cfg(target_arch = "x86_64")]
    ("uselib", libc::SYS_uselib),
    #[cfg(target_arch = "x86_64")]
    ("ustat", libc::SYS_ustat),
];

/// `call NAME`: the filter's own answer, and not that of a kernel that is merely not happy with the zeros.
pub(crate) fn call(arguments: &[String]) -> Verdict {
    let name = argument(arguments, 0);
    if name == "list" {
        CALLS.iter().for_each(|(name, _)| println!("{name}"));
        return Verdict::Blocked;
    }
    let Some(&(_, number)) = CALLS.iter().find(|(known, _)| *known == name) else {
        println!("{name} is no call of this architecture");
        return Verdict::NotApplicable;
    };
    in_child(|| match system_call(number, &[]) {
        Err(errno @ (libc::EPERM | libc::ENOSYS)) => Verdict::refused::<(), _>(name, Err(errno)),
        other => Verdict::holds(&format!("{name} answered {other:?}"), false),
    })
}

/// A key in a keyring of this process only; and one of the host's user.
pub(crate) fn keyring(_: &[String]) -> Verdict {
    let (kind, name) = (c"user".to_bytes_with_nul(), c"probe".to_bytes_with_nul());
    let process_keyring = -2isize as usize;
    let user_keyring = -4isize as usize;
    let added =
        system_call(libc::SYS_add_key, &[address(kind), address(name), address(b"x"), 1, process_keyring]);
    Verdict::worst([
        Verdict::refused("add a key", added),
        Verdict::refused("find the user's keyring", system_call(libc::SYS_keyctl, &[0, user_keyring, 0])),
    ])
}

pub(crate) fn bpf(_: &[String]) -> Verdict {
    // BPF_MAP_CREATE of an array: type, key size, value size, entries, flags.
    let attributes = [2u32, 4, 4, 1, 0, 0, 0, 0];
    Verdict::refused(
        "make a map",
        system_call(libc::SYS_bpf, &[0, address(&attributes), size_of_val(&attributes)]),
    )
}

pub(crate) fn perf(_: &[String]) -> Verdict {
    // struct perf_event_attr: type software, its size, config dummy; then exclude_kernel and exclude_hv.
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (128 << 32);
    attributes[1] = 9;
    attributes[5] = (1 << 5) | (1 << 6);
    let own_thread = [address(&attributes), 0, usize::MAX, usize::MAX, 0];
    Verdict::refused("count an event", system_call(libc::SYS_perf_event_open, &own_thread))
}

/// Must look absent, so that libraries fall back.
pub(crate) fn io_uring(_: &[String]) -> Verdict {
    let mut parameters = [0u8; 256];
    let made = system_call(libc::SYS_io_uring_setup, &[1, address_mut(&mut parameters)]);
    Verdict::holds(&format!("io_uring is absent: {made:?}"), made == Err(libc::ENOSYS))
}

pub(crate) fn userfaultfd(_: &[String]) -> Verdict {
    let device = fs::File::open("/dev/userfaultfd");
    Verdict::worst([
        Verdict::refused("user mode only", system_call(libc::SYS_userfaultfd, &[1])),
        Verdict::refused("kernel mode too", system_call(libc::SYS_userfaultfd, &[0])),
        Verdict::refused("the device", device),
    ])
}

/// Every family of every type: only AF_UNIX. The first that is there is enough, so that no control loads a module.
pub(crate) fn sockets(_: &[String]) -> Verdict {
    let mut refused = 0;
    for family in (0..64).filter(|&family| family != libc::AF_UNIX as usize) {
        for kind in [1, 2, 3, 4, 5, 6, 10] {
            for protocol in [0, 1, 6, 17, 132, 262] {
                for number in [libc::SYS_socket, libc::SYS_socketpair] {
                    let mut pair = [0i32; 2];
                    // The high half is not looked at by the kernel, nor may it be by the filter.
                    for high in [0, 1 << 32] {
                        let arguments = [family | high, kind, protocol, address_mut(&mut pair)];
                        match system_call(number, &arguments) {
                            Err(libc::EPERM) => refused += 1,
                            // The kernel answered, not the filter.
                            other => {
                                let what = format!("family {family} type {kind} answered {other:?}");
                                return Verdict::holds(&what, false);
                            }
                        }
                    }
                }
            }
        }
    }
    Verdict::holds(&format!("{refused} combinations are refused"), refused > 0)
}

/// A 32-bit call, which has other numbers.
pub(crate) fn int80(_: &[String]) -> Verdict {
    #[cfg(target_arch = "x86_64")]
    {
        match crate::sys::fork() {
            Ok(None) => {
                let answered = crate::sys::getpid_by_int80();
                exit(u8::from(answered > 0))
            }
            Ok(Some(child)) => {
                let status = wait(child);
                if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS {
                    println!("refused: killed by SIGSYS");
                    return Verdict::Blocked;
                }
                if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1 {
                    return Verdict::holds("int 0x80", false);
                }
                println!("this kernel has no 32-bit calls: {status:#x}");
                Verdict::NotApplicable
            }
            Err(_) => Verdict::NotApplicable,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        println!("this architecture has none");
        Verdict::NotApplicable
    }
}

pub(crate) fn hostname(_: &[String]) -> Verdict {
    let name = b"taken";
    Verdict::worst([
        Verdict::refused("set the name", system_call(libc::SYS_sethostname, &[address(name), name.len()])),
        Verdict::refused(
            "set the domain",
            system_call(libc::SYS_setdomainname, &[address(name), name.len()]),
        ),
    ])
}
