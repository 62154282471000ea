//! Who owns a resource that outlived its process.

use std::fmt;
use std::fs;

/// Identifies a process for ever: the boot, the process id and the start time. A process id alone is reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The boot id without dashes.
    boot_id: String,
    pid: u32,
    /// In clock ticks since boot, as `/proc/PID/stat` has it.
    start_time: u64,
}

/// What every name that we give to a resource begins with.
const PREFIX: &str = "sandboxset";

impl Owner {
    /// The calling process.
    pub fn current() -> std::io::Result<Self> {
        let pid = std::process::id();
        let start_time = start_time(pid)
            .ok_or_else(|| std::io::Error::other("cannot read the start time of this process from /proc"))?;
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
            return true;
        }
        // Without a /proc that shows ourselves, that it does not show the owner means nothing.
        if start_time(std::process::id()).is_none() {
            return false;
        }
        start_time(self.pid) != Some(self.start_time)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}-{}", self.boot_id, self.pid, self.start_time)
    }
}

fn boot_id() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().replace('-', ""))
}

/// Field 22 of `/proc/PID/stat`; `None` if there is no such process, or if it is a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold blanks and parentheses, so fields are counted from its last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z") | Some(&"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
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
    fn foreign_names_are_nobodys() {
        for name in
            ["", "sandboxset", "sandboxset-1-2-3", "other-00000000000000000000000000000000-1-2", "a/b"]
        {
            assert_eq!(Owner::parse(name), None, "{name}");
        }
    }
}
