//! Runs probes inside sandboxes: reads what to run as JSON from its standard input, and answers a line of JSON each.
//!
//! Its own start may be as odd as it likes; nothing of that may show inside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::path::Path;

use sandboxset_self_test::{Answer, Job, PROGRAM, STARTS, inside, inside_forks};
use serde_json::{Value, json};

fn main() {
    let order: Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let job = |job: &Value| Job {
        args: job["args"].as_array().unwrap().iter().map(text).collect(),
        cwd: job["cwd"].as_str().map(Into::into),
    };
    let jobs: Vec<Job> = order["jobs"].as_array().unwrap().iter().map(job).collect();
    let privileged = text(&order["privileged"]);
    let privileged = Path::new(&privileged);
    let answer = |answer: Answer| println!("{}", json!({"code": answer.code, "said": answer.said}));
    let disjoint = match order["server"].as_str() {
        Some(server) => inside_forks(PROGRAM, privileged, server, &jobs, STARTS, answer),
        None => inside(PROGRAM, privileged, &jobs, STARTS, answer),
    };
    println!("{}", json!({"disjoint": disjoint.unwrap()}));
}
