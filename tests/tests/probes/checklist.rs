//! The checklist of threats, and what covers each row: the part of SECURITY.md that is not written by hand.

use std::fmt::Write;
use std::path::Path;

use sandboxset_self_test::table::{Control, PROBES};

/// One row of the checklist.
struct Row {
    number: u32,
    vector: &'static str,
    /// Tests besides the probes, as `file::function`.
    tests: &'static [&'static str],
    /// What is not covered, and why.
    missing: &'static str,
}

const fn row(
    number: u32,
    vector: &'static str,
    tests: &'static [&'static str],
    missing: &'static str,
) -> Row {
    Row { number, vector, tests, missing }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(1, "Descriptors left open", &["tests/tests/hostile/handover.rs::an_idle_init_has_nothing_of_its_host_open"], ""),
    row(2, "Working directory outside the root", &[], ""),
    row(3, "Overwriting our program by `/proc/self/exe`", &["tests/tests/hostile/handover.rs::a_script_whose_interpreter_is_the_executing_program_changes_nothing_of_ours"], ""),
    row(4, "Seeing who joins before it drops its rights", &["core/tests/linux/fork.rs::nothing_of_the_parent_is_in_a_fork", "core/tests/linux/fork.rs::a_fork_is_confined_as_what_is_created_is"], "A hostile process of a parent may look into its own forks: it owns their user namespaces"),
    row(5, "Variables of the host", &["core/tests/linux/exec.rs::the_environment_is_what_was_given_and_nothing_of_the_host"], ""),
    row(6, "Signal mask and dispositions", &["core/tests/linux/process.rs::signals_reach_the_command", "tests/tests/faults/hosts.rs::ends_of_commands_are_right_whatever_the_host_does_with_its_own_children"], ""),
    row(7, "Inherited limits, umask and `prctl` state", &[], "Nice, I/O priority and affinity are inherited from the host process on purpose"),
    row(8, "Inheritable and ambient capabilities", &[], ""),
    row(9, "Setuid programs", &[], ""),
    row(10, "Typing into a terminal", &["core/keeper/src/seccomp/mod.rs::typing_into_a_terminal_is_denied_whatever_the_high_half_says"], ""),
    row(11, "Core dumps", &[], ""),
    row(12, "Memory of a common parent, and its locks, timers and signals", &["core/tests/linux/fork.rs::nothing_of_the_parent_is_in_a_fork", "core/tests/linux/fork.rs::two_forks_draw_different_random_bytes", "core/tests/linux/fork_leaks.rs::no_lock_is_kept", "core/tests/linux/fork_leaks.rs::no_timer_goes_on", "core/tests/linux/fork_leaks.rs::no_signal_is_pending_blocked_ignored_or_handled"], "Forks share their layout in memory and their stack canary; what draws on a seed is seeded anew by the fork server, when the fork is wanted"),
    row(13, "chroot tricks, mounts that reach the host", &["core/tests/linux/lifecycle.rs::a_thousand_lives_leave_no_mount_on_the_host"], ""),
    row(14, "Links at mount targets in the root", &["core/tests/linux/oci.rs::an_image_cannot_bend_what_is_mounted_over_it", "core/tests/linux/targets.rs::what_every_sandbox_has_of_its_own_is_there_whatever_the_root_has_in_its_place", "core/tests/linux/targets.rs::a_bind_is_at_its_place_or_refused_whatever_is_on_the_way", "core/tests/linux/targets.rs::a_root_that_changes_while_sandboxes_are_made_of_it_misleads_nobody"], "What is missing on the way to a bind below another, writable bind is made in the source of that one"),
    row(15, "Planted links that the host follows", &["core/tests/linux/files.rs::planted_links_fifos_devices_and_endless_files_deceive_nobody", "tests/tests/hostile/planted.rs::in_memory", "tests/tests/hostile/planted.rs::on_disk", "tests/tests/hostile/planted.rs::a_directory_that_is_exchanged_for_a_link_deceives_nobody"], ""),
    row(16, "Special files that the host opens", &["core/tests/linux/files.rs::planted_links_fifos_devices_and_endless_files_deceive_nobody", "tests/tests/hostile/planted.rs::in_memory"], ""),
    row(17, "Deep and large trees at removal", &["tests/tests/removal.rs::thirty_thousand_levels", "tests/tests/removal.rs::very_many_entries", "tests/tests/removal.rs::odd_names_and_closed_directories", "tests/tests/removal.rs::an_ordinary_user_removes_what_is_closed_to_itself", "tests/tests/removal.rs::what_belongs_to_the_user_of_a_sandbox", "tests/tests/removal.rs::a_directory_that_becomes_a_link_leads_nowhere", "tests/tests/hostile/planted.rs::on_disk", "tests/tests/hostile/planted.rs::a_large_tree_of_a_dead_owner_delays_nobody"], "How long it takes: that is proportional to the number of entries, and has no limit on disk"),
    row(18, "overlayfs", &["core/tests/linux/share.rs::nothing_that_is_done_inside_leaves_a_trace_on_what_all_share", "core/tests/linux/share.rs::a_root_directory_looks_as_it_is_whatever_its_name_and_attributes"], ""),
    row(19, "Writes to shared page cache", &[], "Only by the system calls that such holes need (31 to 41); the base is not verified again, because that reads all of it, gigabytes for a host's `/usr`, through the same cache: keep it on storage that the kernel verifies"),
    row(20, "Device nodes", &["core/keeper/src/seccomp/mod.rs::fifos_can_be_made_and_devices_cannot"], ""),
    row(21, "Writing to `/proc`", &[], ""),
    row(22, "What `/proc` tells", &[], ""),
    row(23, "`/sys` and the debugging file systems", &[], ""),
    row(24, "cgroup trees", &[], ""),
    row(25, "Changing our mounts", &["core/tests/linux/late.rs::the_holder_finds_everything_and_can_change_none_of_it"], ""),
    row(26, "Links in the runtime directory", &[], "There is no runtime directory; scratch dirs on disk are the operator's"),
    row(27, "Filling disk and tmpfs", &["tests/tests/hostile/resources.rs::scratch_is_limited_in_bytes_and_files"], "Scratch dirs on disk have no limit"),
    row(28, "Channels over shared files", &["core/tests/linux/share.rs::nobody_feels_locks_and_watches_of_others_on_what_all_share", "core/tests/linux/share.rs::what_no_overlay_can_span_is_bound_and_reported_and_nothing_vanishes"], "Binds of the spec are shared on purpose; a part of the root that no overlay can span is a bind too, and reported"),
    row(29, "SysV and POSIX IPC", &[], ""),
    row(30, "Archives", &["core/src/backend/linux/oci/tests.rs::evil_entries_are_refused_and_write_nothing_anywhere", "core/src/backend/linux/oci/tests.rs::pax_paths_and_sizes_are_checked_like_others", "core/src/backend/linux/oci/tests.rs::what_is_too_large_is_refused"], "Image layers are unpacked by the host process, not in a sandbox"),
    row(31, "Nested user namespaces", &["core/keeper/src/seccomp/mod.rs::no_namespaces_by_clone_and_none_by_the_others"], ""),
    row(32, "New system calls", &["core/keeper/src/seccomp/mod.rs::every_number_gets_the_verdict_of_the_policy"], ""),
    row(33, "ptrace and its relatives", &["core/keeper/src/seccomp/mod.rs::the_doors_that_must_stay_shut_are"], ""),
    row(34, "Keyrings", &["core/keeper/src/seccomp/mod.rs::the_doors_that_must_stay_shut_are"], ""),
    row(35, "bpf and perf", &["core/keeper/src/seccomp/mod.rs::the_doors_that_must_stay_shut_are"], ""),
    row(36, "io_uring", &[], ""),
    row(37, "userfaultfd", &["core/keeper/src/seccomp/mod.rs::the_doors_that_must_stay_shut_are"], ""),
    row(38, "Socket families", &["core/keeper/src/seccomp/mod.rs::only_unix_sockets_of_all_families"], ""),
    row(39, "32-bit and x32 calls", &["core/keeper/src/seccomp/mod.rs::another_architecture_is_trapped"], ""),
    row(40, "Details of the filter", &["core/keeper/src/seccomp/mod.rs::every_number_gets_the_verdict_of_the_policy"], ""),
    row(41, "Calls that change the machine", &["core/keeper/src/seccomp/mod.rs::the_doors_that_must_stay_shut_are"], ""),
    row(42, "Capabilities in the user namespace", &[], ""),
    row(43, "One host user for all", &["tests/tests/hostile/planted.rs::a_scratch_dir_on_disk_is_its_sandboxs_own"], "Without root all sandboxes are the one user who made them"),
    row(44, "Landlock", &["core/tests/linux/layers.rs::landlock_restricts_every_command_and_lets_ordinary_work_go_on"], "Only that it is in force; what it stops the mounts stop too"),
    row(45, "Clock and names", &[], ""),
    row(46, "Speculation, SMT, KSM", &[], "Up to the operator of the machine"),
    row(47, "Fork bombs", &["tests/tests/hostile/resources.rs::a_fork_bomb_is_contained", "tests/tests/hostile/neighbours.rs::neighbours_are_served_beside_every_attack_and_the_attacker_can_be_ended"], ""),
    row(48, "Memory bombs", &["tests/tests/hostile/resources.rs::a_memory_bomb_is_contained", "tests/tests/hostile/neighbours.rs::neighbours_are_served_beside_every_attack_and_the_attacker_can_be_ended"], "Full socket buffers"),
    row(49, "CPU hogs", &["tests/tests/hostile/neighbours.rs::neighbours_are_served_beside_every_attack_and_the_attacker_can_be_ended"], "How much longer a neighbour's calls take is measured by `make bench` (`linux.neighbour.*`), not promised. Beside a hog that has all processors every process of the machine waits for the scheduler's tick, a program of the host as long as one in a sandbox (`host_p99` in those rows). `limits.cpus` bounds what a hog gets"),
    row(50, "Descriptors and other objects", &["tests/tests/hostile/objects.rs::what_one_sandbox_uses_up_its_neighbours_and_the_host_still_have", "tests/tests/hostile/objects.rs::outside_a_sandbox_a_process_can_use_up_what_others_of_its_user_want"], "The sum over many sandboxes: inotify and message queues of all count for who made them too, 8 instances, 4,096 watches and 102,400 bytes each, and terminals for the machine, 16 each. Without root, pipes and epoll watches count for that one user: when sandboxes fill 16,384 pages of pipes, the user's next ones are small, but there"),
    row(51, "Floods of output", &["core/tests/linux/exec.rs::an_output_flood_costs_no_more_memory_than_allowed_and_keeps_both_ends", "tests/tests/hostile/resources.rs::an_output_flood_is_bounded"], ""),
    row(52, "Streams that never end", &["core/tests/linux/exec.rs::what_a_command_leaves_behind_is_killed_when_it_ends", "core/tests/linux/process.rs::a_command_that_reads_nothing_blocks_no_writer_for_ever"], ""),
    row(53, "Escaping a timeout", &["core/tests/linux/exec.rs::a_timeout_ends_every_process_also_those_that_ignore_term_or_made_a_session", "tests/tests/hostile/resources.rs::a_daemon_dies_with_its_command"], "Without a v2 cgroup tree a daemon can outlive its command"),
    row(54, "Zombies, and killing the init", &[], ""),
    row(55, "Signals and processes outside", &[], ""),
    row(56, "Floods of the kernel log", &["tests/tests/hostile/kernel_log.rs::what_is_denied_is_not_logged_and_crashes_are_only_as_far_as_the_kernel_limits_them"], "A line or more for each process that is killed for want of memory, and with `kernel.print-fatal-signals` for each crash: the kernel limits neither"),
    row(57, "Network", &[], ""),
    row(58, "Sockets of daemons", &[], "A bind of a directory may hold sockets: it is the caller's choice"),
    row(59, "Left-overs of the former holder", &["core/tests/linux/exec.rs::what_a_command_leaves_behind_is_killed_when_it_ends", "core/tests/linux/reset.rs::the_next_holder_finds_what_is_in_a_sandbox_that_was_never_used", "core/tests/linux/late.rs::hostile_processes_keep_nothing_beyond_the_put"], "By default files in a reused sandbox stay; `reuse: Reset` removes them"),
    row(60, "Stale refs", &["core/tests/refs.rs::a_stale_ref_never_touches_the_next_holder", "core/tests/refs.rs::of_eight_racing_puts_exactly_one_counts"], ""),
    row(61, "Bytes of the attacker in messages", &["tests/tests/conformance/matrix.rs::every_case_holds_in_every_language"], ""),
    row(62, "A hostile init", &["core/keeper/tests/hostile_init.rs::no_frame_of_an_init_does_more_than_fail", "core/keeper/tests/hostile_init.rs::long_frames_and_memfds_of_an_init_are_refused", "core/keeper/tests/protocol.rs::commands_run_confined_and_everything_ends_with_the_host", "core/keeper/tests/host_frames.rs::whatever_a_host_sends_its_keeper_answers_or_ends_and_leaves_nothing", "core/keeper/tests/host_frames.rs::no_bytes_of_a_host_do_more_than_fail", "tests/tests/hostile/evil_init.rs::whatever_an_init_does_every_call_ends_and_the_next_sandbox_is_honest"], "An init that lies plausibly, about how a command ended or that a file was written, is believed: it lies about its own sandbox. What a hostile one says to the keeper while it is set up is made up too"),
    row(63, "docker", &[], "There is no docker backend yet"),
    row(64, "Our own supply chain and unsafe code", &["tests/tests/tidy.rs::unsafe_code_is_only_where_it_belongs"], ""),
    row(65, "Checks that one entry point forgets", &["tests/tests/conformance/matrix.rs::every_case_holds_in_every_language"], ""),
];

const BEGIN: &str =
    "<!-- Generated by `SANDBOXSET_REWRITE=1 cargo test -p sandboxset-tests --test probes`: begin -->\n";
const END: &str = "<!-- Generated: end -->\n";

fn render() -> String {
    let mut text = String::from("| # | threat | covered by | not covered |\n| --- | --- | --- | --- |\n");
    for row in ROWS {
        let mut covered: Vec<String> = Vec::new();
        for probe in PROBES.iter().filter(|probe| probe.rows.contains(&row.number)) {
            let name = probe.name();
            // Whoever has no control is only said to be refused.
            let star = if matches!(probe.control, Control::Maybe | Control::None(_)) { "*" } else { "" };
            covered.push(format!("`{name}`{star}"));
        }
        covered.extend(row.tests.iter().map(|test| format!("`{test}`")));
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.number,
            row.vector,
            if covered.is_empty() { "–".to_owned() } else { covered.join(", ") },
            row.missing
        )
        .unwrap();
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_row_says_what_covers_it_or_why_nothing_does() {
    let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=65).collect::<Vec<u32>>());
    for row in ROWS {
        let probed = PROBES.iter().any(|probe| probe.rows.contains(&row.number));
        assert!(probed || !row.tests.is_empty() || !row.missing.is_empty(), "row {}", row.number);
    }
}

#[test]
fn the_table_in_the_security_policy_is_the_generated_one() {
    let path = root().join("SECURITY.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where the table ends");
    if std::env::var_os("SANDBOXSET_REWRITE").is_some() {
        std::fs::write(&path, [before, BEGIN, &render(), END, after].concat()).unwrap();
        return;
    }
    assert!(table == render(), "SECURITY.md is stale; rerun with SANDBOXSET_REWRITE=1");
}

#[test]
fn every_test_that_the_security_policy_names_is_there() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut named = 0;
    for (file, function) in text.split('`').filter_map(|word| word.split_once(".rs::")) {
        named += 1;
        let source = std::fs::read_to_string(root().join(format!("{file}.rs")))
            .unwrap_or_else(|error| panic!("{file}.rs: {error}"));
        assert!(source.contains(&format!("fn {function}()")), "{file}.rs has no {function}");
    }
    println!("{named} tests named");
    assert!(named > 50, "only {named} tests are named");
}
