//! The goals of each row: ratios in one run, because absolute figures differ from machine to machine.

use crate::neighbour_rows::QUIET_P99;
use crate::report::{Row, number};

/// One goal of the rows of one family.
#[derive(Debug)]
pub(crate) struct Goal {
    /// The row and its variants.
    family: &'static str,
    /// Only the variants that end so; all if empty.
    suffix: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    /// In the unit of the row.
    Absolute(f64),
    /// A multiple of the raw floor.
    OfFloor(f64),
    /// The tail, as a multiple of a peer.
    TailOfPeer(&'static str, f64),
    /// The tail, in the unit of the row.
    Tail(f64),
    /// The tail, as a multiple of the median.
    TailOfMedian(f64),
    /// A multiple of a peer.
    OfPeer(&'static str, f64),
    /// A multiple of another row of ours.
    OfRow(&'static str, f64),
    /// So much above another row of ours, in their unit.
    AboveRow(&'static str, f64),
}

/// How a row stands to a goal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// The median of the row, or its tail if the goal is about that.
    measured: f64,
    /// What it may be at most.
    limit: f64,
}

/// All goals. "The same" among rows of ours allows a quarter more, which is the noise between two rows.
pub(crate) const GOALS: &[Goal] = &[
    Goal { family: "set.get_put", suffix: "", bound: Bound::OfPeer("deadpool", 0.5) },
    Goal { family: "set.get_put", suffix: ".held1000", bound: Bound::OfRow("set.get_put", 1.25) },
    Goal { family: "set.get_put", suffix: "put.held10000", bound: Bound::OfRow("set.get_put", 1.25) },
    Goal { family: "set.get_put", suffix: ".t2.held10000", bound: Bound::OfRow("set.get_put.t2", 1.25) },
    Goal { family: "c.get_put", suffix: "", bound: Bound::Absolute(100.0) },
    Goal { family: "python.get_put", suffix: "", bound: Bound::Absolute(1000.0) },
    Goal { family: "python.aio_get_put", suffix: "", bound: Bound::Absolute(10_000.0) },
    Goal { family: "node.get_put", suffix: "", bound: Bound::Absolute(1500.0) },
    Goal { family: "node.exec_true", suffix: "", bound: Bound::AboveRow("linux.exec_true", 200.0) },
    Goal { family: "linux.get_warm", suffix: "", bound: Bound::OfFloor(2.0) },
    Goal { family: "linux.put", suffix: "", bound: Bound::OfFloor(2.0) },
    Goal { family: "linux.create", suffix: "", bound: Bound::OfPeer("bwrap", 0.5) },
    Goal { family: "linux.create_first", suffix: "", bound: Bound::OfPeer("bwrap", 0.5) },
    Goal { family: "linux.create_shell", suffix: "", bound: Bound::OfPeer("bwrap", 0.2) },
    Goal { family: "linux.burst", suffix: "burst", bound: Bound::Absolute(500.0) },
    Goal { family: "linux.density", suffix: "", bound: Bound::Absolute(300.0) },
    Goal { family: "linux.exec_true", suffix: "", bound: Bound::OfFloor(1.5) },
    Goal { family: "linux.fork_c", suffix: "", bound: Bound::OfFloor(3.0) },
    Goal { family: "linux.fork_c", suffix: ".spaced", bound: Bound::TailOfMedian(3.0) },
    Goal { family: "linux.density_forked", suffix: "", bound: Bound::Absolute(1024.0) },
    Goal { family: "linux.fork_python", suffix: "", bound: Bound::OfFloor(1.3) },
    Goal { family: "linux.fork_python", suffix: ".spaced", bound: Bound::TailOfMedian(3.0) },
    Goal { family: "linux.fork_python_call", suffix: "", bound: Bound::OfFloor(1.3) },
    Goal { family: "linux.density_forked_python", suffix: "", bound: Bound::Absolute(1024.0) },
    Goal { family: "linux.neighbour", suffix: "", bound: Bound::TailOfPeer(QUIET_P99, 3.0) },
    Goal { family: "linux.destroy", suffix: "", bound: Bound::Tail(1_000_000.0) },
];

impl Goal {
    /// How a row stands to this goal; `None` if the goal is not about it or something was not measured.
    pub(crate) fn verdict(&self, row: &Row, rows: &[Row]) -> Option<Verdict> {
        let variant = row.name.strip_prefix(self.family)?;
        // One operation at a time is mostly the clock and cold caches, ours and the peers' alike.
        if self.family == "set.get_put" && variant == ".spaced" {
            return None;
        }
        // What nobody prepared for is shown beside it, so that nobody is misled, and has no goal.
        if variant.starts_with(".unprepared") {
            return None;
        }
        if !(variant.is_empty() || variant.starts_with('.')) || !row.name.ends_with(self.suffix) {
            return None;
        }
        let figures = row.figures.as_ref()?;
        let limit = match self.bound {
            Bound::TailOfMedian(ratio) => figures.p50 * ratio,
            Bound::Absolute(limit) | Bound::Tail(limit) => limit,
            Bound::OfFloor(ratio) => row.floor_p50? * ratio,
            Bound::OfPeer(peer, ratio) | Bound::TailOfPeer(peer, ratio) => row.peer(peer)? * ratio,
            Bound::OfRow(other, ratio) => median(other, rows)? * ratio,
            Bound::AboveRow(other, more) => median(other, rows)? + more,
        };
        let tail = matches!(self.bound, Bound::TailOfPeer(..) | Bound::Tail(_) | Bound::TailOfMedian(_));
        Some(Verdict { measured: if tail { figures.p99 } else { figures.p50 }, limit })
    }

    /// The goal in words.
    pub(crate) fn text(&self) -> String {
        match self.bound {
            Bound::Absolute(limit) => format!("<= {}", number(limit)),
            Bound::OfFloor(ratio) => format!("<= {ratio} x floor"),
            Bound::TailOfPeer(peer, ratio) => format!("p99 <= {ratio} x {peer}"),
            Bound::Tail(limit) => format!("p99 <= {}", number(limit)),
            Bound::TailOfMedian(ratio) => format!("p99 <= {ratio} x p50"),
            Bound::OfPeer(peer, ratio) => format!("<= {ratio} x {peer}"),
            Bound::OfRow(row, ratio) => format!("<= {ratio} x {row}"),
            Bound::AboveRow(row, more) => format!("<= {row} + {}", number(more)),
        }
    }
}

/// The median of the row of this name, if it was measured.
fn median(name: &str, rows: &[Row]) -> Option<f64> {
    Some(rows.iter().find(|row| row.name == name)?.figures.as_ref()?.p50)
}

impl Verdict {
    /// Whether the goal is met.
    pub(crate) fn met(self) -> bool {
        self.measured <= self.limit
    }

    /// For a column of a table: the measured share of what is allowed.
    pub(crate) fn short(self) -> String {
        format!("{} ({:.2} of goal)", if self.met() { "met" } else { "MISSED" }, self.measured / self.limit)
    }

    /// In words.
    pub(crate) fn long(self) -> String {
        let percent = (self.measured / self.limit - 1.0).abs() * 100.0;
        let (measured, limit) = (number(self.measured), number(self.limit));
        if self.met() {
            return format!("met: {measured} of {limit}, {percent:.0} % below");
        }
        format!("MISSED: {measured} of {limit}, {percent:.0} % above")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Samples;
    use crate::report::Unit;

    fn row(name: &str, nanos: u64, deadpool: u64) -> Row {
        let samples = |nanos| {
            let mut samples = Samples::new();
            samples.record(Duration::from_nanos(nanos), 1);
            samples
        };
        let mut row = Row::new(name, Unit::Nanoseconds, samples(nanos));
        row.add_peer("deadpool", &samples(deadpool));
        row
    }

    fn verdicts(row: &Row, rows: &[Row]) -> Vec<bool> {
        GOALS.iter().filter_map(|goal| goal.verdict(row, rows)).map(Verdict::met).collect()
    }

    #[test]
    fn variants_have_the_goals_of_their_family_and_their_own() {
        let rows = [
            row("set.get_put", 60, 140),
            row("set.get_put.held10000", 80, 140),
            row("set.get_put.t2", 200, 300),
            row("set.get_put.t2.held10000", 200, 300),
        ];
        assert_eq!(verdicts(&rows[0], &rows), [true]);
        assert_eq!(verdicts(&rows[1], &rows), [false, false]);
        assert_eq!(verdicts(&rows[2], &rows), [false]);
        assert_eq!(verdicts(&rows[3], &rows), [false, true]);
    }

    #[test]
    fn a_goal_without_its_reference_is_silent() {
        let rows = [row("linux.put", 60, 140), row("linux.puts", 60, 140)];
        assert!(verdicts(&rows[0], &rows).is_empty());
        assert!(verdicts(&rows[1], &rows).is_empty());
    }
}
