//! The program `sandboxset`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use lexopt::Arg;
use sandboxset::backend::linux;

const HELP: &str = "\
Usage: sandboxset COMMAND

Commands:
  doctor [--json]     says what this host can do for sandboxes, why not more, and how to change that;
                      makes one sandbox and destroys it, and changes nothing
  self-test [--json]  tries to break out of sandboxes on this host, about 140 times, and says what became of it;
                      takes some seconds, and 100 MB of memory for a moment

Options:
  -h, --help          shows this
  -V, --version       shows the version

Exit codes: 0 a sandbox can be made, or nothing escaped; 1 none can be made, or something did; 2 wrong usage.
";

/// What the command line asks for.
enum Request {
    Help,
    Version,
    Doctor { json: bool },
    SelfTest { json: bool },
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
        Request::SelfTest { json } => self_test(json),
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

fn self_test(json: bool) -> (String, ExitCode) {
    match sandboxset_self_test::self_test() {
        Ok(report) => {
            let text = if json { report.to_json() } else { report.to_table() };
            (text, if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "sandboxset: nothing could be tried: {failure}");
            (String::new(), ExitCode::FAILURE)
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Request, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut request = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Value(command) if request.is_none() && command == "doctor" => {
                request = Some(Request::Doctor { json: false });
            }
            Arg::Value(command) if request.is_none() && command == "self-test" => {
                request = Some(Request::SelfTest { json: false });
            }
            Arg::Long("json") => match &mut request {
                Some(Request::Doctor { json } | Request::SelfTest { json }) => *json = true,
                _ => return Err(arg.unexpected()),
            },
            _ => return Err(arg.unexpected()),
        }
    }
    request.ok_or_else(|| "a command is missing".into())
}
