//! The first process of a guest that the tests boot: makes the world that it is told, tries sandboxes in it, and
//! says on the console how that went. Also the host processes there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

mod boot;
mod checks;
mod deaths;
mod hang;
mod lacking;

use std::path::Path;

/// Where the guest's root has this program.
const PROGRAM: &str = "/bin/guest";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // The kernel names the first process by its path, whoever else runs is named by what it is to do.
    let name = Path::new(&args[0]).file_name().unwrap().to_str().unwrap().to_owned();
    let arg = |index: usize| args.get(index).map_or("", String::as_str);
    match &*name {
        "init" => boot::run(args.last().map_or("", String::as_str)),
        "enter" => boot::enter(arg(1), arg(2)),
        "actor" => checks::run(arg(1), arg(2)),
        "contain" => lacking::contain(arg(1)),
        "ask" => lacking::ask(arg(1)),
        "victim" => deaths::victim(),
        "successor" => deaths::successor(),
        other => panic!("there is nothing to do for {other}"),
    }
}
