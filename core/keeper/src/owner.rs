//! Who owns a resource that outlived its process.

use std::path::Path;
use std::{fmt, fs, io};

use rustix::io::Errno;

/// Identifies a process for ever: the boot, the process id and the start time. A process id alone is reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The boot id without dashes; in a pid namespace other than the first, its last digits are mixed with the
    /// number of the namespace, because there the same pids mean other processes.
    boot_id: String,
    pid: u32,
    /// In clock ticks since boot, as `/proc/PID/stat` has it.
    start_time: u64,
}

const PROC: &str = "/proc";
const ENOENT: i32 = Errno::NOENT.raw_os_error();
const ESRCH: i32 = Errno::SRCH.raw_os_error();
/// What every name that we give to a resource begins with.
const PREFIX: &str = "sandboxset";
/// The digits of the boot id that are the same in every pid namespace.
const BOOT_DIGITS: usize = 24;
/// The number that the kernel gives to the first pid namespace.
const FIRST_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

impl Owner {
    /// The calling process.
    pub fn current() -> io::Result<Self> {
        let pid = std::process::id();
        let start_time = start_time(Path::new(PROC), pid)?
            .ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        Ok(Owner { boot_id: boot_id()?, pid, start_time })
    }

    /// Reads the owner from a name that begins with its [`Owner`] display form, alone or followed by `-` and more.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(5, '-');
        if parts.next()? != PREFIX {
            return None;
        }
        let boot_id = parts.next()?;
        if boot_id.len() != 32 || !boot_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let pid = parts.next()?.parse().ok()?;
        let start_time = parts.next()?.parse().ok()?;
        Some(Owner { boot_id: boot_id.to_owned(), pid, start_time })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the owner is certainly gone. In doubt it is not.
    pub fn is_dead(&self) -> bool {
        let Ok(boot_id) = boot_id() else { return false };
        if self.boot_id != boot_id {
            // Of the same boot but another pid namespace it cannot be seen from here.
            return self.boot_id[..BOOT_DIGITS] != boot_id[..BOOT_DIGITS];
        }
        self.is_missing_in(Path::new(PROC))
    }

    /// Without a /proc that shows ourselves, that it does not show the owner means nothing; and an error, as of a
    /// machine that has too few descriptors, says nothing at all.
    fn is_missing_in(&self, proc: &Path) -> bool {
        match (start_time(proc, std::process::id()), start_time(proc, self.pid)) {
            (Ok(Some(_)), Ok(found)) => found != Some(self.start_time),
            _ => false,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}-{}", self.boot_id, self.pid, self.start_time)
    }
}

/// This boot and this pid namespace.
fn boot_id() -> io::Result<String> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().replace('-', "");
    let link = fs::read_link("/proc/self/ns/pid")?;
    let number: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Ok(mix(&boot_id, number.parse().unwrap_or(FIRST_PID_NAMESPACE)))
}

fn mix(boot_id: &str, pid_namespace: u32) -> String {
    match (boot_id.get(..BOOT_DIGITS), boot_id.get(BOOT_DIGITS..)) {
        (Some(first), Some(last)) => {
            let last = u32::from_str_radix(last, 16).unwrap_or(0);
            format!("{first}{:08x}", last ^ pid_namespace ^ FIRST_PID_NAMESPACE)
        }
        _ => boot_id.to_owned(),
    }
}

/// Field 22 of `/proc/PID/stat`; `None` if there is no such process, or if it is a zombie.
fn start_time(proc: &Path, pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read(proc.join(pid.to_string()).join("stat")) {
        Ok(stat) => stat,
        // It was never there, or ended while it was read.
        Err(error) if [Some(ENOENT), Some(ESRCH)].contains(&error.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = String::from_utf8_lossy(&stat);
    // The command name may hold blanks and parentheses, so fields are counted from its last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z") | Some(&"X")) {
        return Ok(None);
    }
    let start_time = fields.get(19).and_then(|field| field.parse().ok());
    start_time.map(Some).ok_or_else(|| io::Error::other("/proc has an odd line for a process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_process_round_trips_and_lives() {
        let owner = Owner::current().unwrap();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner.clone()));
        assert_eq!(Owner::parse(&format!("{owner}-7")), Some(owner.clone()));
        assert!(!owner.is_dead());
    }

    #[test]
    fn another_boot_start_time_or_pid_is_dead() {
        let owner = Owner::current().unwrap();
        assert!(Owner { boot_id: "0".repeat(32), ..owner.clone() }.is_dead());
        assert!(Owner { start_time: owner.start_time + 1, ..owner.clone() }.is_dead());
        assert!(Owner { pid: u32::MAX, ..owner }.is_dead());
    }

    #[test]
    fn what_cannot_be_read_is_no_sign_of_death() {
        let proc = std::env::temp_dir().join(format!("owner-{}", std::process::id()));
        let dir = |pid: u32| proc.join(pid.to_string());
        let other = Owner { pid: 7, ..Owner::current().unwrap() };
        fs::create_dir_all(dir(7).join("stat")).unwrap();
        // We are not shown, then we are, and the other cannot be read; then it is not there.
        assert!(!other.is_missing_in(&proc));
        fs::create_dir(dir(std::process::id())).unwrap();
        fs::copy("/proc/self/stat", dir(std::process::id()).join("stat")).unwrap();
        assert!(!other.is_missing_in(&proc));
        fs::remove_dir_all(dir(7)).unwrap();
        assert!(other.is_missing_in(&proc));
        // An odd line is a doubt, too.
        fs::create_dir(dir(7)).unwrap();
        fs::write(dir(7).join("stat"), "7 (odd").unwrap();
        assert!(!other.is_missing_in(&proc));
        fs::remove_dir_all(proc).unwrap();
    }

    #[test]
    fn an_owner_in_another_pid_namespace_may_live() {
        let owner = Owner::current().unwrap();
        let elsewhere = mix(&owner.boot_id, 4_026_532_000);
        assert_ne!(elsewhere, owner.boot_id);
        assert_eq!(mix(&owner.boot_id, FIRST_PID_NAMESPACE), owner.boot_id);
        let there = Owner { boot_id: elsewhere, start_time: owner.start_time + 1, ..owner };
        assert!(!there.is_dead());
        assert_eq!(Owner::parse(&there.to_string()), Some(there));
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in
            ["", "sandboxset", "sandboxset-1-2-3", "other-00000000000000000000000000000000-1-2", "a/b"]
        {
            assert_eq!(Owner::parse(name), None, "{name}");
        }
    }
}
