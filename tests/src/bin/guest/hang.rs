//! What a guest says when it hangs, before whoever booted it gives it up.

use std::fs;
use std::time::Duration;

/// Long after every check is through, and before the guest is given up outside.
const HUNG: Duration = Duration::from_secs(240);

/// Shows every process, where it waits and in which cgroups, should the guest still be there by then.
pub(crate) fn watch() {
    std::thread::spawn(|| {
        std::thread::sleep(HUNG);
        println!("the guest hangs; its processes:");
        show_processes();
    });
}

fn show_processes() {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    for dir in entries.map(|entry| entry.path()).filter(|path| path.join("cgroup").exists()) {
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        // The first thread of each; those of the kernel have no command line.
        let arguments = read("cmdline").replace('\0', " ");
        if arguments.is_empty() && read("status").contains("Kthread:\t1") {
            continue;
        }
        println!("{} [{arguments}] {}", dir.display(), read("stat").trim());
        println!("  in {}", read("cgroup").trim().replace('\n', " "));
        for thread in fs::read_dir(dir.join("task")).into_iter().flatten().flatten() {
            let stack = fs::read_to_string(thread.path().join("stack")).unwrap_or_default();
            println!("  {:?}: {}", thread.file_name(), stack.replace('\n', " "));
        }
    }
}
