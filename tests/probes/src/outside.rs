//! Whoever listens outside.

use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::sys::{address, address_mut, call};
use crate::{Verdict, argument, number};

const PATIENCE: Duration = Duration::from_secs(5);

fn connect(address: SocketAddr) -> Verdict {
    Verdict::refused(
        &format!("connect to {address}"),
        TcpStream::connect_timeout(&address, PATIENCE).map(drop),
    )
}

/// `tcp4 PORT` of the host's loopback interface.
pub(crate) fn tcp4(arguments: &[String]) -> Verdict {
    connect(([127, 0, 0, 1], number(arguments, 0) as u16).into())
}

/// `tcp6 PORT`, the same.
pub(crate) fn tcp6(arguments: &[String]) -> Verdict {
    if number(arguments, 0) == 0 {
        println!("this machine has no IPv6 loopback interface");
        return Verdict::NotApplicable;
    }
    connect(([0, 0, 0, 0, 0, 0, 0, 1], number(arguments, 0) as u16).into())
}

/// Where clouds hand out credentials.
pub(crate) fn metadata(_: &[String]) -> Verdict {
    connect(([169, 254, 169, 254], 80).into())
}

/// `abstract-socket NAME`: without a network namespace it would be there.
pub(crate) fn abstract_socket(arguments: &[String]) -> Verdict {
    let name = std::os::unix::net::SocketAddr::from_abstract_name(argument(arguments, 0));
    Verdict::refused(
        "connect to an abstract socket",
        name.and_then(|name| UnixStream::connect_addr(&name)).map(drop),
    )
}

/// `path-socket PATH…`: daemons of the host.
pub(crate) fn path_socket(arguments: &[String]) -> Verdict {
    Verdict::worst(arguments.iter().map(|path| Verdict::refused(path, UnixStream::connect(path).map(drop))))
}

fn netlink_socket() -> Result<usize, i32> {
    call(libc::SYS_socket, &[libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0]).map(|fd| fd as usize)
}

/// Sends a request to the network stack; the error that it answers, or what kind of message.
fn ask(body: &[u8], kind: u16, flags: u16) -> Result<i64, i32> {
    let link = netlink_socket()?;
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    call(libc::SYS_sendto, &[link, address(&*message), message.len(), 0, 0, 0])?;
    let mut answer = [0u8; 8192];
    call(libc::SYS_recvfrom, &[link, address_mut(&mut answer), answer.len(), 0, 0, 0])?;
    let answered = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if answered == 2 && code != 0 { Err(-code) } else { Ok(i64::from(answered)) }
}

/// The list of the interfaces: RTM_GETLINK as a dump.
pub(crate) fn netlink(_: &[String]) -> Verdict {
    Verdict::refused("list the interfaces", ask(&[0; 16], 18, 0x301))
}

/// A new address: RTM_NEWADDR, 10.1.2.3/8 on interface 1, with an answer.
pub(crate) fn netlink_change(_: &[String]) -> Verdict {
    let body = [2, 8, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0, 10, 1, 2, 3];
    Verdict::refused("add an address", ask(&body, 20, 0x605))
}

/// `sysv KEY`: a shared memory segment.
pub(crate) fn sysv(arguments: &[String]) -> Verdict {
    Verdict::refused("find a segment of the host", call(libc::SYS_shmget, &[number(arguments, 0), 0, 0]))
}

/// `mqueue NAME`: a message queue.
pub(crate) fn mqueue(arguments: &[String]) -> Verdict {
    let name = format!("{}\0", argument(arguments, 0));
    Verdict::refused(
        "open a queue of the host",
        call(libc::SYS_mq_open, &[address(name.as_bytes()), 0, 0, 0]),
    )
}

/// `host-name NAME`: ours is another.
pub(crate) fn host_name(arguments: &[String]) -> Verdict {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Verdict::holds(&format!("the host name is {:?}", name.trim()), name.trim() != argument(arguments, 0))
}
