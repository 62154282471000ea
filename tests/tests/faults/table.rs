//! The table of faults: what may go wrong, which test shows that it is survived, and what no test shows.
//!
//! `make test` prints it with the results of its run, which it has written to the file that `SANDBOXSET_TEST_LOG`
//! names. Without that it only says whether the tests are there.

use std::path::Path;

/// One row.
struct Row {
    number: u32,
    fault: &'static str,
    /// As `file::function`.
    tests: &'static [&'static str],
    /// What is not covered, and why.
    missing: &'static str,
}

const fn row(number: u32, fault: &'static str, tests: &'static [&'static str], missing: &'static str) -> Row {
    Row { number, fault, tests, missing }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(1, "SIGKILL of the host in each phase", &["tests/tests/host_death.rs::killed_in_each_phase", "tests/tests/host_death.rs::killed_at_random_moments", "tests/tests/host_death.rs::killed_as_an_ordinary_user", "tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], ""),
    row(2, "SIGKILL of the keeper in each phase, or a keeper that stands still", &["tests/tests/keeper_death.rs::holders_are_told_and_the_set_recovers", "tests/tests/keeper_death.rs::killed_while_many_threads_work", "tests/tests/faults/processes.rs::a_stopped_keeper_stops_nobody_who_needs_it_not", "tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], ""),
    row(3, "Host and keeper at once, or everything in their cgroup", &["tests/tests/keeper_death.rs::host_and_keeper_at_once", "tests/tests/faults/processes.rs::a_host_that_is_killed_with_its_cgroup_is_swept_by_the_next"], ""),
    row(4, "An init is killed or runs out of memory", &["tests/tests/faults/processes.rs::inits_that_are_killed_at_random_moments_are_told_and_replaced", "tests/tests/hostile/resources.rs::a_memory_bomb_is_contained", "core/tests/faults.rs::an_idle_sandbox_that_died_is_not_handed_out", "core/tests/faults.rs::a_dead_sandbox_answers_with_the_first_cause_and_is_not_reused"], ""),
    row(5, "A parent dies", &["core/tests/parents/failing.rs::a_parent_that_is_killed_mid_fork_or_at_rest_is_replaced", "core/tests/parents/closing.rs::the_death_of_the_root_ends_the_whole_tree", "core/tests/linux/fork.rs::the_end_of_a_parent_ends_forks_under_way"], ""),
    row(6, "The host forks", &["core/tests/forked.rs::a_forked_child_is_refused_and_harms_nothing", "bindings/python/tests/test_lifetime.py::test_a_forked_child_is_refused", "bindings/python/tests/test_lifetime.py::test_multiprocessing_fork", "bindings/python/tests/test_odd_hosts.py::test_a_host_that_becomes_a_daemon"], ""),
    row(7, "The host becomes another program", &["tests/tests/faults/hosts.rs::a_host_that_becomes_another_program_leaves_nothing_to_it"], ""),
    row(8, "The host stands still; clocks jump", &["tests/tests/faults/processes.rs::a_host_that_stands_still_now_and_then_loses_nothing", "tests/tests/faults/table.rs::no_deadline_is_measured_by_the_wall_clock"], "The machine's clock is not really turned: everybody on it would feel that"),
    row(9, "The host ends without a close", &["tests/tests/faults/hosts.rs::however_it_ends_nothing_is_left", "bindings/python/tests/test_lifetime.py::test_exit", "bindings/python/tests/test_linux.py::test_exit_with_held_sandboxes"], "Node and Go: not there yet"),
    row(10, "The host is process 1 of a container", &["tests/tests/faults/hosts.rs::as_process_1_of_a_container_it_keeps_no_zombies"], ""),
    row(11, "Workloads that daemonise, 10,000 double forks", &["tests/tests/hostile/resources.rs::a_daemon_dies_with_its_command", "tests/tests/hostile/resources.rs::a_fork_bomb_is_contained"], ""),
    row(12, "The container daemon stops, hangs or lies", &[], "There is no docker backend yet"),
    row(13, "Its connection is cut in the middle of a command", &[], "There is no docker backend yet"),
    row(20, "Any system call fails", &["tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], "A sample each time; all with SANDBOXSET_ALL_SYSTEM_CALLS=1. Only as root. `close`, and memory that is refused while a thread is started"),
    row(21, "A process is killed at a system call", &["tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], "At the first and the last of each kind"),
    row(22, "A system call takes longer than its caller may", &["tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], "At the first and the last of fifteen kinds"),
    row(23, "Too few descriptors", &["tests/tests/faults/exhaustion.rs::too_few_descriptors"], ""),
    row(24, "Too few processes, namespaces or mounts", &["tests/tests/faults/exhaustion.rs::too_few_processes", "tests/tests/faults/exhaustion.rs::too_few_namespaces"], "The limits on mounts and on network namespaces alone"),
    row(25, "A full disk, too few cgroups", &["tests/tests/faults/exhaustion.rs::a_full_disk_of_scratch_dirs", "tests/tests/faults/exhaustion.rs::too_few_cgroups", "tests/tests/hostile/planted.rs::a_base_of_scratch_dirs_may_vanish"], ""),
    row(26, "Quotas of keyrings, terminals and watches", &[], "Not used"),
    row(27, "The host runs out of memory", &["tests/tests/hostile/resources.rs::an_output_flood_is_bounded", "core/tests/linux/exec.rs::an_output_flood_costs_no_more_memory_than_allowed_and_keeps_both_ends"], "Cannot be promised: Rust's own library aborts"),
    row(28, "Interrupted calls, a storm of signals", &["tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left", "bindings/python/tests/test_odd_hosts.py::test_a_storm_of_signals"], "Short writes"),
    row(29, "SIGPIPE", &["core/tests/threads.rs::an_idle_set_has_no_threads_and_busy_ones_take_no_signals", "core/tests/linux/process.rs::a_dropped_or_cancelled_process_is_killed"], "A C host with the default disposition that writes to a command which ends"),
    row(30, "Ctrl-C", &["bindings/python/tests/test_linux.py::test_interrupt", "bindings/python/tests/test_interrupt.py::test_interrupts_lose_no_place"], ""),
    row(31, "A host that ignores SIGCHLD or reaps everything", &["tests/tests/faults/hosts.rs::ends_of_commands_are_right_whatever_the_host_does_with_its_own_children"], ""),
    row(40, "A freeze does not complete", &["tests/tests/faults/unkillable.rs::calls_into_an_unkillable_sandbox_end", "core/tests/faults.rs::a_put_that_cannot_pause_destroys_without_an_error"], "A real process that cannot be frozen while no command runs"),
    row(41, "A thaw fails", &["core/tests/faults.rs::a_failed_unpause_tries_the_next_idle_one", "core/tests/faults.rs::if_no_idle_one_is_usable_a_new_one_is_made"], ""),
    row(42, "Pause, exec and destroy raced", &["core/tests/refs.rs::of_eight_racing_puts_exactly_one_counts", "tests/tests/soak.rs::sixteen_threads_share_four_sandboxes"], "The guard's transitions under all schedules"),
    row(43, "Destroying what is paused", &["core/tests/linux/lifecycle.rs::destroy_ends_everything_also_what_is_paused_and_calls_that_wait"], "ptrace and vfork"),
    row(44, "A sandbox that cannot be killed", &["tests/tests/faults/unkillable.rs::an_unkillable_sandbox_costs_its_place_for_five_seconds_and_goes_when_it_can", "tests/tests/faults/unkillable.rs::a_close_waits_for_what_dies_before_its_deadline", "core/tests/faults.rs::a_destroy_that_hangs_frees_its_place_and_counts_when_it_ends", "core/tests/closing.rs::close_tries_again_what_could_not_be_destroyed_before", "core/keeper/tests/ending.rs::others_are_served_while_what_cannot_end_is_removed"], ""),
    row(45, "The quarantine fills", &["core/src/set/slots/model.rs::every_history_keeps_the_promises"], "No error of its own: who waits is told of the quarantine"),
    row(46, "Cgroups that are busy, gone or not ours", &["tests/tests/faults/matrix.rs::whatever_system_call_fails_nothing_hangs_crashes_or_is_left"], "Cgroups that somebody else removes or makes below ours"),
    row(47, "Leftovers of dead owners, doubtful owners", &["tests/tests/keeper_death.rs::host_and_keeper_at_once", "core/keeper/src/owner.rs::another_boot_start_time_or_pid_is_dead", "core/keeper/src/owner.rs::what_cannot_be_read_is_no_sign_of_death", "core/keeper/src/owner.rs::an_owner_in_another_pid_namespace_may_live"], "Eight sweeps at once"),
    row(48, "The base of scratch dirs vanishes", &["tests/tests/hostile/planted.rs::a_base_of_scratch_dirs_may_vanish"], ""),
    row(49, "The host does not read", &["core/tests/linux/process.rs::a_command_that_reads_nothing_blocks_no_writer_for_ever", "tests/tests/faults/processes.rs::a_host_that_stands_still_now_and_then_loses_nothing"], ""),
    row(50, "flock on odd file systems", &[], "No lock files are used"),
    row(60, "A caller gives up at every point", &["core/tests/fairness.rs::who_gives_up_leaves_at_once_and_its_sandbox_is_not_lost", "core/src/set/slots/model.rs::every_history_keeps_the_promises"], "There are no futures yet"),
    row(61, "A waiter gives up as it is served", &["core/tests/fairness.rs::a_cancel_that_races_the_hand_over_loses_nothing"], "Under all schedules"),
    row(62, "The way back hangs", &["core/tests/closing.rs::close_ends_a_put_that_hangs_and_a_sandbox_that_is_being_made", "core/tests/reset.rs::a_reset_that_hangs_ends_the_sandbox_after_five_seconds"], ""),
    row(63, "Asynchronous runtimes that end", &[], "There is no asynchronous form yet"),
    row(64, "Panics in callbacks and backends", &["core/tests/faults.rs::a_panicking_create_is_an_internal_error", "core/tests/faults.rs::a_panicking_backend_call_destroys_its_sandbox_only", "core/tests/faults.rs::the_command_policy_sees_every_command_first", "core/src/threads.rs::a_panicking_job_harms_no_other"], ""),
    row(65, "The last handle goes in an odd place", &["core/tests/closing.rs::dropping_the_last_handle_closes_without_waiting", "bindings/python/tests/test_lifetime.py::test_a_policy_that_knows_its_set_can_be_collected"], ""),
    row(66, "Order of locks", &["core/tests/parents/failing.rs::nothing_is_lost_whatever_fails"], "No ranks are checked: locks are taken one at a time"),
    row(67, "Very many waiters, a close with waiters", &["core/tests/fairness.rs::waiters_are_served_in_the_order_of_their_arrival", "core/tests/closing.rs::close_fails_those_who_wait_and_waits_for_holders", "tests/tests/soak.rs::nobody_starves"], ""),
    row(68, "Handles that are used twice, late or from everywhere", &["core/tests/refs.rs::a_stale_ref_never_touches_the_next_holder", "core/tests/refs.rs::of_eight_racing_puts_exactly_one_counts"], ""),
    row(69, "Creating fails again and again", &["core/tests/faults.rs::refills_back_off_and_recover", "core/tests/linux/lifecycle.rs::a_keeper_that_cannot_be_run_is_an_error_and_soon_a_fast_one"], "There is no breaker in the set yet"),
    row(70, "Statistics under load", &["tests/tests/soak.rs::sixteen_threads_share_four_sandboxes", "core/src/set/slots/model.rs::every_history_keeps_the_promises"], ""),
    row(71, "A timeout of nothing, or at the very moment", &["core/tests/fairness.rs::who_gives_up_leaves_at_once_and_its_sandbox_is_not_lost"], ""),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What the log of a run says of a test: harnesses write `test path::name ... ok` and `path::name PASSED`.
fn result(log: &str, test: &str) -> &'static str {
    let (_, function) = test.split_once("::").unwrap();
    let names = |line: &str| {
        let words = |c: char| !c.is_alphanumeric() && c != '_';
        line.split(words).any(|word| word == function)
    };
    let mut result = "did not run";
    for line in log.lines().filter(|line| names(line)) {
        if line.contains("SKIPPED") {
            return "SKIPPED";
        }
        if line.contains("... FAILED") || line.starts_with("FAILED") || line.contains(" FAILED") {
            return "FAILED";
        }
        if line.contains("... ok") || line.contains(" PASSED") || line.starts_with("PASSED") {
            result = "ok";
        }
    }
    result
}

#[test]
fn every_row_names_tests_that_are_there_or_says_why_there_is_none() {
    let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
    let all: Vec<u32> = [1..=13, 20..=31, 40..=50, 60..=71].into_iter().flatten().collect();
    assert_eq!(numbers, all);
    let log = std::env::var_os("SANDBOXSET_TEST_LOG").map(|path| std::fs::read_to_string(path).unwrap());
    let (mut named, mut bad) = (0, Vec::new());
    println!("faults, and what shows that they are survived:");
    for row in ROWS {
        assert!(!row.tests.is_empty() || !row.missing.is_empty(), "F{} says nothing", row.number);
        println!("F{} {}", row.number, row.fault);
        for test in row.tests {
            named += 1;
            let (file, function) = test.split_once("::").unwrap();
            let source = std::fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("F{}: {file}: {error}", row.number));
            let keyword = if file.ends_with(".py") { "def" } else { "fn" };
            let is_there = source.contains(&format!("{keyword} {function}("));
            let result = match &log {
                _ if !is_there => "IS NOT THERE",
                Some(log) => result(log, test),
                None => "is there",
            };
            println!("    {result}: {test}");
            if !is_there || result == "FAILED" {
                bad.push(format!("F{} {test}: {result}", row.number));
            }
        }
        if !row.missing.is_empty() {
            println!("    not covered: {}", row.missing);
        }
    }
    println!("{} rows, {named} tests named", ROWS.len());
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn results_are_read_from_the_log_of_a_run() {
    let log = "test a::one ... ok\ntest two ... FAILED\nSKIPPED: b::three: no root\ntest b::three ... ok\n\
               PASSED bindings/tests/test_x.py::four[a]\n";
    let results =
        ["one", "two", "three", "four", "five"].map(|name| result(log, &format!("file.rs::{name}")));
    assert_eq!(results, ["ok", "FAILED", "SKIPPED", "ok", "did not run"]);
}

/// What a jump of the machine's clock could move: only where a wall clock is read at all.
#[test]
fn no_deadline_is_measured_by_the_wall_clock() {
    fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    for dir in ["core/src", "core/keeper/src", "ffi/src", "bindings/python/src"] {
        sources(&root().join(dir), &mut found);
    }
    assert!(found.iter().any(|(_, text)| text.contains("Instant::now")), "nothing was looked at");
    let wall: Vec<&String> = found
        .iter()
        .filter(|(_, text)| text.contains("SystemTime") || text.contains("CLOCK_REALTIME"))
        .map(|(file, _)| file)
        .collect();
    assert!(wall.is_empty(), "the wall clock is read in {wall:?}");
}
