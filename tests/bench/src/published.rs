//! What others have published of their own speed, shown beside rows that they cannot be measured with: both fork
//! through servers of their own, and into less than a sandbox.

/// A figure of somebody else's, from another machine.
struct Published {
    /// Which of our rows it stands beside.
    row: &'static str,
    who: &'static str,
    figure: &'static str,
    what: &'static str,
    source: &'static str,
}

const PUBLISHED: [Published; 2] = [
    Published {
        row: "linux.fork_python",
        who: "zygo",
        figure: "p50 1.47 ms, p99 1.97 ms",
        what: "a fork of Python with a cgroup of its own, two x86-64 processors, Linux 6.17",
        source: "the benchmark in the repository mhmtskrc2/zygo",
    },
    Published {
        row: "linux.fork_python",
        who: "sandlock",
        figure: "0.53 ms",
        what: "a clone under the policy of its parent, without namespaces or a cgroup of its own",
        source: "the README of the repository multikernel/sandlock",
    },
];

/// The figures that stand beside these rows, a line each; nothing if there are none.
pub(crate) fn beside<'a>(rows: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut text = String::new();
    for published in PUBLISHED.iter().filter(|published| rows.clone().any(|row| row == published.row)) {
        let Published { row, who, figure, what, source } = published;
        text += &format!("  {row:<26} {who}: {figure}; {what} ({source})\n");
    }
    if text.is_empty() {
        text
    } else {
        format!("Published by others, of other machines, not measured here:\n{text}")
    }
}
