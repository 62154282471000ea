/*
 * sandboxset.h: a warm, thread-safe set of sandboxes for one function, inside your own process.
 *
 * Generated from the sources of libsandboxset; changes by hand are lost.
 *
 * WORDS
 *
 *   set       all sandboxes of one function: sandboxset
 *   ref       the handle one caller holds while it uses one sandbox: sandboxset_ref. It ends by put or destroy,
 *             exactly once
 *   spec      the recipe of a sandbox: root file system, mounts, environment, limits
 *   backend   makes sandboxes: of Linux namespaces, or mocks for tests
 *   runtime   a long-lived process in a sandbox that answers requests
 *   scratch   the writable directory of one sandbox
 *
 * CALLING CONVENTION
 *
 *   Functions return a sandboxset_code, which is SANDBOXSET_OK or says what went wrong. Exceptions, which cannot
 *   fail: *_init and *_free return nothing; sandboxset_error_*, sandboxset_code_name and sandboxset_version*
 *   return their value.
 *
 *   Parameters come in this order: the object itself, inputs, outputs (out_* and structs to fill), out_error.
 *   Outputs are written on success only; an optional one may be NULL where its comment says so.
 *
 *   out_error is always the last parameter and may be NULL. On failure, and only then, it is set to a new error
 *   with the details, to be freed with sandboxset_error_free. Whatever it pointed to before is overwritten.
 *
 *   NULL where it is not allowed, a handle of another type, a value out of range: SANDBOXSET_INVALID_ARGUMENT,
 *   and sandboxset_error_field names the parameter. What must not be passed is a handle that was freed.
 *
 *   Texts are UTF-8 and end with NUL. Paths, arguments and environment strings are bytes that end with NUL. Lists
 *   of strings end with a NULL pointer. Data is a pointer and a length, and may hold any byte. Everything passed
 *   in is copied before the call returns.
 *
 *   Enumerations are uint32_t. An unknown value passed in is an error; be ready for unknown values handed out.
 *   Yes or no in a struct is a uint32_t, 1 or 0. Times are in the unit that the name ends with (_ms, _ns), sizes
 *   in bytes.
 *
 * STRUCTS
 *
 *   Every struct begins with struct_size and only ever grows at its end, so that a program works with newer and
 *   older libraries. An option struct is initialised with its *_init function, which needs sizeof because it
 *   must not write more than the program that was compiled earlier has room for:
 *
 *       sandboxset_config config;
 *       sandboxset_config_init(&config, sizeof config);
 *       config.max_size = 4;
 *
 *   A struct to be filled needs only its size: sandboxset_stats stats; stats.struct_size = sizeof stats;
 *   Fields that an older library does not know must be zero in an option struct, and are zeroed in a filled one.
 *
 * HANDLES
 *
 *   made by                                         freed by
 *   ----------------------------------------------  ----------------------------
 *   sandboxset_backend_linux_new, _mock_new         sandboxset_backend_free
 *   sandboxset_new                                  sandboxset_free
 *   sandboxset_get_or_create_unpaused               sandboxset_ref_free
 *   sandboxset_ref_exec, sandboxset_process_wait    sandboxset_output_free
 *   sandboxset_ref_spawn                            sandboxset_process_free
 *   sandboxset_ref_connect                          sandboxset_connection_free
 *   sandboxset_ref_call, _read_file, _log           sandboxset_bytes_free
 *   sandboxset_ref_list_dir                         sandboxset_dir_free
 *   sandboxset_events                               sandboxset_event_stream_free
 *   sandboxset_event_stream_next                    sandboxset_event_free
 *   sandboxset_isolation_report, _backend_ the same sandboxset_report_free
 *   sandboxset_close_report, _destroy_reasons       sandboxset_tally_free
 *   sandboxset_cancel_new                           sandboxset_cancel_free
 *   sandboxset_clock_new                            sandboxset_clock_free
 *   every out_error                                 sandboxset_error_free
 *
 *   A callback's result is freed as that of the function without _async.
 *
 *   Free a handle once, when no thread is in a call with it any more; asynchronous calls that are under way do not
 *   count. The order does not matter, because each keeps what it needs of the others. Frees accept NULL and do not
 *   wait. "Borrowed" memory lives as long as the handle it was borrowed from.
 *
 * THREADS
 *
 *   Every handle may be used by any number of threads at once. Calls on one sandboxset_connection do not overlap:
 *   the second is SANDBOXSET_INVALID_STATE. The library installs no signal handler, never forks the calling
 *   process, and changes nothing else that belongs to the whole process.
 *
 * ASYNCHRONOUS CALLS
 *
 *   Every function that waits has a form that ends in _async and does not. It takes a callback and user_data, which
 *   is passed on as it is, instead of the outputs:
 *
 *       void on_get(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *error);
 *       sandboxset_get_or_create_unpaused_async(set, NULL, on_get, user_data, &error);
 *
 *   If the call returns SANDBOXSET_OK, the callback is called exactly once; else never. The call fails only if an
 *   argument is not valid in itself, no thread can be started (SANDBOXSET_NO_CAPACITY), in a forked child, or where
 *   it says so. All else that may go wrong is told to the callback.
 *
 *   The callback is called on a thread of the library, whose signals are all blocked, and never on the caller's;
 *   it may begin, and end, before the call returns. What the caller wrote before the call is seen by it. It owns the
 *   result and the error, one of which is NULL, and frees them. No lock of the library is held, so it may call any
 *   function; but it should be short, because other callbacks may wait for it, and must not wait for another
 *   callback, throw, longjmp or end its thread. Callbacks run at once on several threads, in any order.
 *
 *   Gets wait in one queue, first in, first out, whether by a thread or asynchronously, and have their place when the
 *   call returns. No thread waits for them. All other calls have a thread of the library each while they are under way.
 *
 *   A call is cancelled by the sandboxset_cancel that it takes, if it takes one: its callback comes all the same, with
 *   SANDBOXSET_CANCELLED, or with the result if that was first. Handles may be freed while calls are under way. What
 *   the free does it does at once: a set is closed, a sandbox that was not put destroyed, a process killed, a
 *   connection closed, a subscription ended; the calls end by that, and their callbacks come. A put or destroy ends
 *   calls on the ref with SANDBOXSET_STALE_REF or SANDBOXSET_SANDBOX_DEAD.
 *
 *   A process that exits need not wait for callbacks. Those that are still to come then never do.
 *
 *   Functions without such a form do not wait. They are done in the time of a few system calls: also
 *   sandboxset_backend_linux_new, which looks at the host, sandboxset_ref_destroy, _free and sandboxset_shrink, which
 *   leave the teardown to the library, and sandboxset_process_signal, _kill and _close_stdin.
 *
 * FORK
 *
 *   After fork, in the child: no callback comes, every call is SANDBOXSET_FORKED_PROCESS, every free does nothing (the sandboxes
 *   belong to the parent), except those of sandboxset_error, which work. Once loaded the library stays loaded:
 *   dlclose does not unload it.
 */


#ifndef SANDBOXSET_H
#define SANDBOXSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOXSET_STRINGIFY_(x) #x
#define SANDBOXSET_STRINGIFY(x) SANDBOXSET_STRINGIFY_(x)
/* The version of this header as a text. */
#define SANDBOXSET_VERSION SANDBOXSET_STRINGIFY(SANDBOXSET_VERSION_MAJOR) "." \
  SANDBOXSET_STRINGIFY(SANDBOXSET_VERSION_MINOR) "." SANDBOXSET_STRINGIFY(SANDBOXSET_VERSION_PATCH)


// Keep as many sandboxes prepared as were lately asked for at once.
#define SANDBOXSET_SHELLS_ON_DEMAND UINT64_MAX

// What a command reads: nothing.
#define SANDBOXSET_STDIN_NULL 0

// What a command reads: the bytes of stdin_bytes, then the end.
#define SANDBOXSET_STDIN_BYTES 1

// What a command reads: what sandboxset_process_write writes; only for sandboxset_ref_spawn.
#define SANDBOXSET_STDIN_STREAM 2

// Beyond output_bytes: head and tail are kept, the middle is counted and dropped.
#define SANDBOXSET_OVERFLOW_TRUNCATE 0

// Beyond output_bytes: the command is killed; its outcome is SANDBOXSET_OUTCOME_OUTPUT_LIMIT.
#define SANDBOXSET_OVERFLOW_KILL 1

// What a put does before the sandbox becomes idle: nothing, the next holder finds what the last one left.
#define SANDBOXSET_REUSE_KEEP 0

// What a put does before the sandbox becomes idle: it is emptied in the background, and verified from outside to be
// as it was when fresh; any doubt destroys it. Not for sandboxes with a runtime.
#define SANDBOXSET_REUSE_RESET 1

// What a put does before the sandbox becomes idle: it is destroyed, and another takes its place; with min_idle, one
// that was made ahead in the background.
#define SANDBOXSET_REUSE_REPLACE 2

// The kind of a file: a regular file.
#define SANDBOXSET_FILE_REGULAR 0

// The kind of a file: a directory.
#define SANDBOXSET_FILE_DIRECTORY 1

// The kind of a file: a symbolic link, which the host never follows.
#define SANDBOXSET_FILE_SYMLINK 2

// The kind of a file: a FIFO, socket or device.
#define SANDBOXSET_FILE_OTHER 3

// An event: the sandbox was created and is usable.
#define SANDBOXSET_EVENT_CREATE 0

// An event: the sandbox is about to be unpaused.
#define SANDBOXSET_EVENT_UNPAUSE 1

// An event: the sandbox was paused.
#define SANDBOXSET_EVENT_PAUSE 2

// An event: the holder put the sandbox back.
#define SANDBOXSET_EVENT_PUT 3

// An event: the sandbox was destroyed; the text is the reason.
#define SANDBOXSET_EVENT_DESTROY 4

// An event: an operation on the sandbox failed; the text says how.
#define SANDBOXSET_EVENT_FAULT 5

// An event: `lost` events were dropped here, because the stream was not read in time.
#define SANDBOXSET_EVENT_LOST 6

// An event: the sandbox was reset after a put; the text says what was verified from outside.
#define SANDBOXSET_EVENT_RESET 7

// An event: the sandbox `child_id` of another set was forked from this one.
#define SANDBOXSET_EVENT_FORK 8

// An event that this version of the library has no number for.
#define SANDBOXSET_EVENT_OTHER 255

// For a get: an idle sandbox if there is one, else a new one.
#define SANDBOXSET_ACQUIRE_ANY 0

// For a get: only a sandbox that exists already; waits for a put rather than create.
#define SANDBOXSET_ACQUIRE_REUSE_ONLY 1

// For a get: only a sandbox that nobody held before.
#define SANDBOXSET_ACQUIRE_FRESH_ONLY 2

// A time in milliseconds that stands for the set's own default.
#define SANDBOXSET_DEFAULT_MS UINT64_MAX

// A time in milliseconds that never passes.
#define SANDBOXSET_FOREVER_MS (UINT64_MAX - 1)

// An operation of a mock: making a sandbox.
#define SANDBOXSET_MOCK_CREATE 0

// An operation of a mock: pausing a sandbox.
#define SANDBOXSET_MOCK_PAUSE 1

// An operation of a mock: unpausing a sandbox.
#define SANDBOXSET_MOCK_UNPAUSE 2

// An operation of a mock: destroying a sandbox.
#define SANDBOXSET_MOCK_DESTROY 3

// An operation of a mock: running a command.
#define SANDBOXSET_MOCK_EXEC 4

// An operation of a mock: asking whether a sandbox died.
#define SANDBOXSET_MOCK_DEATH 5

// An operation of a mock: resetting a sandbox.
#define SANDBOXSET_MOCK_RESET 6

// An operation of a mock: forking a parent.
#define SANDBOXSET_MOCK_FORK 7

// An operation of a mock: binding late what a get asked for.
#define SANDBOXSET_MOCK_BIND 8

// An operation of a mock: taking that back.
#define SANDBOXSET_MOCK_UNBIND 9

// An operation of a mock: connecting to the runtime.
#define SANDBOXSET_MOCK_CONNECT 10

// An operation of a mock: reading, writing, listing or removing a file.
#define SANDBOXSET_MOCK_FILES 11

// A fault of a mock: the call fails, with `message` as its cause.
#define SANDBOXSET_MOCK_FAIL 0

// A fault of a mock: the call blocks until sandboxset_mock_release_hangs.
#define SANDBOXSET_MOCK_HANG 1

// A fault of a mock: the sandbox dies, then the call fails.
#define SANDBOXSET_MOCK_DIE 2

// A fault of a mock: the call takes `delay_ms`, on the real clock.
#define SANDBOXSET_MOCK_DELAY 3

// The command exited by itself; the status is its exit code.
#define SANDBOXSET_OUTCOME_EXITED 0

// A signal ended the command; the status is its number.
#define SANDBOXSET_OUTCOME_SIGNALED 1

// The command ran longer than its timeout and was killed; the status is 0.
#define SANDBOXSET_OUTCOME_TIMED_OUT 2

// The kernel killed it, or a process it started, because of the sandbox's memory limit; the status is 0.
#define SANDBOXSET_OUTCOME_OUT_OF_MEMORY 3

// The command wrote more than it might and was killed; the status is 0.
#define SANDBOXSET_OUTCOME_OUTPUT_LIMIT 4

// An outcome that this version of the library has no number for; the status is 0.
#define SANDBOXSET_OUTCOME_OTHER 255

// The standard output of a command.
#define SANDBOXSET_STREAM_STDOUT 1

// The standard error of a command.
#define SANDBOXSET_STREAM_STDERR 2

// A layer of isolation is fully in force.
#define SANDBOXSET_LAYER_ACTIVE 0

// A weaker means stands in for a layer of isolation.
#define SANDBOXSET_LAYER_DEGRADED 1

// A layer of isolation is not in force.
#define SANDBOXSET_LAYER_MISSING 2

// The state of a ref's sandbox: running, in the hands of this holder.
#define SANDBOXSET_STATE_HELD 0

// The state of a ref's sandbox: dead.
#define SANDBOXSET_STATE_DEAD 1

// The state of a ref's sandbox: this ref was put or destroyed.
#define SANDBOXSET_STATE_STALE 2

// The state of a ref's sandbox: one that this version of the library has no number for.
#define SANDBOXSET_STATE_OTHER 255

// The version of this header: breaking changes.
#define SANDBOXSET_VERSION_MAJOR 0

// The version of this header: additions.
#define SANDBOXSET_VERSION_MINOR 1

// The version of this header: repairs.
#define SANDBOXSET_VERSION_PATCH 0

// The version of this header as one number that grows: major * 1000000 + minor * 1000 + patch.
#define SANDBOXSET_VERSION_NUMBER 1000

// The parent of the root of a tree: there is none.
#define SANDBOXSET_TREE_NO_PARENT UINT64_MAX

// A set: all sandboxes of one function. Thread-safe.
typedef struct sandboxset sandboxset;

// Makes sandboxes: sandboxset_backend_linux_new for real ones, sandboxset_backend_mock_new for tests. Sets keep
// what they need of it, so it may be freed before them. Thread-safe.
typedef struct sandboxset_backend sandboxset_backend;

// Bytes that the library allocated: a file's content, an answer, a log. Immutable.
typedef struct sandboxset_bytes sandboxset_bytes;

// Ends, from any thread, the calls that it was given to: they return SANDBOXSET_CANCELLED. One may be given to
// many calls; once cancelled it stays so. Calls keep what they need of it, so it may be freed while they run.
typedef struct sandboxset_cancel sandboxset_cancel;

// A clock for tests, which stands still until it is advanced. A set takes its time from it if its
// sandboxset_config says so, and keeps what it needs of it, so it may be freed before the set. Thread-safe.
typedef struct sandboxset_clock sandboxset_clock;

// A stream to a runtime's socket. One call at a time: while one is under way, on another thread or asynchronously, a
// second one is SANDBOXSET_INVALID_STATE.
typedef struct sandboxset_connection sandboxset_connection;

// The entries of a directory in a sandbox, sorted by name. Immutable.
typedef struct sandboxset_dir sandboxset_dir;

// What went wrong in one call: handed out through `out_error`, owned by the caller, freed with
// sandboxset_error_free. Immutable, so any number of threads may read it. Works in a forked child too.
typedef struct sandboxset_error sandboxset_error;

// One thing that happened to one sandbox. Immutable.
typedef struct sandboxset_event sandboxset_event;

// The events of one set from the moment of subscription. Bounded: a slow reader loses the oldest and is told.
// Thread-safe; every event goes to one reader. It may outlive the set.
typedef struct sandboxset_event_stream sandboxset_event_stream;

// How a command ended and what it wrote. Immutable, so any number of threads may read it.
typedef struct sandboxset_output sandboxset_output;

// A command that was started with sandboxset_ref_spawn. Thread-safe: one thread may write while another reads.
typedef struct sandboxset_process sandboxset_process;

// One caller's hold on one sandbox, from a get until put or destroy, exactly once. Thread-safe. A second put or
// destroy, and any use after the first, changes nothing and is SANDBOXSET_STALE_REF. It may outlive its set.
typedef struct sandboxset_ref sandboxset_ref;

// What isolation was reached, layer by layer. Immutable.
typedef struct sandboxset_report sandboxset_report;

// A list of texts, each with a count. Immutable.
typedef struct sandboxset_tally sandboxset_tally;

// A proposal which common sets of packages deserve a parent of their own. Immutable.
typedef struct sandboxset_tree sandboxset_tree;

// How a Linux backend works. Initialise it with sandboxset_linux_options_init.
typedef struct sandboxset_linux_options {
  // sizeof(sandboxset_linux_options).
  size_t struct_size;
  // A path: the keeper to run instead of the built-in one. NULL, the default: the built-in one, or what the
  // environment variable SANDBOXSET_KEEPER names.
  const char *keeper;
  // An absolute path: the directory in which OCI images are unpacked, made if it is missing; nobody else may be
  // able to write to it. NULL, the default: $XDG_CACHE_HOME/sandboxset/oci, or $HOME/.cache/sandboxset/oci.
  const char *image_cache;
  // Sandboxes to keep prepared for each spec once the first create of it has succeeded, 1024 at most. A create that
  // finds one is many times faster; each holds some memory and a process. SANDBOXSET_SHELLS_ON_DEMAND, the default:
  // as many as were lately asked for at once, none once a spec has not been used for minutes. With 0 every create
  // starts from nothing.
  uint64_t shells;
} sandboxset_linux_options;

// The result of a call: SANDBOXSET_OK, or what went wrong. Later versions may return codes that are not listed
// here; numbers are never reused. How a command ended is not an error but an outcome, see SANDBOXSET_OUTCOME_*.
typedef int32_t sandboxset_code;

// What the sandboxes of a backend can do. Set struct_size before the call that fills it.
typedef struct sandboxset_capabilities {
  // sizeof(sandboxset_capabilities).
  size_t struct_size;
  // 1 if they can be paused and unpaused.
  uint32_t pause;
  // 1 if they can run commands.
  uint32_t exec;
  // 1 if they can have a runtime to connect to.
  uint32_t connect;
  // 1 if their files can be read, written, listed and removed.
  uint32_t files;
  // 1 if they can be reset, for SANDBOXSET_REUSE_RESET.
  uint32_t reset;
  // 1 if they can be forked, when their runtime can.
  uint32_t fork;
  // 1 if they can be given secrets, files, binds and tighter limits when they are warm already.
  uint32_t bind;
  // 0.
  uint32_t reserved;
} sandboxset_capabilities;

// A secret: a file of mode 0400 below /run/secrets. Initialise it with sandboxset_secret_init. The library overwrites
// its own copy when it has sent it.
typedef struct sandboxset_secret {
  // sizeof(sandboxset_secret).
  size_t struct_size;
  // The name of the file. Required.
  const char *name;
  // What it holds; NULL, the default, only with length 0.
  const uint8_t *bytes;
  // The number of bytes; default 0.
  size_t length;
} sandboxset_secret;

// A file that is written into the scratch dir before the sandbox is handed out. Initialise it with
// sandboxset_late_file_init.
typedef struct sandboxset_late_file {
  // sizeof(sandboxset_late_file).
  size_t struct_size;
  // A path: relative to the scratch dir, or absolute and below it. Missing directories are made. Required.
  const char *path;
  // What it holds; NULL, the default, only with length 0.
  const uint8_t *bytes;
  // The number of bytes; default 0.
  size_t length;
  // Its permission bits, at most 0777; default 0644.
  uint32_t mode;
  // Must be 0.
  uint32_t reserved;
} sandboxset_late_file;

// A file or directory of the host that is visible in every sandbox of a set. Initialise it with
// sandboxset_bind_init.
typedef struct sandboxset_bind {
  // sizeof(sandboxset_bind).
  size_t struct_size;
  // An absolute path on the host. Required.
  const char *source;
  // An absolute path in the sandbox. Required.
  const char *target;
  // 1 if the sandbox may write to it, 0 (the default) if not. Two sandboxes that share a writable bind are not
  // isolated from each other by it.
  uint32_t writable;
  // Must be 0.
  uint32_t reserved;
} sandboxset_bind;

// Limits for one holder, tighter than the spec's or the same; a looser one is an error. Initialise it with
// sandboxset_late_limits_init.
typedef struct sandboxset_late_limits {
  // sizeof(sandboxset_late_limits).
  size_t struct_size;
  // Bytes of memory, swap included; 0, the default, is the spec's.
  uint64_t memory_bytes;
  // CPU time per time, in cores; 0, the default, is the spec's.
  double cpus;
  // Processes and threads; 0, the default, is the spec's.
  uint32_t pids;
  // Must be 0.
  uint32_t reserved;
} sandboxset_late_limits;

// What one holder gets on top of the spec, from its get until its put. Initialise it with
// sandboxset_late_binding_init.
//
// At the put the variables are forgotten and the limits are the spec's again. The code in the sandbox may have copied
// secrets, files and what is bound; so a sandbox that had any of them is used again only by a set with
// SANDBOXSET_REUSE_RESET, after it was verified that nothing is left, and destroyed at its put by any other set.
typedef struct sandboxset_late_binding {
  // sizeof(sandboxset_late_binding).
  size_t struct_size;
  // Variables of every command of this holder, on top of the spec's and beneath the command's own: "KEY=VALUE"
  // strings and a final NULL. Not for secrets. Default NULL: none.
  const char *const *env;
  // Files of mode 0400 below /run/secrets, in memory that is never swapped out: an array of pointers. Default NULL.
  const struct sandboxset_secret *const *secrets;
  // The number of pointers in `secrets`; default 0.
  size_t secrets_length;
  // Files below the scratch dir: an array of pointers. Default NULL.
  const struct sandboxset_late_file *const *files;
  // The number of pointers in `files`; default 0.
  size_t files_length;
  // Files and directories of the host, always read-only: an array of pointers. Default NULL.
  const struct sandboxset_bind *const *binds;
  // The number of pointers in `binds`; default 0.
  size_t binds_length;
  // Limits that are tighter than the spec's; NULL, the default, for the spec's.
  const struct sandboxset_late_limits *limits;
} sandboxset_late_binding;

// A program, its arguments and its surroundings. Initialise it with sandboxset_command_init. What it points to is
// copied by the call that takes it.
typedef struct sandboxset_command {
  // sizeof(sandboxset_command).
  size_t struct_size;
  // The program and its arguments, and a final NULL. Required. Never interpreted by a shell; a program without
  // a slash is looked up in the command's PATH.
  const char *const *args;
  // "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
  const char *const *env;
  // A path: the working directory in the sandbox. NULL, the default: /scratch.
  const char *cwd;
  // What it reads: SANDBOXSET_STDIN_NULL (the default), _BYTES or _STREAM.
  uint32_t stdin_mode;
  // What happens beyond output_bytes: SANDBOXSET_OVERFLOW_TRUNCATE (the default) or _KILL.
  uint32_t on_overflow;
  // What it reads, with SANDBOXSET_STDIN_BYTES. Default NULL.
  const uint8_t *stdin_bytes;
  // The number of bytes at stdin_bytes; default 0.
  size_t stdin_length;
  // Milliseconds that it may run; default 30000. Afterwards TERM, grace_ms, then KILL of every process it
  // started; its outcome is SANDBOXSET_OUTCOME_TIMED_OUT.
  uint64_t timeout_ms;
  // Milliseconds between TERM and KILL; default 200, 0 is KILL at once.
  uint64_t grace_ms;
  // Bytes kept of each of stdout and stderr: half from the beginning, half from the end; default 1 MiB.
  uint64_t output_bytes;
  // Bytes of address space per process, beneath the sandbox's memory limit; 0, the default, is unlimited.
  uint64_t memory_bytes;
  // CPU seconds per process; 0, the default, is unlimited.
  uint64_t cpu_seconds;
  // Ends the call early and kills the command; NULL, the default, for nothing.
  const struct sandboxset_cancel *cancel;
} sandboxset_command;

// How a set behaves. Initialise it with sandboxset_config_init. What it points to is copied by sandboxset_new.
typedef struct sandboxset_config {
  // sizeof(sandboxset_config).
  size_t struct_size;
  // Sandboxes at most, in whatever state; default 8.
  uint64_t max_size;
  // Idle sandboxes that are kept ready; default 0, so that an unused set costs nothing.
  uint64_t min_idle;
  // Callers that may wait at once; default 1024. One more is SANDBOXSET_OVERLOADED.
  uint64_t max_waiters;
  // Milliseconds that a get waits unless told otherwise; default 30000.
  uint64_t get_timeout_ms;
  // Milliseconds that one create may take; default 60000.
  uint64_t create_timeout_ms;
  // SANDBOXSET_REUSE_KEEP, the default, _RESET or _REPLACE.
  uint32_t reuse;
  // Must be 0.
  uint32_t reserved;
  // A path: an existing directory of the host below which scratch dirs are made; their size is then not
  // limited. NULL, the default: a size-limited tmpfs in each sandbox.
  const char *scratch_dirs;
  // Where time comes from, for tests. NULL, the default: the machine's monotonic clock.
  const struct sandboxset_clock *clock;
  // The set whose sandboxes are forked to make those of this one, which then are never made otherwise; NULL, the
  // default: none. Its sandboxes must be made by the same backend, which can fork, and its reuse must be
  // SANDBOXSET_REUSE_KEEP. It stays open as long as this set or a ref of it exists. See sandboxset_new.
  const struct sandboxset *parent;
  // Forks of one sandbox that may be in flight at once, if this set is a parent; default 8. When more want to
  // fork, the set grows, up to its max_size.
  uint64_t max_forks;
} sandboxset_config;

// Called once with bytes, NULL on an error. They are freed with sandboxset_bytes_free. See ASYNCHRONOUS CALLS.
typedef void (*sandboxset_bytes_fn)(void *user_data,
                                    sandboxset_code code,
                                    struct sandboxset_bytes *bytes,
                                    struct sandboxset_error *error);

// Called once when an asynchronous call has ended that answers nothing but how. See ASYNCHRONOUS CALLS.
typedef void (*sandboxset_done_fn)(void *user_data, sandboxset_code code, struct sandboxset_error *error);

// One entry of a directory. Set struct_size before the call that fills it.
typedef struct sandboxset_dir_entry {
  // sizeof(sandboxset_dir_entry).
  size_t struct_size;
  // The name, which the sandbox chose: any bytes but '/' and NUL, then NUL. Borrowed from the sandboxset_dir.
  const char *name;
  // SANDBOXSET_FILE_*.
  uint32_t kind;
  // 0.
  uint32_t reserved;
} sandboxset_dir_entry;

// Called once with an event, NULL if none came in time. It is freed with sandboxset_event_free.
typedef void (*sandboxset_event_fn)(void *user_data,
                                    sandboxset_code code,
                                    struct sandboxset_event *event,
                                    struct sandboxset_error *error);

// What an event says. Set struct_size before the call that fills it.
typedef struct sandboxset_event_info {
  // sizeof(sandboxset_event_info).
  size_t struct_size;
  // Counts every event of the set from 1; a gap is a loss.
  uint64_t sequence;
  // The sandbox, as sandboxset_ref_id answers it.
  uint64_t sandbox_id;
  // How many events were lost, for SANDBOXSET_EVENT_LOST; else 0.
  uint64_t lost;
  // The reason of a destroy, the text of a fault or what a reset verified, else "". Borrowed from the event.
  const char *text;
  // SANDBOXSET_EVENT_*. New kinds may be added.
  uint32_t kind;
  // 0.
  uint32_t reserved;
  // The child of SANDBOXSET_EVENT_FORK; else 0.
  uint64_t child_id;
} sandboxset_event_info;

// Options of one sandboxset_get_or_create_unpaused. Initialise it with sandboxset_get_options_init.
typedef struct sandboxset_get_options {
  // sizeof(sandboxset_get_options).
  size_t struct_size;
  // Milliseconds to wait: SANDBOXSET_DEFAULT_MS, the default, is the set's get_timeout_ms; 0 is one try without
  // waiting.
  uint64_t timeout_ms;
  // 1 to fail with SANDBOXSET_EXHAUSTED instead of waiting when nothing is idle and nothing may be created;
  // default 0.
  uint32_t no_wait;
  // Which sandboxes will do: SANDBOXSET_ACQUIRE_ANY (the default), _REUSE_ONLY or _FRESH_ONLY.
  uint32_t acquire;
  // Ends the wait early; NULL, the default, for nothing.
  const struct sandboxset_cancel *cancel;
  // What this holder gets on top of the spec, bound after the wait, within 5 s; NULL, the default, for nothing.
  const struct sandboxset_late_binding *binding;
} sandboxset_get_options;

// What happens at a scripted call of a mock. Initialise it with sandboxset_mock_fault_init.
typedef struct sandboxset_mock_fault {
  // sizeof(sandboxset_mock_fault).
  size_t struct_size;
  // SANDBOXSET_MOCK_FAIL (the default), _HANG, _DIE or _DELAY.
  uint32_t kind;
  // Must be 0.
  uint32_t reserved;
  // UTF-8: the cause of SANDBOXSET_MOCK_FAIL; NULL, the default, for a text of ours. Copied.
  const char *message;
  // Milliseconds: the length of SANDBOXSET_MOCK_DELAY; default 0.
  uint64_t delay_ms;
} sandboxset_mock_fault;

// What a command, or a whole sandbox, used. Set struct_size before the call that fills it.
typedef struct sandboxset_usage {
  // sizeof(sandboxset_usage).
  size_t struct_size;
  // Nanoseconds from start to end.
  uint64_t wall_ns;
  // Nanoseconds of CPU time, user and system together.
  uint64_t cpu_ns;
  // Bytes of memory at the peak.
  uint64_t peak_memory_bytes;
  // Bytes of memory now; 0 for a command, which is over. What a sandbox is charged for: each page once, to the
  // sandbox that used it first. So what a fork shares with its parent is the parent's, until the fork writes to it.
  uint64_t memory_bytes;
  // Processes and threads now; 0 for a command.
  uint32_t pids;
  // 0.
  uint32_t reserved;
  // Bytes of memory now as the processes of a sandbox see it (the kernel's PSS): a page that several share, with
  // their parent or with other sandboxes, counts for each of them in part, so that all of them together count it
  // once. 0 for a command, and where the kernel or the processes do not let us look.
  uint64_t proportional_memory_bytes;
} sandboxset_usage;

// Called once with the output of a command, NULL on an error. It is freed with sandboxset_output_free.
typedef void (*sandboxset_output_fn)(void *user_data,
                                     sandboxset_code code,
                                     struct sandboxset_output *output,
                                     struct sandboxset_error *error);

// Called once with a command that was started, NULL on an error. It is freed with sandboxset_process_free.
typedef void (*sandboxset_process_fn)(void *user_data,
                                      sandboxset_code code,
                                      struct sandboxset_process *process,
                                      struct sandboxset_error *error);

// Called once with a connection, NULL on an error. It is freed with sandboxset_connection_free.
typedef void (*sandboxset_connection_fn)(void *user_data,
                                         sandboxset_code code,
                                         struct sandboxset_connection *connection,
                                         struct sandboxset_error *error);

// Called once with the entries of a directory, NULL on an error. They are freed with sandboxset_dir_free.
typedef void (*sandboxset_dir_fn)(void *user_data,
                                  sandboxset_code code,
                                  struct sandboxset_dir *dir,
                                  struct sandboxset_error *error);

// One layer of isolation. Set struct_size before the call that fills it.
typedef struct sandboxset_layer {
  // sizeof(sandboxset_layer).
  size_t struct_size;
  // Its short name, for example "seccomp" or "cgroup.memory". Borrowed from the report.
  const char *name;
  // By what means it was reached, or why not. Borrowed from the report.
  const char *detail;
  // SANDBOXSET_LAYER_*.
  uint32_t status;
  // 0.
  uint32_t reserved;
} sandboxset_layer;

// A command that is started with the sandbox and lives as long as it. Initialise it with sandboxset_runtime_init.
//
// It listens on the stream socket that its environment variable SANDBOXSET_SOCKET names, then writes "READY\n" to
// file descriptor 3; only then is the sandbox handed out. See sandboxset_ref_connect and sandboxset_ref_call.
typedef struct sandboxset_runtime {
  // sizeof(sandboxset_runtime).
  size_t struct_size;
  // The program and its arguments, never a shell, and a final NULL. Required.
  const char *const *args;
  // "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
  const char *const *env;
  // Milliseconds that it may take to become ready; default 30000.
  uint64_t ready_timeout_ms;
  // 1 if it is a fork server, so that its sandboxes can be parents; default 0. sandboxset_zygote.h has one. In a set
  // with a parent the arguments are what each fork is told, not a program that is started.
  uint32_t forks;
  // Must be 0.
  uint32_t reserved;
  // Paths: files and directories of the host that it needs beside the root file system, and a final NULL. Sandboxes
  // see them read-only at the same places. Default NULL: none.
  const char *const *brings;
} sandboxset_runtime;

// A Python process that answers calls with a function, or that is forked to make such processes. Initialise it with
// sandboxset_python_runtime_init.
//
// Without a handler it is a fork server: a set with it can be the parent of others, whose sandboxes start with
// everything in `preload` imported. With a handler its sandboxes answer sandboxset_ref_call, forked or not. It needs
// CPython 3.9 or newer, and brings its own files.
typedef struct sandboxset_python_runtime {
  // sizeof(sandboxset_python_runtime).
  size_t struct_size;
  // Modules that are imported before the sandbox is ready, in this order, and a final NULL. Of a fork server none
  // may start a thread. Default NULL: none.
  const char *const *preload;
  // The function that answers, as "module:function"; modules are searched in /code first. It takes and returns
  // bytes; an exception in it is HANDLER_FAILED for the caller, and the runtime lives on. NULL, the default: it is a
  // fork server.
  const char *handler;
  // A path: the interpreter as the sandbox sees it. NULL, the default: `python3`, searched for in PATH.
  const char *interpreter;
  // Paths: what of the host the interpreter needs, if it is none of the root file system, and a final NULL.
  // Sandboxes see them read-only at the same places. Default NULL: nothing.
  const char *const *brings;
  // Paths: directories of the host with more modules, and a final NULL. Sandboxes see them read-only at the same
  // places. Default NULL: none.
  const char *const *paths;
  // "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
  const char *const *env;
  // Milliseconds that it may take to become ready; default 30000.
  uint64_t ready_timeout_ms;
  // 1 if the handler takes what was sent as JSON and returns what can be sent as such; default 0.
  uint32_t json;
  // Must be 0.
  uint32_t reserved;
} sandboxset_python_runtime;

// A Node process that answers calls with a function. It cannot be forked, so a set with it is no parent. Initialise it
// with sandboxset_node_runtime_init.
typedef struct sandboxset_node_runtime {
  // sizeof(sandboxset_node_runtime).
  size_t struct_size;
  // The function that answers, as "module:function": a file of /code, with or without its ending, or a module that
  // Node finds by itself. It takes a Buffer and returns bytes or a string, or a promise of them; an exception in it
  // is HANDLER_FAILED for the caller, and the runtime lives on. Required.
  const char *handler;
  // A path: the interpreter as the sandbox sees it. NULL, the default: `node`, searched for in PATH.
  const char *interpreter;
  // Paths: what of the host the interpreter needs, if it is none of the root file system, and a final NULL.
  // Sandboxes see them read-only at the same places. Default NULL: nothing.
  const char *const *brings;
  // "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
  const char *const *env;
  // Milliseconds that it may take to become ready; default 30000.
  uint64_t ready_timeout_ms;
  // 1 if the handler takes what was sent as JSON and returns what can be sent as such; default 0.
  uint32_t json;
  // Must be 0.
  uint32_t reserved;
} sandboxset_node_runtime;

// Limits of one sandbox, all its processes together. Initialise it with sandboxset_limits_init.
typedef struct sandboxset_limits {
  // sizeof(sandboxset_limits).
  size_t struct_size;
  // Bytes of memory, swap and what the kernel needs for the sandbox included; default 256 MiB.
  uint64_t memory_bytes;
  // CPU time per time, in cores: 0.5 is half a core. 0, the default, is unlimited.
  double cpus;
  // Bytes of the scratch tmpfs; default 64 MiB. /tmp has a tmpfs of the same size.
  uint64_t scratch_bytes;
  // Files and directories in the scratch tmpfs; default 4096.
  uint64_t scratch_inodes;
  // Open files per process; default 1024.
  uint64_t open_files;
  // Bytes of the largest file a process may write. 0, the default, leaves it to the tmpfs size.
  uint64_t file_bytes;
  // Processes and threads; default 64.
  uint32_t pids;
  // Must be 0.
  uint32_t reserved;
} sandboxset_limits;

// The recipe of the sandboxes of a set. Initialise it with sandboxset_spec_init. Everything it points to is
// copied by sandboxset_new.
typedef struct sandboxset_spec {
  // sizeof(sandboxset_spec).
  size_t struct_size;
  // A path: the directory of the host that is the root file system, always read-only. Or "oci:DIR:TAG": an image
  // in an OCI image layout on disk, which sandboxset_new unpacks the first time that it is used; without ":TAG"
  // if there is only one image. NULL, the default: the host's own /usr, /bin, /lib* and a minimal /etc.
  const char *root;
  // A path: a directory of the host that appears read-only at /code. NULL, the default: none.
  const char *code_dir;
  // Further files and directories of the host, in mount order: an array of pointers. Default NULL.
  const struct sandboxset_bind *const *binds;
  // The number of pointers in `binds`; default 0.
  size_t binds_length;
  // The environment of every command, beneath the command's own: "KEY=VALUE" strings and a final NULL.
  // Nothing of the host's environment is inherited. Default NULL: PATH and HOME only.
  const char *const *env;
  // The limits of one sandbox; NULL, the default, for all the defaults of sandboxset_limits.
  const struct sandboxset_limits *limits;
  // A long-lived process that answers requests; NULL, the default, for none.
  const struct sandboxset_runtime *runtime;
  // How much each layer of isolation matters, by the names of the isolation report: "NAME=POLICY" strings, where
  // the policy is "required" (a create without it fails with UNSUPPORTED), "best_effort" or "off", and a final
  // NULL. Default NULL: best effort throughout.
  const char *const *layers;
  // As `runtime`, a Python process; NULL, the default, for none. At most one of the three may be set.
  const struct sandboxset_python_runtime *python_runtime;
  // As `runtime`, a Node process; NULL, the default, for none.
  const struct sandboxset_node_runtime *node_runtime;
} sandboxset_spec;

// Called once with a set, NULL on an error. It is freed with sandboxset_free. See ASYNCHRONOUS CALLS.
typedef void (*sandboxset_set_fn)(void *user_data,
                                  sandboxset_code code,
                                  struct sandboxset *set,
                                  struct sandboxset_error *error);

// Called once with a sandbox, NULL on an error. It is ended by put or destroy, and freed with sandboxset_ref_free.
typedef void (*sandboxset_ref_fn)(void *user_data,
                                  sandboxset_code code,
                                  struct sandboxset_ref *sandbox,
                                  struct sandboxset_error *error);

// Called once with the number of idle sandboxes, 0 on an error.
typedef void (*sandboxset_prewarm_fn)(void *user_data,
                                      sandboxset_code code,
                                      uint64_t idle,
                                      struct sandboxset_error *error);

// Called once with how many sandboxes were destroyed, and with a tally of the survivors, NULL on an error, which is
// freed with sandboxset_tally_free.
typedef void (*sandboxset_close_report_fn)(void *user_data,
                                           sandboxset_code code,
                                           uint64_t destroyed,
                                           struct sandboxset_tally *survivors,
                                           struct sandboxset_error *error);

// A consistent snapshot of a set's counters. Set struct_size before the call that fills it.
typedef struct sandboxset_stats {
  // sizeof(sandboxset_stats).
  size_t struct_size;
  // Sandboxes that wait for a holder.
  uint64_t idle;
  // Sandboxes with a holder.
  uint64_t held;
  // Creates in flight.
  uint64_t creating;
  // Sandboxes being unpaused.
  uint64_t resuming;
  // Sandboxes being paused after a put.
  uint64_t returning;
  // Sandboxes being destroyed, and parents that are destroyed when their last child is gone.
  uint64_t destroying;
  // Sandboxes whose destroy failed; it is retried.
  uint64_t quarantined;
  // Callers waiting now.
  uint64_t waiting;
  // Gets that were served.
  uint64_t gets;
  // Gets served by a sandbox that was idle.
  uint64_t hits;
  // Gets that found no idle sandbox because the set was empty.
  uint64_t misses_empty;
  // Gets that found no idle sandbox because all were held, being created or being destroyed.
  uint64_t misses_all_busy;
  // Gets that asked for a fresh sandbox.
  uint64_t misses_fresh_only;
  // Gets that found only idle sandboxes that were dead or could not be unpaused.
  uint64_t misses_unhealthy;
  // Gets that found no idle sandbox for a reason that this version has no field for.
  uint64_t misses_other;
  // Gets that had to wait.
  uint64_t waits;
  // Gets that timed out.
  uint64_t timeouts;
  // Sandboxes created.
  uint64_t created;
  // Creates that failed.
  uint64_t create_failures;
  // Sandboxes put back.
  uint64_t puts;
  // Sandboxes destroyed; sandboxset_destroy_reasons says why.
  uint64_t destroyed;
  // Sandboxes that were reset after a put.
  uint64_t resets;
  // Resets that failed or were not verified; the sandbox was destroyed.
  uint64_t reset_failures;
  // Sandboxes of other sets that were forked from sandboxes of this one.
  uint64_t forks;
  // Forks of sandboxes of this set that failed.
  uint64_t fork_failures;
} sandboxset_stats;

// A package that functions import. Initialise it with sandboxset_package_init. Everything it points to is copied by
// sandboxset_propose_tree.
typedef struct sandboxset_package {
  // sizeof(sandboxset_package).
  size_t struct_size;
  // What functions and other packages call it. Required.
  const char *name;
  // How long importing it takes when all it requires is there already, in nanoseconds; default 0.
  uint64_t import_time_ns;
  // How much memory it takes once it is imported, in bytes, without what it requires; default 0.
  uint64_t memory_bytes;
  // The names of the packages that are imported with it, and a final NULL. Default NULL: none.
  const char *const *required;
} sandboxset_package;

// A function that is to be forked from a node of the tree. Initialise it with sandboxset_function_imports_init.
// Everything it points to is copied by sandboxset_propose_tree.
typedef struct sandboxset_function_imports {
  // sizeof(sandboxset_function_imports).
  size_t struct_size;
  // What it is called. Required.
  const char *name;
  // The names of the packages that it imports, and a final NULL; what they require need not be listed. Default
  // NULL: none.
  const char *const *imports;
  // How often it is started, in whatever unit is the same for all; 0 is never. Default 1.
  double weight;
} sandboxset_function_imports;

// How large a tree may become. Initialise it with sandboxset_tree_limits_init.
typedef struct sandboxset_tree_limits {
  // sizeof(sandboxset_tree_limits).
  size_t struct_size;
  // Nodes at most, the root included; default 16. At least 1.
  uint64_t max_nodes;
  // What all nodes together may take, in bytes; default UINT64_MAX, no limit. What a node has from its parent is
  // shared and counts once.
  uint64_t memory_bytes;
  // What a node takes beyond the packages it adds, in bytes; default 1 MiB, for the process and what is copied
  // when the packages are used.
  uint64_t node_bytes;
} sandboxset_tree_limits;

// A parent to preload. Set struct_size before the call that fills it.
typedef struct sandboxset_tree_node {
  // sizeof(sandboxset_tree_node).
  size_t struct_size;
  // The index of its own parent, which is smaller than its own; SANDBOXSET_TREE_NO_PARENT for the root.
  uint64_t parent;
  // What it imports beyond what its parent has, in an order in which everything comes after what it requires, and
  // a final NULL; empty for the root. Borrowed from the tree.
  const char *const *preload;
  // How many these are, without the final NULL.
  uint64_t preload_length;
  // What it takes beyond its parent, in bytes.
  uint64_t memory_bytes;
} sandboxset_tree_node;

// Success.
#define SANDBOXSET_OK 0

// An argument or option is NULL, out of range, contradictory or malformed; the error's field names it.
#define SANDBOXSET_INVALID_ARGUMENT 1

// The call does not fit the state its object is in.
#define SANDBOXSET_INVALID_STATE 2

// This backend, kernel or build cannot do what was asked.
#define SANDBOXSET_UNSUPPORTED 3

// The operating system refused.
#define SANDBOXSET_PERMISSION_DENIED 4

// The deadline passed.
#define SANDBOXSET_TIMEOUT 10

// The caller's sandboxset_cancel was cancelled.
#define SANDBOXSET_CANCELLED 11

// The set is draining or closed.
#define SANDBOXSET_CLOSED 12

// Nothing is idle and the caller asked not to wait, or to reuse only.
#define SANDBOXSET_EXHAUSTED 13

// Too many callers are waiting already.
#define SANDBOXSET_OVERLOADED 14

// The machine has no memory or count left for one more sandbox now.
#define SANDBOXSET_NO_CAPACITY 15

// The request could never fit a size limit.
#define SANDBOXSET_TOO_BIG 16

// A sandbox could not be made.
#define SANDBOXSET_CREATE_FAILED 20

// The sandbox died; the cause says of what.
#define SANDBOXSET_SANDBOX_DEAD 21

// The ref was already put or destroyed; nothing was changed.
#define SANDBOXSET_STALE_REF 22

// A parent could not be forked.
#define SANDBOXSET_FORK_FAILED 23

// The backend itself cannot be reached.
#define SANDBOXSET_BACKEND_UNAVAILABLE 24

// Creates failed repeatedly and are suspended for a while.
#define SANDBOXSET_CIRCUIT_OPEN 25

// What the runtime runs failed at a call; the runtime itself lives on.
#define SANDBOXSET_HANDLER_FAILED 26

// The calling process is a fork of the one that owns the set.
#define SANDBOXSET_FORKED_PROCESS 30

// A defect of this library.
#define SANDBOXSET_INTERNAL 31

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Fills the options with their defaults. `struct_size` is sizeof(sandboxset_linux_options).
void sandboxset_linux_options_init(struct sandboxset_linux_options *linux_options, size_t struct_size);

// Makes the backend of Linux namespaces and cgroups. It looks at the host, but starts no process yet.
// `options` may be NULL for the defaults. Free it with sandboxset_backend_free.
// Errors: SANDBOXSET_UNSUPPORTED if this host cannot isolate, with the reason.
sandboxset_code sandboxset_backend_linux_new(const struct sandboxset_linux_options *options,
                                             struct sandboxset_backend **out_backend,
                                             struct sandboxset_error **out_error);

// Makes a backend whose sandboxes exist only in memory, for tests. It fails, hangs or dies exactly as scripted,
// see sandboxset_mock_fault_at. Free it with sandboxset_backend_free.
sandboxset_code sandboxset_backend_mock_new(struct sandboxset_backend **out_backend,
                                            struct sandboxset_error **out_error);

// Fills `capabilities`.
sandboxset_code sandboxset_backend_get_capabilities(const struct sandboxset_backend *backend,
                                                    struct sandboxset_capabilities *capabilities,
                                                    struct sandboxset_error **out_error);

// Reports what isolation the backend's sandboxes reach on this host. Free it with sandboxset_report_free.
sandboxset_code sandboxset_backend_isolation_report(const struct sandboxset_backend *backend,
                                                    struct sandboxset_report **out_report,
                                                    struct sandboxset_error **out_error);

// Frees the handle; sets made from it live on. Accepts NULL.
void sandboxset_backend_free(struct sandboxset_backend *backend);

// Fills the late binding with its defaults. `struct_size` is sizeof(sandboxset_late_binding).
void sandboxset_late_binding_init(struct sandboxset_late_binding *late_binding, size_t struct_size);

// Fills the secret with its defaults. `struct_size` is sizeof(sandboxset_secret).
void sandboxset_secret_init(struct sandboxset_secret *secret, size_t struct_size);

// Fills the late file with its defaults. `struct_size` is sizeof(sandboxset_late_file).
void sandboxset_late_file_init(struct sandboxset_late_file *late_file, size_t struct_size);

// Fills the late limits with their defaults. `struct_size` is sizeof(sandboxset_late_limits).
void sandboxset_late_limits_init(struct sandboxset_late_limits *late_limits, size_t struct_size);

// Answers where the bytes are and how many: borrowed from `bytes`, not NUL-terminated, never NULL.
sandboxset_code sandboxset_bytes_data(const struct sandboxset_bytes *bytes,
                                      const uint8_t **out_data,
                                      size_t *out_length,
                                      struct sandboxset_error **out_error);

// Frees the bytes. Accepts NULL.
void sandboxset_bytes_free(struct sandboxset_bytes *bytes);

// Makes a cancellation that has not happened. Free it with sandboxset_cancel_free.
sandboxset_code sandboxset_cancel_new(struct sandboxset_cancel **out_cancel,
                                      struct sandboxset_error **out_error);

// Cancels every call that holds it, now and later. Idempotent; does not wait for these calls.
sandboxset_code sandboxset_cancel_now(const struct sandboxset_cancel *cancel,
                                      struct sandboxset_error **out_error);

// Frees it without cancelling anything. Accepts NULL.
void sandboxset_cancel_free(struct sandboxset_cancel *cancel);

// Makes a clock at zero. Free it with sandboxset_clock_free.
sandboxset_code sandboxset_clock_new(struct sandboxset_clock **out_clock,
                                     struct sandboxset_error **out_error);

// Moves the clock forward by milliseconds and runs everything whose deadline has come.
sandboxset_code sandboxset_clock_advance(const struct sandboxset_clock *clock,
                                         uint64_t by_ms,
                                         struct sandboxset_error **out_error);

// Frees the handle. Accepts NULL.
void sandboxset_clock_free(struct sandboxset_clock *clock);

// The name of a code without its prefix, for example "STALE_REF"; "UNKNOWN" for a code this version does not
// have. A static string.
const char *sandboxset_code_name(sandboxset_code code);

// Fills the command with its defaults. `struct_size` is sizeof(sandboxset_command).
void sandboxset_command_init(struct sandboxset_command *command, size_t struct_size);

// Fills the config with its defaults. `struct_size` is sizeof(sandboxset_config).
void sandboxset_config_init(struct sandboxset_config *config, size_t struct_size);

// Reads up to `capacity` bytes and answers how many; 0 is the end. Blocks until there is something, at most as
// long as sandboxset_connection_set_timeout says.
sandboxset_code sandboxset_connection_read(const struct sandboxset_connection *connection,
                                           uint8_t *buffer,
                                           size_t capacity,
                                           size_t *out_length,
                                           struct sandboxset_error **out_error);

// As sandboxset_connection_read, without waiting: up to `max_bytes` bytes, and none at the end.
sandboxset_code sandboxset_connection_read_async(const struct sandboxset_connection *connection,
                                                 uint64_t max_bytes,
                                                 sandboxset_bytes_fn callback,
                                                 void *user_data,
                                                 struct sandboxset_error **out_error);

// Writes all bytes. Blocks, each time nothing can be written, at most as long as
// sandboxset_connection_set_timeout says.
// Errors: how many bytes went out before an error is unknown, so the connection should be freed then.
sandboxset_code sandboxset_connection_write(const struct sandboxset_connection *connection,
                                            const uint8_t *data,
                                            size_t length,
                                            struct sandboxset_error **out_error);

// As sandboxset_connection_write, without waiting. The bytes are copied.
sandboxset_code sandboxset_connection_write_async(const struct sandboxset_connection *connection,
                                                  const uint8_t *data,
                                                  size_t length,
                                                  sandboxset_done_fn callback,
                                                  void *user_data,
                                                  struct sandboxset_error **out_error);

// Bounds every later read and write, in milliseconds; SANDBOXSET_FOREVER_MS, at first, is unbounded. 0 is
// SANDBOXSET_INVALID_ARGUMENT, because nothing could ever be done in it.
sandboxset_code sandboxset_connection_set_timeout(const struct sandboxset_connection *connection,
                                                  uint64_t timeout_ms,
                                                  struct sandboxset_error **out_error);

// Closes and frees the connection. A call that is under way ends with an error. Accepts NULL.
void sandboxset_connection_free(struct sandboxset_connection *connection);

// Answers how many entries there are.
sandboxset_code sandboxset_dir_count(const struct sandboxset_dir *dir,
                                     size_t *out_count,
                                     struct sandboxset_error **out_error);

// Fills `entry` with the entry at `index`, counted from 0.
sandboxset_code sandboxset_dir_get_entry(const struct sandboxset_dir *dir,
                                         size_t index,
                                         struct sandboxset_dir_entry *entry,
                                         struct sandboxset_error **out_error);

// Frees the entries. Accepts NULL.
void sandboxset_dir_free(struct sandboxset_dir *dir);

// The code, the same as the call returned. SANDBOXSET_OK for NULL.
sandboxset_code sandboxset_error_code(const struct sandboxset_error *error);

// The name of the code, for example "STALE_REF". A static string; "OK" for NULL.
const char *sandboxset_error_name(const struct sandboxset_error *error);

// Where the error arose: "configure", "wait", "create", "pause", "unpause", "bind", "use", "exec", "files", "connect",
// "destroy" or "close". A static string; "" for NULL.
const char *sandboxset_error_phase(const struct sandboxset_error *error);

// What went wrong, as a fragment of one line for people: UTF-8 with control characters escaped. Its wording is
// no interface. Borrowed from the error; "" for NULL.
const char *sandboxset_error_message(const struct sandboxset_error *error);

// The parameter or option at fault, for example "limits.memory_bytes"; NULL unless the code is
// SANDBOXSET_INVALID_ARGUMENT. Borrowed from the error.
const char *sandboxset_error_field(const struct sandboxset_error *error);

// The chain of causes as one line, outermost first; "" if there is none. Borrowed from the error.
const char *sandboxset_error_cause(const struct sandboxset_error *error);

// Whether the same call may succeed later without any change by the caller; false for NULL.
bool sandboxset_error_retryable(const struct sandboxset_error *error);

// The sandbox concerned, as sandboxset_ref_id answers it; 0 if there is none.
uint64_t sandboxset_error_sandbox_id(const struct sandboxset_error *error);

// Frees an error and all that was borrowed from it. Accepts NULL.
void sandboxset_error_free(struct sandboxset_error *error);

// Waits at most `timeout_ms` milliseconds for the next event. Answers NULL if none came in time, or if the set is
// closed and all were read; that is no error. Free the event with sandboxset_event_free.
sandboxset_code sandboxset_event_stream_next(const struct sandboxset_event_stream *stream,
                                             uint64_t timeout_ms,
                                             struct sandboxset_event **out_event,
                                             struct sandboxset_error **out_error);

// As sandboxset_event_stream_next, without waiting.
sandboxset_code sandboxset_event_stream_next_async(const struct sandboxset_event_stream *stream,
                                                   uint64_t timeout_ms,
                                                   sandboxset_event_fn callback,
                                                   void *user_data,
                                                   struct sandboxset_error **out_error);

// Ends the subscription and frees the stream; events that were taken from it live on. A call that waits for an event
// answers none. Accepts NULL.
void sandboxset_event_stream_free(struct sandboxset_event_stream *stream);

// Fills `info`.
sandboxset_code sandboxset_event_get_info(const struct sandboxset_event *event,
                                          struct sandboxset_event_info *info,
                                          struct sandboxset_error **out_error);

// Frees an event and all that was borrowed from it. Accepts NULL.
void sandboxset_event_free(struct sandboxset_event *event);

// Fills the options with their defaults. `struct_size` is sizeof(sandboxset_get_options).
void sandboxset_get_options_init(struct sandboxset_get_options *get_options, size_t struct_size);

// Fills the fault with its defaults. `struct_size` is sizeof(sandboxset_mock_fault).
void sandboxset_mock_fault_init(struct sandboxset_mock_fault *fault, size_t struct_size);

// Scripts a fault for the `nth` call of an operation (SANDBOXSET_MOCK_CREATE and so on), counted from 1 over all
// sandboxes of this backend. `backend` must be a mock. `fault` may be NULL for a plain failure.
sandboxset_code sandboxset_mock_fault_at(const struct sandboxset_backend *backend,
                                         uint32_t operation,
                                         uint64_t nth,
                                         const struct sandboxset_mock_fault *fault,
                                         struct sandboxset_error **out_error);

// Scripts a fault for every call of an operation from now on; a NULL `fault` ends that.
sandboxset_code sandboxset_mock_fault_always(const struct sandboxset_backend *backend,
                                             uint32_t operation,
                                             const struct sandboxset_mock_fault *fault,
                                             struct sandboxset_error **out_error);

// Lets every hanging call of a mock go on, now and later.
sandboxset_code sandboxset_mock_release_hangs(const struct sandboxset_backend *backend,
                                              struct sandboxset_error **out_error);

// Waits until at least `count` calls of an operation hang at once, at most `timeout_ms` milliseconds, and answers
// whether they do: 1 or 0.
sandboxset_code sandboxset_mock_wait_for_hangs(const struct sandboxset_backend *backend,
                                               uint32_t operation,
                                               uint64_t count,
                                               uint64_t timeout_ms,
                                               uint32_t *out_hanging,
                                               struct sandboxset_error **out_error);

// Answers how often an operation of a mock was called.
sandboxset_code sandboxset_mock_calls(const struct sandboxset_backend *backend,
                                      uint32_t operation,
                                      uint64_t *out_calls,
                                      struct sandboxset_error **out_error);

// Answers how many sandboxes of a mock are alive.
sandboxset_code sandboxset_mock_live(const struct sandboxset_backend *backend,
                                     uint64_t *out_live,
                                     struct sandboxset_error **out_error);

// Answers the most sandboxes of a mock that were ever alive at once.
sandboxset_code sandboxset_mock_most_live(const struct sandboxset_backend *backend,
                                          uint64_t *out_most_live,
                                          struct sandboxset_error **out_error);

// Answers how many sandboxes of a mock are alive and paused.
sandboxset_code sandboxset_mock_paused(const struct sandboxset_backend *backend,
                                       uint64_t *out_paused,
                                       struct sandboxset_error **out_error);

// Answers how the command ended: SANDBOXSET_OUTCOME_* and, if it exited or was signaled, the exit code or the
// signal's number. `out_status` may be NULL. New outcomes may be added.
sandboxset_code sandboxset_output_outcome(const struct sandboxset_output *output,
                                          uint32_t *out_outcome,
                                          int32_t *out_status,
                                          struct sandboxset_error **out_error);

// Answers what was kept of a stream (SANDBOXSET_STREAM_STDOUT or _STDERR): bytes that the command chose, not
// NUL-terminated, borrowed from the output. They are never NULL, but may be 0 in number.
sandboxset_code sandboxset_output_bytes(const struct sandboxset_output *output,
                                        uint32_t stream,
                                        const uint8_t **out_bytes,
                                        size_t *out_length,
                                        struct sandboxset_error **out_error);

// Answers how many bytes of a stream were dropped because there were more than output_bytes, and how many of the
// kept ones come from before the gap. `out_head` may be NULL.
sandboxset_code sandboxset_output_dropped(const struct sandboxset_output *output,
                                          uint32_t stream,
                                          uint64_t *out_dropped,
                                          size_t *out_head,
                                          struct sandboxset_error **out_error);

// Fills `usage` with what the command used.
sandboxset_code sandboxset_output_get_usage(const struct sandboxset_output *output,
                                            struct sandboxset_usage *usage,
                                            struct sandboxset_error **out_error);

// Frees an output and all that was borrowed from it. Accepts NULL.
void sandboxset_output_free(struct sandboxset_output *output);

// Writes all bytes to the command's standard input, which must be SANDBOXSET_STDIN_STREAM. Blocks while the
// command does not read, at most `timeout_ms` milliseconds.
sandboxset_code sandboxset_process_write(const struct sandboxset_process *process,
                                         const uint8_t *data,
                                         size_t length,
                                         uint64_t timeout_ms,
                                         struct sandboxset_error **out_error);

// As sandboxset_process_write, without waiting. The bytes are copied. Writes that are under way at once may mix.
sandboxset_code sandboxset_process_write_async(const struct sandboxset_process *process,
                                               const uint8_t *data,
                                               size_t length,
                                               uint64_t timeout_ms,
                                               sandboxset_done_fn callback,
                                               void *user_data,
                                               struct sandboxset_error **out_error);

// Ends the command's standard input. Idempotent.
sandboxset_code sandboxset_process_close_stdin(const struct sandboxset_process *process,
                                               struct sandboxset_error **out_error);

// Reads what the command wrote to a stream (SANDBOXSET_STREAM_STDOUT or _STDERR), up to `capacity` bytes. Blocks
// until there is something, at most `timeout_ms` milliseconds. Answers the number of bytes; 0 is the end.
sandboxset_code sandboxset_process_read(const struct sandboxset_process *process,
                                        uint32_t stream,
                                        uint8_t *buffer,
                                        size_t capacity,
                                        uint64_t timeout_ms,
                                        size_t *out_length,
                                        struct sandboxset_error **out_error);

// As sandboxset_process_read, without waiting: up to `max_bytes` bytes, and none at the end.
sandboxset_code sandboxset_process_read_async(const struct sandboxset_process *process,
                                              uint32_t stream,
                                              uint64_t max_bytes,
                                              uint64_t timeout_ms,
                                              sandboxset_bytes_fn callback,
                                              void *user_data,
                                              struct sandboxset_error **out_error);

// Sends a signal (1 to 64) to the command's own process.
sandboxset_code sandboxset_process_signal(const struct sandboxset_process *process,
                                          int32_t signal,
                                          struct sandboxset_error **out_error);

// Kills every process of the command. Idempotent.
sandboxset_code sandboxset_process_kill(const struct sandboxset_process *process,
                                        struct sandboxset_error **out_error);

// Waits for the end of the command, at most `timeout_ms` milliseconds. What was not read of its streams is in the
// output, bounded. `cancel` may be NULL. Once ended, every call answers the same, each time a new object to be
// freed with sandboxset_output_free.
// Errors: SANDBOXSET_TIMEOUT leaves the command running.
sandboxset_code sandboxset_process_wait(const struct sandboxset_process *process,
                                        uint64_t timeout_ms,
                                        const struct sandboxset_cancel *cancel,
                                        struct sandboxset_output **out_output,
                                        struct sandboxset_error **out_error);

// As sandboxset_process_wait, without waiting.
sandboxset_code sandboxset_process_wait_async(const struct sandboxset_process *process,
                                              uint64_t timeout_ms,
                                              const struct sandboxset_cancel *cancel,
                                              sandboxset_output_fn callback,
                                              void *user_data,
                                              struct sandboxset_error **out_error);

// Frees the process; if it still runs, it and every process it started is killed. Accepts NULL.
void sandboxset_process_free(struct sandboxset_process *process);

// Runs a command to its end and answers how it ended and what it wrote. Blocks, at most for the command's
// timeout and grace. Free the output with sandboxset_output_free.
// Errors: a command that fails, or is killed, is no error but an outcome.
sandboxset_code sandboxset_ref_exec(const struct sandboxset_ref *sandbox,
                                    const struct sandboxset_command *command,
                                    struct sandboxset_output **out_output,
                                    struct sandboxset_error **out_error);

// As sandboxset_ref_exec, without waiting.
sandboxset_code sandboxset_ref_exec_async(const struct sandboxset_ref *sandbox,
                                          const struct sandboxset_command *command,
                                          sandboxset_output_fn callback,
                                          void *user_data,
                                          struct sandboxset_error **out_error);

// Starts a command. Free the process with sandboxset_process_free, which kills what still runs.
sandboxset_code sandboxset_ref_spawn(const struct sandboxset_ref *sandbox,
                                     const struct sandboxset_command *command,
                                     struct sandboxset_process **out_process,
                                     struct sandboxset_error **out_error);

// As sandboxset_ref_spawn, without waiting for the start.
sandboxset_code sandboxset_ref_spawn_async(const struct sandboxset_ref *sandbox,
                                           const struct sandboxset_command *command,
                                           sandboxset_process_fn callback,
                                           void *user_data,
                                           struct sandboxset_error **out_error);

// Opens a stream to the runtime's socket, within `timeout_ms` milliseconds. `cancel` may be NULL. Free the
// connection with sandboxset_connection_free.
sandboxset_code sandboxset_ref_connect(const struct sandboxset_ref *sandbox,
                                       uint64_t timeout_ms,
                                       const struct sandboxset_cancel *cancel,
                                       struct sandboxset_connection **out_connection,
                                       struct sandboxset_error **out_error);

// As sandboxset_ref_connect, without waiting.
sandboxset_code sandboxset_ref_connect_async(const struct sandboxset_ref *sandbox,
                                             uint64_t timeout_ms,
                                             const struct sandboxset_cancel *cancel,
                                             sandboxset_connection_fn callback,
                                             void *user_data,
                                             struct sandboxset_error **out_error);

// Sends one request to the runtime and answers its answer, each framed on the wire by its length as 4 bytes,
// little-endian. Blocks, at most `timeout_ms` milliseconds. `cancel` may be NULL. Free the answer with
// sandboxset_bytes_free.
// Errors: SANDBOXSET_TOO_BIG for a request or answer above 64 MiB; SANDBOXSET_SANDBOX_DEAD if the runtime ends, or
// closes the connection, before it has answered.
sandboxset_code sandboxset_ref_call(const struct sandboxset_ref *sandbox,
                                    const uint8_t *request,
                                    size_t request_length,
                                    uint64_t timeout_ms,
                                    const struct sandboxset_cancel *cancel,
                                    struct sandboxset_bytes **out_answer,
                                    struct sandboxset_error **out_error);

// As sandboxset_ref_call, without waiting. The request is copied.
sandboxset_code sandboxset_ref_call_async(const struct sandboxset_ref *sandbox,
                                          const uint8_t *request,
                                          size_t request_length,
                                          uint64_t timeout_ms,
                                          const struct sandboxset_cancel *cancel,
                                          sandboxset_bytes_fn callback,
                                          void *user_data,
                                          struct sandboxset_error **out_error);

// Answers what the runtime wrote to its standard output and error, the last `max_bytes` bytes of it. Free it with
// sandboxset_bytes_free.
sandboxset_code sandboxset_ref_log(const struct sandboxset_ref *sandbox,
                                   uint64_t max_bytes,
                                   struct sandboxset_bytes **out_log,
                                   struct sandboxset_error **out_error);

// As sandboxset_ref_log, without waiting.
sandboxset_code sandboxset_ref_log_async(const struct sandboxset_ref *sandbox,
                                         uint64_t max_bytes,
                                         sandboxset_bytes_fn callback,
                                         void *user_data,
                                         struct sandboxset_error **out_error);

// Reads a regular file of the sandbox, of at most `max_bytes` bytes. The path is absolute in the sandbox, or
// relative to its scratch dir; the host never follows a link that the sandbox planted. Free the content with
// sandboxset_bytes_free.
// Errors: SANDBOXSET_TOO_BIG for a larger file.
sandboxset_code sandboxset_ref_read_file(const struct sandboxset_ref *sandbox,
                                         const char *path,
                                         uint64_t max_bytes,
                                         struct sandboxset_bytes **out_bytes,
                                         struct sandboxset_error **out_error);

// As sandboxset_ref_read_file, without waiting.
sandboxset_code sandboxset_ref_read_file_async(const struct sandboxset_ref *sandbox,
                                               const char *path,
                                               uint64_t max_bytes,
                                               sandboxset_bytes_fn callback,
                                               void *user_data,
                                               struct sandboxset_error **out_error);

// Creates or replaces a regular file of the sandbox, whole or not at all, with these permission bits (for
// example 0644). `data` may be NULL if `length` is 0.
sandboxset_code sandboxset_ref_write_file(const struct sandboxset_ref *sandbox,
                                          const char *path,
                                          const uint8_t *data,
                                          size_t length,
                                          uint32_t mode,
                                          struct sandboxset_error **out_error);

// As sandboxset_ref_write_file, without waiting. The data is copied.
sandboxset_code sandboxset_ref_write_file_async(const struct sandboxset_ref *sandbox,
                                                const char *path,
                                                const uint8_t *data,
                                                size_t length,
                                                uint32_t mode,
                                                sandboxset_done_fn callback,
                                                void *user_data,
                                                struct sandboxset_error **out_error);

// Lists a directory of the sandbox. Free the entries with sandboxset_dir_free.
// Errors: SANDBOXSET_TOO_BIG for more than `max_entries`.
sandboxset_code sandboxset_ref_list_dir(const struct sandboxset_ref *sandbox,
                                        const char *path,
                                        uint64_t max_entries,
                                        struct sandboxset_dir **out_dir,
                                        struct sandboxset_error **out_error);

// As sandboxset_ref_list_dir, without waiting.
sandboxset_code sandboxset_ref_list_dir_async(const struct sandboxset_ref *sandbox,
                                              const char *path,
                                              uint64_t max_entries,
                                              sandboxset_dir_fn callback,
                                              void *user_data,
                                              struct sandboxset_error **out_error);

// Removes a file of the sandbox or, with all it holds, a directory.
sandboxset_code sandboxset_ref_remove(const struct sandboxset_ref *sandbox,
                                      const char *path,
                                      struct sandboxset_error **out_error);

// As sandboxset_ref_remove, without waiting.
sandboxset_code sandboxset_ref_remove_async(const struct sandboxset_ref *sandbox,
                                            const char *path,
                                            sandboxset_done_fn callback,
                                            void *user_data,
                                            struct sandboxset_error **out_error);

// Answers how many layers there are; a mock has none.
sandboxset_code sandboxset_report_count(const struct sandboxset_report *report,
                                        size_t *out_count,
                                        struct sandboxset_error **out_error);

// Fills `layer` with the layer at `index`, counted from 0.
sandboxset_code sandboxset_report_get_layer(const struct sandboxset_report *report,
                                            size_t index,
                                            struct sandboxset_layer *layer,
                                            struct sandboxset_error **out_error);

// Frees the report and all that was borrowed from it. Accepts NULL.
void sandboxset_report_free(struct sandboxset_report *report);

// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_runtime).
void sandboxset_runtime_init(struct sandboxset_runtime *runtime, size_t struct_size);

// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_python_runtime).
void sandboxset_python_runtime_init(struct sandboxset_python_runtime *runtime, size_t struct_size);

// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_node_runtime).
void sandboxset_node_runtime_init(struct sandboxset_node_runtime *runtime, size_t struct_size);

// Gives the sandbox back: paused and idle, or straight to the oldest waiter. One that cannot be reused is
// destroyed instead, without an error. The handle stays valid, but stale, until sandboxset_ref_free.
// Errors: SANDBOXSET_STALE_REF for a second put, or a put after destroy.
sandboxset_code sandboxset_ref_put(const struct sandboxset_ref *sandbox, struct sandboxset_error **out_error);

// As sandboxset_ref_put, without waiting for the pause. The ref is stale when this returns SANDBOXSET_OK.
sandboxset_code sandboxset_ref_put_async(const struct sandboxset_ref *sandbox,
                                         sandboxset_done_fn callback,
                                         void *user_data,
                                         struct sandboxset_error **out_error);

// Ends the sandbox. The reason, UTF-8, is kept and shown by later errors. Does not wait for the teardown. The
// handle stays valid, but stale, until sandboxset_ref_free.
sandboxset_code sandboxset_ref_destroy(const struct sandboxset_ref *sandbox,
                                       const char *reason,
                                       struct sandboxset_error **out_error);

// Marks the sandbox as not reusable: its put will destroy it, for this reason, UTF-8.
sandboxset_code sandboxset_ref_taint(const struct sandboxset_ref *sandbox,
                                     const char *reason,
                                     struct sandboxset_error **out_error);

// Answers the id of the sandbox, never 0 and never reused in this process. Works after put and destroy.
sandboxset_code sandboxset_ref_id(const struct sandboxset_ref *sandbox,
                                  uint64_t *out_id,
                                  struct sandboxset_error **out_error);

// Answers the scratch dir as the sandbox's own processes see it. Borrowed from the ref.
sandboxset_code sandboxset_ref_scratch_dir(const struct sandboxset_ref *sandbox,
                                           const char **out_path,
                                           struct sandboxset_error **out_error);

// Answers the scratch dir on the host, or NULL if it is no directory of the host. Borrowed from the ref.
sandboxset_code sandboxset_ref_host_scratch_dir(const struct sandboxset_ref *sandbox,
                                                const char **out_path,
                                                struct sandboxset_error **out_error);

// Answers the state of the sandbox for this holder: SANDBOXSET_STATE_*. New states may be added.
sandboxset_code sandboxset_ref_state(const struct sandboxset_ref *sandbox,
                                     uint32_t *out_state,
                                     struct sandboxset_error **out_error);

// Answers how often the sandbox was handed out, this time included: 1 means that nobody held it before.
sandboxset_code sandboxset_ref_uses(const struct sandboxset_ref *sandbox,
                                    uint64_t *out_uses,
                                    struct sandboxset_error **out_error);

// Answers the nanoseconds since the sandbox became ready.
sandboxset_code sandboxset_ref_age(const struct sandboxset_ref *sandbox,
                                   uint64_t *out_age_ns,
                                   struct sandboxset_error **out_error);

// Fills `usage` with what the sandbox uses now.
sandboxset_code sandboxset_ref_get_usage(const struct sandboxset_ref *sandbox,
                                         struct sandboxset_usage *usage,
                                         struct sandboxset_error **out_error);

// Frees the handle and all that was borrowed from it. A sandbox that was neither put nor destroyed is destroyed,
// because nobody said that it is fit for reuse. Does not wait. Accepts NULL.
void sandboxset_ref_free(struct sandboxset_ref *sandbox);

// Makes a set of sandboxes that `backend` makes from `spec`. It makes none yet, unless min_idle asks for it.
// `spec` and `config` may be NULL for the defaults. Free it with sandboxset_free, preferably after
// sandboxset_close.
//
// With a parent in the config, one parent is shared by many children; the parent set grows when forks queue, within
// its max_size, and counts a time of forking as a get and a put. A fork that the parent is to blame for is tried
// once more on another, and the parent is destroyed. Where no parent can be had, a create fails with
// SANDBOXSET_FORK_FAILED and the cause. A parent that is destroyed, by whatever rule, is torn down when its last
// child is gone; up to max_size of them may exist besides the others. Once the parent set drains or is closed, no
// more is forked; its close waits for the children until its deadline, and then names the parents as survivors. A
// parent that dies takes its children with it.
sandboxset_code sandboxset_new(const struct sandboxset_backend *backend,
                               const struct sandboxset_spec *spec,
                               const struct sandboxset_config *config,
                               struct sandboxset **out_set,
                               struct sandboxset_error **out_error);

// As sandboxset_new, without waiting for an image to be unpacked.
sandboxset_code sandboxset_new_async(const struct sandboxset_backend *backend,
                                     const struct sandboxset_spec *spec,
                                     const struct sandboxset_config *config,
                                     sandboxset_set_fn callback,
                                     void *user_data,
                                     struct sandboxset_error **out_error);

// Answers a running sandbox: the most recently used idle one, else a new one, else the first that comes free.
// Blocks, at most as long as the options say; NULL options are all defaults. The ref is the caller's to end with
// sandboxset_ref_put or sandboxset_ref_destroy, and then to free with sandboxset_ref_free.
// Errors: SANDBOXSET_TIMEOUT (its message says what was waited for), _CANCELLED, _CLOSED, _EXHAUSTED,
// _OVERLOADED, _CREATE_FAILED and others of the backend's.
sandboxset_code sandboxset_get_or_create_unpaused(const struct sandboxset *set,
                                                  const struct sandboxset_get_options *options,
                                                  struct sandboxset_ref **out_ref,
                                                  struct sandboxset_error **out_error);

// As sandboxset_get_or_create_unpaused, without waiting: it has its place in the queue, among all who wait, when this
// returns. No thread waits for it, so that there may be as many as max_waiters.
sandboxset_code sandboxset_get_or_create_unpaused_async(const struct sandboxset *set,
                                                        const struct sandboxset_get_options *options,
                                                        sandboxset_ref_fn callback,
                                                        void *user_data,
                                                        struct sandboxset_error **out_error);

// Makes idle sandboxes until there are `count`, or until the set is full. Waits for them, at most `timeout_ms`
// milliseconds, and answers how many are idle then. `out_idle` may be NULL.
sandboxset_code sandboxset_prewarm(const struct sandboxset *set,
                                   uint64_t count,
                                   uint64_t timeout_ms,
                                   uint64_t *out_idle,
                                   struct sandboxset_error **out_error);

// As sandboxset_prewarm, without waiting.
sandboxset_code sandboxset_prewarm_async(const struct sandboxset *set,
                                         uint64_t count,
                                         uint64_t timeout_ms,
                                         sandboxset_prewarm_fn callback,
                                         void *user_data,
                                         struct sandboxset_error **out_error);

// Destroys idle sandboxes, least recently used first, until `keep` are left. Answers how many it destroyed.
// `out_destroyed` may be NULL.
sandboxset_code sandboxset_shrink(const struct sandboxset *set,
                                  uint64_t keep,
                                  uint64_t *out_destroyed,
                                  struct sandboxset_error **out_error);

// Stops admission and waits for the holders, at most `deadline_ms` milliseconds. Idempotent.
// Errors: SANDBOXSET_TIMEOUT if some are left; the set stays draining.
sandboxset_code sandboxset_drain(const struct sandboxset *set,
                                 uint64_t deadline_ms,
                                 struct sandboxset_error **out_error);

// As sandboxset_drain, without waiting. It may be the worker that begins the drain, after this has returned.
sandboxset_code sandboxset_drain_async(const struct sandboxset *set,
                                       uint64_t deadline_ms,
                                       sandboxset_done_fn callback,
                                       void *user_data,
                                       struct sandboxset_error **out_error);

// Fails waiters with SANDBOXSET_CLOSED, destroys idle sandboxes at once and held ones at their put or at the
// deadline, in milliseconds, and waits for all of it. Idempotent. The handle stays valid until sandboxset_free.
// Errors: SANDBOXSET_TIMEOUT if a sandbox survived; the message says which and why.
sandboxset_code sandboxset_close(const struct sandboxset *set,
                                 uint64_t deadline_ms,
                                 struct sandboxset_error **out_error);

// As sandboxset_close, without waiting. It may be the worker that begins the close, after this has returned.
sandboxset_code sandboxset_close_async(const struct sandboxset *set,
                                       uint64_t deadline_ms,
                                       sandboxset_done_fn callback,
                                       void *user_data,
                                       struct sandboxset_error **out_error);

// As sandboxset_close, but survivors are an answer instead of an error: a tally of their states and reasons, to
// be freed with sandboxset_tally_free. `out_destroyed`, how many were destroyed, may be NULL.
sandboxset_code sandboxset_close_report(const struct sandboxset *set,
                                        uint64_t deadline_ms,
                                        uint64_t *out_destroyed,
                                        struct sandboxset_tally **out_survivors,
                                        struct sandboxset_error **out_error);

// As sandboxset_close_report, without waiting. It may be the worker that begins the close, after this has returned.
sandboxset_code sandboxset_close_report_async(const struct sandboxset *set,
                                              uint64_t deadline_ms,
                                              sandboxset_close_report_fn callback,
                                              void *user_data,
                                              struct sandboxset_error **out_error);

// Fills `stats` with a snapshot taken under one lock. Works after close.
sandboxset_code sandboxset_get_stats(const struct sandboxset *set,
                                     struct sandboxset_stats *stats,
                                     struct sandboxset_error **out_error);

// Answers why sandboxes were destroyed: each reason with how often, in no particular order. Free it with
// sandboxset_tally_free. Works after close.
sandboxset_code sandboxset_destroy_reasons(const struct sandboxset *set,
                                           struct sandboxset_tally **out_reasons,
                                           struct sandboxset_error **out_error);

// Subscribes to what happens in the set from now on. At most `capacity` unread events are kept. Free the stream
// with sandboxset_event_stream_free.
sandboxset_code sandboxset_events(const struct sandboxset *set,
                                  uint64_t capacity,
                                  struct sandboxset_event_stream **out_stream,
                                  struct sandboxset_error **out_error);

// Reports what isolation the sandboxes of this set reach on this host. Free it with sandboxset_report_free.
sandboxset_code sandboxset_isolation_report(const struct sandboxset *set,
                                            struct sandboxset_report **out_report,
                                            struct sandboxset_error **out_error);

// Frees the handle. A set that was not closed is closed, without waiting for it; refs that are still held stay
// usable until they are put. Gets that wait are SANDBOXSET_CLOSED. A prewarm, drain or close that is under way goes on,
// and the set is closed at its end. Accepts NULL.
void sandboxset_free(struct sandboxset *set);

// Fills the spec with its defaults. `struct_size` is sizeof(sandboxset_spec).
void sandboxset_spec_init(struct sandboxset_spec *spec, size_t struct_size);

// Fills the bind with its defaults. `struct_size` is sizeof(sandboxset_bind).
void sandboxset_bind_init(struct sandboxset_bind *bind, size_t struct_size);

// Fills the limits with their defaults. `struct_size` is sizeof(sandboxset_limits).
void sandboxset_limits_init(struct sandboxset_limits *limits, size_t struct_size);

// Answers how many texts there are.
sandboxset_code sandboxset_tally_count(const struct sandboxset_tally *tally,
                                       size_t *out_count,
                                       struct sandboxset_error **out_error);

// Answers the text at `index`, counted from 0, borrowed from the tally, and its count.
sandboxset_code sandboxset_tally_at(const struct sandboxset_tally *tally,
                                    size_t index,
                                    const char **out_text,
                                    uint64_t *out_times,
                                    struct sandboxset_error **out_error);

// Frees the tally and all that was borrowed from it. Accepts NULL.
void sandboxset_tally_free(struct sandboxset_tally *tally);

// The version of the library that is loaded, for example "0.1.0". A static string. Works in a forked child.
const char *sandboxset_version(void);

// The version of the library that is loaded, as SANDBOXSET_VERSION_NUMBER; compare the two to find a program
// that was compiled for a newer library than it runs with. Works in a forked child.
uint32_t sandboxset_version_number(void);

// Fills the package with its defaults. `struct_size` is sizeof(sandboxset_package).
void sandboxset_package_init(struct sandboxset_package *package, size_t struct_size);

// Fills the function with its defaults. `struct_size` is sizeof(sandboxset_function_imports).
void sandboxset_function_imports_init(struct sandboxset_function_imports *function, size_t struct_size);

// Fills the limits with their defaults. `struct_size` is sizeof(sandboxset_tree_limits).
void sandboxset_tree_limits_init(struct sandboxset_tree_limits *limits, size_t struct_size);

// Proposes a tree of parents for functions, from what they import and how often they are started. A function can be
// forked from any parent that has loaded nothing but what the function imports anyway.
//
// `functions` and `packages` are arrays of pointers, and may be NULL where their length is 0; `limits` may be NULL for
// the defaults. The answer depends on nothing but the arguments.
//
// SANDBOXSET_INVALID_ARGUMENT, with the field: a package or function that is listed twice or has no name, an import
// that is not among the packages, a weight that is negative or no number, no node allowed, or less memory than the
// root takes.
sandboxset_code sandboxset_propose_tree(const struct sandboxset_function_imports *const *functions,
                                        size_t functions_length,
                                        const struct sandboxset_package *const *packages,
                                        size_t packages_length,
                                        const struct sandboxset_tree_limits *limits,
                                        struct sandboxset_tree **out_tree,
                                        struct sandboxset_error **out_error);

// Answers how many nodes there are, at least one. The first one is the root, and every other one comes after its
// parent.
sandboxset_code sandboxset_tree_count(const struct sandboxset_tree *tree,
                                      size_t *out_count,
                                      struct sandboxset_error **out_error);

// Fills `node` with the node at `index`, counted from 0.
sandboxset_code sandboxset_tree_get_node(const struct sandboxset_tree *tree,
                                         size_t index,
                                         struct sandboxset_tree_node *node,
                                         struct sandboxset_error **out_error);

// Answers the index of the node to fork a function from. `function` is its index in the array that the tree was
// proposed from.
sandboxset_code sandboxset_tree_placement(const struct sandboxset_tree *tree,
                                          size_t function,
                                          size_t *out_node,
                                          struct sandboxset_error **out_error);

// Answers what is imported on the request path, over all functions, weight times seconds: if every function starts
// from nothing, and if every function is forked from its node.
sandboxset_code sandboxset_tree_import_time(const struct sandboxset_tree *tree,
                                            double *out_without,
                                            double *out_with,
                                            struct sandboxset_error **out_error);

// Frees the tree and all that was borrowed from it. Accepts NULL.
void sandboxset_tree_free(struct sandboxset_tree *tree);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SANDBOXSET_H */
