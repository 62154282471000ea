//! What runs in the sandboxes of a guest, which has no other programs. Small, because it is started often there.
//! It does what the name that it is called by says.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (program, args) = args.split_first().unwrap();
    let program = Path::new(program).file_name().unwrap().to_str().unwrap();
    let number = || args[0].parse::<u64>().unwrap();
    match program {
        "true" => {}
        "id" => println!("{}", rustix::process::getuid().as_raw()),
        "hog" => hog(number()),
        "forks" => forks(number()),
        "burn" => burn(Duration::from_millis(number())),
        "bomb" => bomb(args),
        "tick" => tick(),
        "sleep" => std::thread::sleep(Duration::from_secs(number())),
        _ => panic!("there is no program {program}"),
    }
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// Touches so many mebibytes.
fn hog(mebibytes: u64) {
    const PAGE: usize = 4096;
    let mut memory = vec![0u8; (mebibytes as usize) << 20];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    say(&format!("{}\n", std::hint::black_box(memory).len() >> 20));
}

/// Says how many of so many children can be had at once.
fn forks(wanted: u64) {
    let spawned = (0..wanted).map_while(|_| Command::new("/bin/sleep").arg("1000").spawn().ok());
    let mut children: Vec<_> = spawned.collect();
    say(&format!("{}\n", children.len()));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Uses so much processor time and says how many milliseconds that took.
fn burn(time: Duration) {
    let started = Instant::now();
    let used = || {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    };
    let until = used() + time;
    while used() < until {
        for _ in 0..1000 {
            std::hint::spin_loop();
        }
    }
    say(&format!("{}\n", started.elapsed().as_millis()));
}

/// Multiplies for ever; the first one says when it can no more.
fn bomb(args: &[String]) -> ! {
    let mut first = args.is_empty();
    loop {
        if Command::new("/bin/bomb").arg("again").spawn().is_ok() {
            continue;
        }
        if std::mem::take(&mut first) {
            say("full\n");
        }
        // Else an emulated machine does nothing but refuse.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Shows that it makes progress.
fn tick() -> ! {
    loop {
        say(".");
        std::thread::sleep(Duration::from_millis(5));
    }
}
