//! The layout of every struct that crosses the boundary, compared with the frozen table that the C side asserts too.

use std::fmt::Write;
use std::mem::offset_of;

use crate::options::Plain;
use crate::{
    backend, binding, command, config, dir, event, get_options, mock, report, runtime, spec, stats, usage,
    zygote_tree,
};

macro_rules! layout {
    ($table:ident, $($module:ident::$name:ident { $($field:ident),* $(,)? })*) => {$(
        let size = size_of::<$module::$name>();
        // Until a field is appended to a released struct, its size is the first one.
        assert_eq!(<$module::$name as Plain>::FIRST_SIZE, size, stringify!($name));
        // All fields are named below: a struct pattern without `..` does not compile otherwise.
        let $module::$name { $($field: _),* } = Plain::defaults();
        writeln!($table, "{} {size}", stringify!($name)).unwrap();
        $(writeln!($table, "{} {} {}", stringify!($name), stringify!($field),
            offset_of!($module::$name, $field)).unwrap();)*
    )*};
}

#[test]
fn the_layout_is_the_frozen_one() {
    let mut table = String::new();
    layout! { table,
        backend::sandboxset_linux_options { struct_size, keeper, image_cache, shells }
        backend::sandboxset_capabilities { struct_size, pause, exec, connect, files, reset, fork, bind, reserved }
        mock::sandboxset_mock_fault { struct_size, kind, reserved, message, delay_ms }
        spec::sandboxset_spec { struct_size, root, code_dir, binds, binds_length, env, limits, runtime, layers,
            python_runtime, node_runtime }
        spec::sandboxset_bind { struct_size, source, target, writable, reserved }
        spec::sandboxset_limits { struct_size, memory_bytes, cpus, scratch_bytes, scratch_inodes, open_files,
            file_bytes, pids, reserved }
        runtime::sandboxset_runtime { struct_size, args, env, ready_timeout_ms, forks, reserved, brings }
        runtime::sandboxset_python_runtime { struct_size, preload, handler, interpreter, brings, paths, env,
            ready_timeout_ms, json, reserved }
        runtime::sandboxset_node_runtime { struct_size, handler, interpreter, brings, env, ready_timeout_ms, json,
            reserved }
        config::sandboxset_config { struct_size, max_size, min_idle, max_waiters, get_timeout_ms,
            create_timeout_ms, reuse, reserved, scratch_dirs, clock, parent, max_forks }
        get_options::sandboxset_get_options { struct_size, timeout_ms, no_wait, acquire, cancel, binding }
        binding::sandboxset_late_binding { struct_size, env, secrets, secrets_length, files, files_length, binds,
            binds_length, limits }
        binding::sandboxset_secret { struct_size, name, bytes, length }
        binding::sandboxset_late_file { struct_size, path, bytes, length, mode, reserved }
        binding::sandboxset_late_limits { struct_size, memory_bytes, cpus, pids, reserved }
        command::sandboxset_command { struct_size, args, env, cwd, stdin_mode, on_overflow, stdin_bytes,
            stdin_length, timeout_ms, grace_ms, output_bytes, memory_bytes, cpu_seconds, cancel }
        usage::sandboxset_usage { struct_size, wall_ns, cpu_ns, peak_memory_bytes, memory_bytes, pids, reserved,
            proportional_memory_bytes }
        dir::sandboxset_dir_entry { struct_size, name, kind, reserved }
        report::sandboxset_layer { struct_size, name, detail, status, reserved }
        event::sandboxset_event_info { struct_size, sequence, sandbox_id, lost, text, kind, reserved, child_id }
        stats::sandboxset_stats { struct_size, idle, held, creating, resuming, returning, destroying,
            quarantined, waiting, gets, hits, misses_empty, misses_all_busy, misses_fresh_only,
            misses_unhealthy, misses_other, waits, timeouts, created, create_failures, puts, destroyed,
            resets, reset_failures, forks, fork_failures }
        zygote_tree::sandboxset_package { struct_size, name, import_time_ns, memory_bytes, required }
        zygote_tree::sandboxset_function_imports { struct_size, name, imports, weight }
        zygote_tree::sandboxset_tree_limits { struct_size, max_nodes, memory_bytes, node_bytes }
        zygote_tree::sandboxset_tree_node { struct_size, parent, preload, preload_length, memory_bytes }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/c/layout.txt");
    if std::env::var_os("SANDBOXSET_REWRITE").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let frozen = std::fs::read_to_string(path).unwrap();
    assert_eq!(table, frozen, "layouts are frozen; for an appended field rerun with SANDBOXSET_REWRITE=1");
}
