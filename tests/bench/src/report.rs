//! What a run found, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::goals::GOALS;
use crate::measure::{Failure, Samples};

/// The unit of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// For what happens inside one process.
    Nanoseconds,
    /// For what the kernel takes part in.
    Microseconds,
    /// For memory.
    Kibibytes,
}

/// The figures of one row in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Median.
    pub(crate) p50: f64,
    /// 90 of 100 samples are not above it.
    pub(crate) p90: f64,
    /// 99 of 100 samples are not above it.
    pub(crate) p99: f64,
    /// The largest sample.
    pub(crate) max: f64,
    /// How many operations were measured.
    pub(crate) n: u64,
}

/// One thing that was measured, beside its floor and its peers.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name; a variant is a suffix.
    pub(crate) name: String,
    unit: Unit,
    /// `None` if it could not be measured.
    pub(crate) figures: Option<Figures>,
    /// The median of the raw floor.
    pub(crate) floor_p50: Option<f64>,
    /// The medians of the peers.
    pub(crate) peers: Vec<(String, f64)>,
    /// What could not be measured that should have been.
    pub(crate) missing: Vec<Failure>,
    failures: u64,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Kibibytes => "KiB",
        }
    }

    /// From what samples are counted in: nanoseconds or bytes.
    fn scale(self, value: f64) -> f64 {
        match self {
            Unit::Nanoseconds => value,
            Unit::Microseconds => value / 1000.0,
            Unit::Kibibytes => value / 1024.0,
        }
    }
}

impl Row {
    /// A row of what was measured of us.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, samples: Samples) -> Self {
        let mut row = Row {
            name: name.into(),
            unit,
            figures: figures(unit, &samples),
            floor_p50: None,
            peers: Vec::new(),
            missing: Vec::new(),
            failures: 0,
        };
        row.count_failures("ours", &samples);
        row
    }

    /// A row of what another program measured of itself.
    pub(crate) fn foreign(name: &str, unit: Unit, figures: Figures) -> Self {
        let mut row = Row::new(name, unit, Samples::new());
        row.missing.clear();
        row.figures = Some(figures);
        row
    }

    /// A row that could not be measured at all.
    pub(crate) fn failed(name: &str, unit: Unit, failure: Failure) -> Self {
        let mut row = Row::new(name, unit, Samples::new());
        row.missing = vec![failure];
        row
    }

    /// Adds the raw floor, or says why there is none.
    pub(crate) fn set_floor(&mut self, floor: Result<&Samples, &Failure>) {
        match floor {
            Ok(samples) => {
                self.floor_p50 = samples.quantile_ns(0.5).map(|value| self.unit.scale(value));
                self.count_failures("floor", samples);
            }
            Err(failure) => self.missing.push(format!("floor absent: {failure}")),
        }
    }

    /// Adds a peer.
    pub(crate) fn add_peer(&mut self, name: &str, samples: &Samples) {
        if let Some(value) = samples.quantile_ns(0.5) {
            self.peers.push((name.into(), self.unit.scale(value)));
        }
        self.count_failures(name, samples);
    }

    /// Adds the tail of other samples of ours as if it were a peer's median.
    pub(crate) fn add_tail(&mut self, name: &str, samples: &Samples) {
        self.peers.extend(samples.quantile_ns(0.99).map(|value| (name.into(), self.unit.scale(value))));
    }

    /// The median of a peer.
    pub(crate) fn peer(&self, name: &str) -> Option<f64> {
        self.peers.iter().find(|(peer, _)| peer == name).map(|(_, p50)| *p50)
    }

    fn count_failures(&mut self, whose: &str, samples: &Samples) {
        self.failures += samples.failures;
        if let Some(failure) = &samples.first_failure {
            let total = samples.count() + samples.failures;
            self.missing.push(format!("{whose}: {} of {total} failed, first: {failure}", samples.failures));
        } else if samples.count() == 0 {
            self.missing.push(format!("{whose}: nothing was measured"));
        }
    }

    fn json(&self) -> Value {
        let figure = |pick: fn(&Figures) -> f64| self.figures.as_ref().map(|figures| round(pick(figures)));
        let peers: Map<String, Value> =
            self.peers.iter().map(|(name, p50)| (name.clone(), json!(round(*p50)))).collect();
        json!({
            "name": self.name,
            "unit": self.unit.name(),
            "p50": figure(|figures| figures.p50),
            "p90": figure(|figures| figures.p90),
            "p99": figure(|figures| figures.p99),
            "max": figure(|figures| figures.max),
            "n": self.figures.map_or(0, |figures| figures.n),
            "floor_p50": self.floor_p50.map(round),
            "peers": peers,
        })
    }
}

fn figures(unit: Unit, samples: &Samples) -> Option<Figures> {
    let quantile = |quantile| samples.quantile_ns(quantile).map(|value| unit.scale(value));
    Some(Figures {
        p50: quantile(0.5)?,
        p90: quantile(0.9)?,
        p99: quantile(0.99)?,
        max: quantile(1.0)?,
        n: samples.operations,
    })
}

/// Three decimals are more than any of this is exact.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The table of all rows.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<29} {:>4} {:>10} {:>10} {:>10} {:>10} {:>9} {:>10} {:>7}  {:<30} {}\n",
        "name", "unit", "p50", "p90", "p99", "max", "n", "floor p50", "x floor", "peers p50 (ours x)", "goal"
    );
    for row in rows {
        let Some(figures) = row.figures else {
            let _ = writeln!(text, "{:<29} {:>4} NOT MEASURED", row.name, row.unit.name());
            continue;
        };
        let _ = write!(text, "{:<29} {:>4}", row.name, row.unit.name());
        for value in [figures.p50, figures.p90, figures.p99, figures.max] {
            let _ = write!(text, " {:>10}", number(value));
        }
        let _ = write!(text, " {:>9}", figures.n);
        match row.floor_p50 {
            Some(floor) => {
                let _ = write!(text, " {:>10} {:>7.2}", number(floor), figures.p50 / floor);
            }
            None => {
                let _ = write!(text, " {:>10} {:>7}", "-", "-");
            }
        }
        let peers: Vec<String> = row
            .peers
            .iter()
            .map(|(name, p50)| format!("{name} {} ({:.2})", number(*p50), figures.p50 / p50))
            .collect();
        let verdicts: Vec<String> =
            GOALS.iter().filter_map(|goal| goal.verdict(row, rows)).map(|verdict| verdict.short()).collect();
        let _ = writeln!(text, "  {:<30} {}", peers.join(", "), verdicts.join(", "));
    }
    text
}

/// Every goal and by how much it was met or missed.
pub(crate) fn goals(rows: &[Row]) -> String {
    let mut text = String::from("Goals\n");
    for row in rows {
        for goal in GOALS {
            if let Some(verdict) = goal.verdict(row, rows) {
                let _ = writeln!(text, "  {:<26} {:<34} {}", row.name, goal.text(), verdict.long());
            }
        }
    }
    text
}

/// What failed or could not be measured.
pub(crate) fn missing(rows: &[Row]) -> String {
    let failures: u64 = rows.iter().map(|row| row.failures).sum();
    let mut text = format!("Failed operations: {failures}\n");
    for row in rows {
        for missing in &row.missing {
            let _ = writeln!(text, "NOT MEASURED  {}: {missing}", row.name);
        }
    }
    text
}

/// Writes all rows as JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> io::Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let mut text = serde_json::to_string_pretty(&rows)?;
    text.push('\n');
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let partial = path.with_extension("json.partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}

/// A figure in as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn samples(micros: u64) -> Samples {
        let mut samples = Samples::new();
        samples.record(Duration::from_micros(micros), 1);
        samples
    }

    #[test]
    fn json_has_exactly_the_promised_members() {
        let mut row = Row::new("linux.put", Unit::Microseconds, samples(40));
        row.set_floor(Ok(&samples(20)));
        row.add_peer("bwrap", &samples(80));
        let json = row.json();
        let members: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, ["floor_p50", "max", "n", "name", "p50", "p90", "p99", "peers", "unit"]);
        assert_eq!((json["unit"].as_str(), json["n"].as_u64()), (Some("µs"), Some(1)));
        let close = |value: &Value, to: f64| (value.as_f64().unwrap() / to - 1.0).abs() < 0.01;
        assert!(close(&json["p50"], 40.0) && close(&json["floor_p50"], 20.0), "{json}");
        assert!(close(&json["peers"]["bwrap"], 80.0), "{json}");
        assert!(row.missing.is_empty());
    }

    #[test]
    fn what_was_not_measured_is_said_and_null() {
        let mut row = Row::new("linux.put", Unit::Microseconds, samples(40));
        row.set_floor(Err(&"no cgroup".into()));
        assert_eq!(row.json()["floor_p50"], Value::Null);
        let failed = Row::failed("c.get_put", Unit::Nanoseconds, "no such file".into());
        assert_eq!(failed.json()["p50"], Value::Null);
        let rows = [row, failed];
        let text = missing(&rows);
        assert!(text.contains("linux.put: floor absent: no cgroup"), "{text}");
        assert!(text.contains("c.get_put: no such file"), "{text}");
        assert!(table(&rows).contains("NOT MEASURED"));
    }

    #[test]
    fn a_failed_operation_is_counted_and_not_a_sample() {
        let mut samples = samples(1);
        samples.fail("it broke".into());
        let row = Row::new("linux.put", Unit::Microseconds, samples);
        assert_eq!(row.figures.unwrap().n, 1);
        assert_eq!(row.missing, ["ours: 1 of 2 failed, first: it broke"]);
    }
}
