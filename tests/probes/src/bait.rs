//! Things of the host that a probe may be after.

use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::sys::{address, call};

/// `bait DIR NAME`: lays them, prints where as lines of `key value`, and takes them away at the end of its input.
pub(crate) fn lay(arguments: &[String]) -> u8 {
    match try_to_lay(crate::argument(arguments, 0), crate::argument(arguments, 1)) {
        Ok(()) => 0,
        Err(error) => {
            println!("failed {error}");
            3
        }
    }
}

fn try_to_lay(dir: &str, name: &str) -> std::io::Result<()> {
    let kernel = std::io::Error::from_raw_os_error;
    let ipv4 = TcpListener::bind("127.0.0.1:0")?;
    println!("tcp4 {}", ipv4.local_addr()?.port());
    // A machine may be without it.
    let ipv6 = TcpListener::bind("[::1]:0");
    println!("tcp6 {}", ipv6.as_ref().map_or(0, |socket| socket.local_addr().map_or(0, |at| at.port())));
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    let socket = format!("{dir}/socket");
    let _path = UnixListener::bind(&socket)?;
    println!("socket {socket}");
    let shared = format!("/dev/shm/{name}");
    std::fs::write(&shared, "bait")?;
    println!("shm {shared}");
    let key = std::process::id() as usize;
    let segment = call(libc::SYS_shmget, &[key, 4096, (libc::IPC_CREAT | 0o666) as usize]).map_err(kernel)?;
    println!("sysv {key}");
    let queue = format!("{name}\0");
    let flags = (libc::O_CREAT | libc::O_RDWR) as usize;
    let opened = call(libc::SYS_mq_open, &[address(queue.as_bytes()), flags, 0o666, 0]);
    println!("mqueue {name}");
    println!("pid {}", std::process::id());
    println!("laid ");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    if opened.is_ok() {
        call(libc::SYS_mq_unlink, &[address(queue.as_bytes())]).map_err(kernel)?;
    }
    call(libc::SYS_shmctl, &[segment as usize, libc::IPC_RMID as usize, 0]).map_err(kernel)?;
    std::fs::remove_file(shared)
}
