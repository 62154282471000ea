//! The program `sandboxset`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use lexopt::Arg;
use sandboxset::backend::linux;

const HELP: &str = "\
Usage: sandboxset COMMAND

Commands:
  doctor [--json]   says what this host can do for sandboxes, why not more, and how to change that;
                    makes one sandbox and destroys it, and changes nothing

Options:
  -h, --help        shows this
  -V, --version     shows the version

Exit codes: 0 a sandbox can be made, 1 none can be made, 2 wrong usage.
";

/// What the command line asks for.
enum Request {
    Help,
    Version,
    Doctor { json: bool },
}

fn main() -> ExitCode {
    let request = match parse(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(error) => {
            let _ = write!(std::io::stderr(), "sandboxset: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let (text, code) = match request {
        Request::Help => (HELP.to_owned(), ExitCode::SUCCESS),
        Request::Version => (format!("sandboxset {}\n", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
        Request::Doctor { json } => doctor(json),
    };
    // Whoever does not read to the end has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn doctor(json: bool) -> (String, ExitCode) {
    let diagnosis = linux::doctor();
    let text = if json { diagnosis.to_json() } else { diagnosis.to_table() };
    let code = if diagnosis.can_make_sandboxes() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (text, code)
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Request, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut doctor = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Value(command) if doctor.is_none() && command == "doctor" => doctor = Some(false),
            Arg::Long("json") if doctor.is_some() => doctor = Some(true),
            _ => return Err(arg.unexpected()),
        }
    }
    match doctor {
        Some(json) => Ok(Request::Doctor { json }),
        None => Err("a command is missing".into()),
    }
}
