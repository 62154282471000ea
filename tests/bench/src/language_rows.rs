//! The rows of the other languages: small programs measure themselves and print one line of JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::measure::Failure;
use crate::report::{Figures, Row, Unit};

/// What such a program prints.
#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    unit: String,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    n: u64,
    /// The medians of what it measured beside itself.
    #[serde(default)]
    peers: BTreeMap<String, f64>,
    /// What it could not measure, and why.
    #[serde(default)]
    missing: Vec<Failure>,
}

/// Runs the program and takes over the row of this name that it printed.
pub(crate) fn measure(name: &str, unit: Unit, program: &Path, args: &[&Path]) -> Result<Row, Failure> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", program.display(), output.status));
    }
    parse(name, unit, &String::from_utf8_lossy(&output.stdout))
}

/// The row of this name among what a program printed.
fn parse(name: &str, unit: Unit, text: &str) -> Result<Row, Failure> {
    let line = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .find(|line| line.name == name)
        .ok_or_else(|| format!("it printed no line of JSON for {name}"))?;
    let expected = if unit == Unit::Microseconds { "us" } else { "ns" };
    if line.unit != expected {
        return Err(format!("its unit is {:?}, not {expected}", line.unit));
    }
    let Line { p50, p90, p99, max, n, peers, missing, .. } = line;
    let figures = [p50, p90, p99, max];
    if n == 0 || !figures.iter().chain(peers.values()).all(|value| value.is_finite() && *value > 0.0) {
        return Err("its figures are not positive".into());
    }
    let mut row = Row::foreign(name, unit, Figures { p50, p90, p99, max, n });
    row.peers.extend(peers);
    row.missing.extend(missing);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "warming up\n{\"name\":\"c.get_put\",\"unit\":\"ns\",\"p50\":70.5,\"p90\":80,\"p99\":90,\"max\":100,\"n\":5}\n";

    #[test]
    fn a_line_of_json_becomes_a_row() {
        let row = parse("c.get_put", Unit::Nanoseconds, GOOD).unwrap();
        assert_eq!(row.figures, Some(Figures { p50: 70.5, p90: 80.0, p99: 90.0, max: 100.0, n: 5 }));
        assert!(row.missing.is_empty());
    }

    #[test]
    fn peers_and_what_is_missing_come_along() {
        let more = GOOD.replace("\"n\":5", "\"n\":5,\"peers\":{\"other\":99},\"missing\":[\"a third\"]");
        let row = parse("c.get_put", Unit::Nanoseconds, &more).unwrap();
        assert_eq!((row.peer("other"), row.missing), (Some(99.0), vec!["a third".to_owned()]));
        parse("c.get_put", Unit::Nanoseconds, &more.replace("99", "0")).unwrap_err();
    }

    #[test]
    fn what_is_missing_or_wrong_is_an_error() {
        let unit = Unit::Nanoseconds;
        parse("python.get_put", unit, GOOD).unwrap_err();
        parse("c.get_put", unit, "").unwrap_err();
        parse("c.get_put", unit, &GOOD.replace("\"ns\"", "\"us\"")).unwrap_err();
        parse("c.get_put", Unit::Microseconds, GOOD).unwrap_err();
        parse("c.get_put", unit, &GOOD.replace("70.5", "0")).unwrap_err();
        let missing = measure("c.get_put", unit, Path::new("/no/such/program"), &[]).unwrap_err();
        assert!(missing.contains("/no/such/program"), "{missing}");
        measure("c.get_put", unit, Path::new("/bin/false"), &[]).unwrap_err();
    }
}
