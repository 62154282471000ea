//! What a self-test found out, in the two forms in which it is shown.

use std::fmt::Write;

use serde_json::json;

/// What became of one attempt inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Refused, as it must be.
    Blocked,
    /// Not refused.
    Escaped,
    /// It cannot be tried here.
    NotApplicable,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The rows of the checklist in SECURITY.md.
    pub rows: Vec<u32>,
    /// The probe and, where it says more, its arguments.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether the same attempt succeeded outside; `None` if it was not made, because it is not harmless everywhere.
    pub control: Option<bool>,
    /// What an escaped probe said.
    pub detail: String,
}

/// All attempts.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the table.
    pub entries: Vec<Entry>,
}

impl Verdict {
    /// Its name in both forms.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Blocked => "blocked",
            Verdict::Escaped => "ESCAPED",
            Verdict::NotApplicable => "not applicable",
        }
    }
}

impl Report {
    /// Whether nothing escaped.
    pub fn passed(&self) -> bool {
        self.count(Verdict::Escaped) == 0
    }

    /// A table for people: a line for each attempt, and a summary.
    pub fn to_table(&self) -> String {
        let mut table = String::new();
        for entry in &self.entries {
            let rows: Vec<String> = entry.rows.iter().map(u32::to_string).collect();
            let control = match entry.control {
                Some(true) => "control effective",
                Some(false) => "control refused too",
                None => "",
            };
            let line = format!(
                "{:>10}  {:30} {:14}  {control}",
                rows.join(","),
                printable(&entry.name),
                entry.verdict.name()
            );
            let _ = writeln!(table, "{}", line.trim_end());
            for line in entry.detail.lines() {
                let _ = writeln!(table, "            {}", printable(line));
            }
        }
        let _ = writeln!(table, "\n{}", self.summary());
        table
    }

    /// One JSON object: `version`, `passed`, the counts, and `probes` with `rows`, `name`, `verdict`, `control` and
    /// `detail`.
    pub fn to_json(&self) -> String {
        let probes: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                json!({
                    "rows": entry.rows, "name": entry.name, "verdict": entry.verdict.name(),
                    "control": entry.control, "detail": entry.detail,
                })
            })
            .collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "passed": self.passed(),
            "blocked": self.count(Verdict::Blocked),
            "escaped": self.count(Verdict::Escaped),
            "not_applicable": self.count(Verdict::NotApplicable),
            "probes": probes,
        });
        format!("{report:#}\n")
    }

    fn summary(&self) -> String {
        let controls: Vec<bool> = self.entries.iter().filter_map(|entry| entry.control).collect();
        format!(
            "{} attempts: {} blocked, {} ESCAPED, {} not applicable; {} of {} controls effective.",
            self.entries.len(),
            self.count(Verdict::Blocked),
            self.count(Verdict::Escaped),
            self.count(Verdict::NotApplicable),
            controls.iter().filter(|effective| **effective).count(),
            controls.len(),
        )
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.entries.iter().filter(|entry| entry.verdict == verdict).count()
    }
}

/// What came out of a sandbox must not reach a terminal as it is.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}
