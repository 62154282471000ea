//! A host that speaks the bare protocol with a keeper of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sandboxset_keeper::*;

pub(crate) struct Host {
    pub(crate) socket: OwnedFd,
    pub(crate) keeper: Child,
}

impl Host {
    pub(crate) fn start(cgroups: CgroupPlan) -> Self {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let keeper = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 </dev/null", env!("CARGO_BIN_EXE_sandboxset-keeper")])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let pidfd =
            pidfd_open(Pid::from_raw(std::process::id() as i32).unwrap(), PidfdFlags::empty()).unwrap();
        let owner = format!("{}-{}", Owner::current().unwrap(), keeper.id());
        let hello = ToKeeper::Hello(Hello { version: VERSION, owner, cgroups });
        send(&socket, &hello, &[pidfd.as_fd()]).unwrap();
        let (answer, _) = receive::<FromKeeper>(&socket).unwrap();
        assert!(
            matches!(&answer, FromKeeper::Hello { version: VERSION, cgroup_faults } if cgroup_faults.is_empty()),
            "{answer:?}"
        );
        Host { socket, keeper }
    }

    pub(crate) fn create(&self, create: Create) -> Result<(OwnedFd, OwnedFd, Vec<LayerReport>), Failure> {
        let id = create.id;
        send(&self.socket, &ToKeeper::Create(Box::new(create)), &[]).unwrap();
        match receive::<FromKeeper>(&self.socket).unwrap() {
            (FromKeeper::Created { id: created, report, .. }, mut fds) => {
                assert_eq!(created, id);
                Ok((fds.remove(0), fds.remove(0), report))
            }
            (FromKeeper::CreateFailed { failure, .. }, _) => Err(failure),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Ends the keeper by closing the socket, as the end of a host does.
    pub(crate) fn end(mut self) {
        drop(self.socket);
        assert!(self.keeper.wait().unwrap().success());
    }
}

pub(crate) fn plain(id: u64) -> Create {
    Create {
        id,
        root: Root::Host,
        code_dir: None,
        binds: Vec::new(),
        brings: Vec::new(),
        files: Vec::new(),
        limits: Limits {
            memory_bytes: 256 << 20,
            pids: 64,
            cpu_quota_us: None,
            scratch_bytes: 64 << 20,
            scratch_inodes: 4096,
            open_files: 1024,
            file_bytes: None,
        },
        disk_scratch: None,
        runtime: None,
        parent: None,
        parent_changed: false,
        off: Vec::new(),
        shells: Shells::default(),
        deadline_ms: 30_000,
    }
}
