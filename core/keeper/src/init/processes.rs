//! Who runs in the sandbox, as its `/proc` tells.

/// A process of the sandbox, from `/proc/PID/stat`.
pub(super) struct Process {
    pub(super) pid: i32,
    state: u8,
    parent: i32,
    session: i32,
}

impl Process {
    pub(super) fn runs(&self) -> bool {
        self.pid != 1 && !matches!(self.state, b'T' | b't' | b'Z' | b'X')
    }
}

/// Whether a process has a number in a namespace below ours as well.
pub(super) fn is_below(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            // The name may hold anything, so fields are counted from its last parenthesis.
            let after_name = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
            let mut fields = std::str::from_utf8(after_name).ok()?.split_whitespace();
            let state = *fields.next()?.as_bytes().first()?;
            let parent = fields.next()?.parse().ok()?;
            let session = fields.nth(1)?.parse().ok()?;
            Some(Process { pid, state, parent, session })
        })
        .collect()
}

/// The living processes in the session of `leader`, with their descendants.
pub(super) fn members(leader: i32, processes: &[Process]) -> Vec<i32> {
    let living = |process: &&Process| process.pid != 1 && !matches!(process.state, b'Z' | b'X');
    let mut members: Vec<i32> = processes
        .iter()
        .filter(living)
        .filter(|process| process.pid == leader || process.session == leader)
        .map(|process| process.pid)
        .collect();
    loop {
        let before = members.len();
        for process in processes.iter().filter(living) {
            if members.contains(&process.parent) && !members.contains(&process.pid) {
                members.push(process.pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}
