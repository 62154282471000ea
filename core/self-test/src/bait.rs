//! Things of the host that a probe may be after, laid by a process of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// Laid bait, which goes when this is dropped.
#[derive(Debug)]
pub struct Bait {
    process: Child,
    /// Where things are, by the names that stand for them in lines of arguments.
    pub places: HashMap<String, String>,
}

impl Bait {
    /// Lays it in a directory. `program` runs the probes; `name` becomes an argument of the process, by which it can
    /// be found, and `prefix` begins the variables of the host that no sandbox may see.
    pub fn lay(program: &mut Command, dir: &Path, name: &str, prefix: &str) -> Result<Self, Failure> {
        let canary = dir.join("canary");
        std::fs::write(&canary, "canary")?;
        program.arg("bait").arg(dir).arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = program.spawn()?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let places = [
            ("dir", text(dir)),
            ("canary", text(&canary)),
            ("name", name.to_owned()),
            ("prefix", prefix.to_owned()),
            ("hostname", host_name),
        ];
        let places = places.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut bait = Bait { process, places };
        bait.await_places()?;
        Ok(bait)
    }

    /// Puts places into a line of arguments.
    pub fn fill(&self, line: &str) -> String {
        self.places
            .iter()
            .fold(line.to_owned(), |line, (key, value)| line.replace(&format!("{{{key}}}"), value))
    }

    fn await_places(&mut self) -> Result<(), Failure> {
        let Some(output) = self.process.stdout.take() else { return Err("it has no output".into()) };
        for line in BufReader::new(output).lines() {
            let line = line?;
            match line.split_once(' ') {
                Some(("laid", _)) => return Ok(()),
                Some((key, value)) if key != "failed" => {
                    self.places.insert(key.to_owned(), value.to_owned());
                }
                _ => return Err(line.into()),
            }
        }
        Err("the bait ended before it was laid".into())
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
