//! What a figure is worth depends on the machine it was measured on.

use std::fmt::Write as _;
use std::fs;
use std::thread;

use crate::floor::own_v2_cgroup;
use crate::peers::bubblewrap;

/// Machine, kernel, clock, cgroups and load, a line each.
pub(crate) fn describe() -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let kernel = rustix::system::uname();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    line("machine", format!("{} cpus, {}, {} memory", cpus, cpu_model(), memory()));
    line("kernel", format!("{} {}", kernel.release().to_string_lossy(), kernel.machine().to_string_lossy()));
    line("clock", read("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    line("transparent", format!("huge pages {}", read("/sys/kernel/mm/transparent_hugepage/enabled")));
    let cgroups = match own_v2_cgroup() {
        Ok(path) => format!("v2 at {}", path.display()),
        Err(error) => error.to_string(),
    };
    line("cgroups", cgroups);
    line("user", format!("uid {}", rustix::process::getuid().as_raw()));
    line("bwrap", bubblewrap().unwrap_or("not installed").into());
    line("load", read("/proc/loadavg"));
    text
}

/// The load of the last minute, if it is more than what this run makes itself.
pub(crate) fn is_busy() -> Option<f64> {
    let load = read("/proc/loadavg").split(' ').next()?.parse::<f64>().ok()?;
    (load > 0.5).then_some(load)
}

fn read(path: &str) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => format!("unknown ({error})"),
    }
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".into(), |value| value.trim().to_owned())
}

fn cpu_model() -> String {
    field("/proc/cpuinfo", "model name")
}

fn memory() -> String {
    field("/proc/meminfo", "MemTotal")
}
