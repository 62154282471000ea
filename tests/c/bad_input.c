/* Every wrong argument is a code that names the field; nothing crashes, and nothing leaks. */
#include "check.h"

static const uint32_t unknown = 77;

static void null_pointers(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(2, &backend);
  sandboxset_ref *ref = get(set);
  sandboxset_stats stats;
  sandboxset_usage usage;
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  uint64_t number = 0;
  size_t size = 0;
  const uint8_t *data = NULL;
  uint32_t word = 0;

  INVALID("out_backend", sandboxset_backend_mock_new(NULL, &error));
  INVALID("out_backend", sandboxset_backend_linux_new(NULL, NULL, &error));
  INVALID("backend", sandboxset_new(NULL, NULL, NULL, &set, &error));
  INVALID("out_set", sandboxset_new(backend, NULL, NULL, NULL, &error));
  INVALID("set", sandboxset_get_or_create_unpaused(NULL, NULL, &ref, &error));
  INVALID("out_ref", sandboxset_get_or_create_unpaused(set, NULL, NULL, &error));
  INVALID("set", sandboxset_prewarm(NULL, 1, 1, NULL, &error));
  INVALID("set", sandboxset_shrink(NULL, 1, NULL, &error));
  INVALID("set", sandboxset_drain(NULL, 1, &error));
  INVALID("set", sandboxset_close(NULL, 1, &error));
  INVALID("out_survivors", sandboxset_close_report(set, 1, NULL, NULL, &error));
  INVALID("stats", sandboxset_get_stats(set, NULL, &error));
  INVALID("set", sandboxset_get_stats(NULL, &stats, &error));
  INVALID("out_reasons", sandboxset_destroy_reasons(set, NULL, &error));
  INVALID("out_stream", sandboxset_events(set, 1, NULL, &error));
  INVALID("out_report", sandboxset_isolation_report(set, NULL, &error));
  INVALID("stream", sandboxset_event_stream_next(NULL, 0, NULL, &error));
  INVALID("event", sandboxset_event_get_info(NULL, NULL, &error));
  INVALID("tally", sandboxset_tally_count(NULL, &size, &error));
  INVALID("report", sandboxset_report_count(NULL, &size, &error));
  INVALID("dir", sandboxset_dir_count(NULL, &size, &error));
  INVALID("bytes", sandboxset_bytes_data(NULL, &data, &size, &error));
  INVALID("output", sandboxset_output_outcome(NULL, &word, NULL, &error));
  INVALID("output", sandboxset_output_bytes(NULL, 1, &data, &size, &error));
  INVALID("output", sandboxset_output_dropped(NULL, 1, &number, NULL, &error));
  INVALID("output", sandboxset_output_get_usage(NULL, &usage, &error));
  INVALID("process", sandboxset_process_kill(NULL, &error));
  INVALID("process", sandboxset_process_wait(NULL, 0, NULL, NULL, &error));
  INVALID("connection", sandboxset_connection_set_timeout(NULL, 1, &error));
  INVALID("connection", sandboxset_connection_write(NULL, NULL, 0, &error));
  INVALID("out_cancel", sandboxset_cancel_new(NULL, &error));
  INVALID("cancel", sandboxset_cancel_now(NULL, &error));
  INVALID("out_clock", sandboxset_clock_new(NULL, &error));
  INVALID("clock", sandboxset_clock_advance(NULL, 1, &error));
  INVALID("sandbox", sandboxset_ref_put(NULL, &error));
  INVALID("sandbox", sandboxset_ref_destroy(NULL, "reason", &error));
  INVALID("reason", sandboxset_ref_destroy(ref, NULL, &error));
  INVALID("reason", sandboxset_ref_taint(ref, NULL, &error));
  INVALID("out_id", sandboxset_ref_id(ref, NULL, &error));
  INVALID("out_state", sandboxset_ref_state(ref, NULL, &error));
  INVALID("out_uses", sandboxset_ref_uses(ref, NULL, &error));
  INVALID("out_age_ns", sandboxset_ref_age(ref, NULL, &error));
  INVALID("out_path", sandboxset_ref_scratch_dir(ref, NULL, &error));
  INVALID("out_path", sandboxset_ref_host_scratch_dir(ref, NULL, &error));
  INVALID("out_log", sandboxset_ref_log(ref, 1, NULL, &error));
  INVALID("out_bytes", sandboxset_ref_read_file(ref, "a", 1, NULL, &error));
  INVALID("path", sandboxset_ref_read_file(ref, NULL, 1, NULL, &error));
  INVALID("path", sandboxset_ref_remove(ref, NULL, &error));
  INVALID("path", sandboxset_ref_remove(ref, "", &error));
  INVALID("data", sandboxset_ref_write_file(ref, "a", NULL, 1, 0644, &error));
  INVALID("data", sandboxset_ref_write_file(ref, "a", (const uint8_t *)"a", SIZE_MAX, 0644, &error));
  INVALID("out_dir", sandboxset_ref_list_dir(ref, ".", 1, NULL, &error));
  INVALID("request", sandboxset_ref_call(ref, NULL, 1, 1, NULL, NULL, &error));
  INVALID("out_answer", sandboxset_ref_call(ref, NULL, 0, 1, NULL, NULL, &error));
  INVALID("out_connection", sandboxset_ref_connect(ref, 1, NULL, NULL, &error));
  INVALID("out_output", sandboxset_ref_exec(ref, &command, NULL, &error));
  INVALID("out_process", sandboxset_ref_spawn(ref, &command, NULL, &error));
  INVALID("backend", sandboxset_mock_live(NULL, &number, &error));
  INVALID("out_live", sandboxset_mock_live(backend, NULL, &error));
  INVALID("backend", sandboxset_mock_most_live(NULL, &number, &error));
  INVALID("out_most_live", sandboxset_mock_most_live(backend, NULL, &error));
  INVALID("backend", sandboxset_mock_paused(NULL, &number, &error));
  INVALID("out_paused", sandboxset_mock_paused(backend, NULL, &error));
  INVALID("backend", sandboxset_mock_wait_for_hangs(NULL, 0, 1, 0, &(uint32_t){0}, &error));
  INVALID("operation", sandboxset_mock_wait_for_hangs(backend, 99, 1, 0, &(uint32_t){0}, &error));
  INVALID("out_hanging", sandboxset_mock_wait_for_hangs(backend, 0, 1, 0, NULL, &error));

  /* Errors need no place to go to, and their own accessors accept NULL. */
  CHECK(sandboxset_ref_put(NULL, NULL) == SANDBOXSET_INVALID_ARGUMENT);
  CHECK(sandboxset_error_code(NULL) == SANDBOXSET_OK && sandboxset_error_field(NULL) == NULL);
  CHECK(strcmp(sandboxset_error_message(NULL), "") == 0 && strcmp(sandboxset_error_cause(NULL), "") == 0);
  CHECK(strcmp(sandboxset_error_phase(NULL), "") == 0 && strcmp(sandboxset_error_name(NULL), "OK") == 0);
  CHECK(!sandboxset_error_retryable(NULL) && sandboxset_error_sandbox_id(NULL) == 0);
  CHECK(strcmp(sandboxset_code_name(12345), "UNKNOWN") == 0);

  put(ref);
  close_and_free(set);
  sandboxset_backend_free(backend);
  sandboxset_backend_free(NULL);
  sandboxset_free(NULL);
  sandboxset_ref_free(NULL);
  sandboxset_output_free(NULL);
  sandboxset_process_free(NULL);
  sandboxset_connection_free(NULL);
  sandboxset_bytes_free(NULL);
  sandboxset_dir_free(NULL);
  sandboxset_event_stream_free(NULL);
  sandboxset_event_free(NULL);
  sandboxset_report_free(NULL);
  sandboxset_tally_free(NULL);
  sandboxset_cancel_free(NULL);
  sandboxset_clock_free(NULL);
  sandboxset_error_free(NULL);
}

static void foreign_handles(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_ref *ref = get(set);
  INVALID("sandbox", sandboxset_ref_put((sandboxset_ref *)set, &error));
  INVALID("set", sandboxset_close((sandboxset *)ref, 1, &error));
  INVALID("backend", sandboxset_mock_live((sandboxset_backend *)ref, &(uint64_t){0}, &error));
  INVALID("sandbox", sandboxset_ref_put((sandboxset_ref *)((char *)ref + 1), &error));
  /* A free of the wrong type leaves the handle as it is. */
  sandboxset_free((sandboxset *)ref);
  sandboxset_ref_free((sandboxset_ref *)set);
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.cancel = (sandboxset_cancel *)set;
  sandboxset_ref *none = NULL;
  INVALID("cancel", sandboxset_get_or_create_unpaused(set, &options, &none, &error));
  put(ref);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

/* An option struct as a newer program would have it. */
struct newer_config {
  sandboxset_config config;
  uint64_t more[4];
};

static void struct_sizes(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  struct newer_config newer;
  memset(&newer, 0xff, sizeof newer);
  sandboxset_config_init(&newer.config, sizeof newer);
  CHECK(newer.config.struct_size == sizeof newer && newer.more[0] == 0 && newer.more[3] == 0);
  OK(sandboxset_new(backend, NULL, &newer.config, &set, &error));
  sandboxset_free(set);
  set = NULL;

  newer.more[3] = 1;
  INVALID("config.struct_size", sandboxset_new(backend, NULL, &newer.config, &set, &error));
  newer.more[3] = 0;
  newer.config.struct_size = 0;
  INVALID("config.struct_size", sandboxset_new(backend, NULL, &newer.config, &set, &error));
  newer.config.struct_size = sizeof(sandboxset_config) - 1;
  INVALID("config.struct_size", sandboxset_new(backend, NULL, &newer.config, &set, &error));
  newer.config.struct_size = SIZE_MAX;
  INVALID("config.struct_size", sandboxset_new(backend, NULL, &newer.config, &set, &error));

  sandboxset_spec spec;
  memset(&spec, 0, sizeof spec);
  INVALID("spec.struct_size", sandboxset_new(backend, &spec, NULL, &set, &error));
  sandboxset_spec_init(&spec, sizeof spec);
  sandboxset_limits limits;
  memset(&limits, 0, sizeof limits);
  spec.limits = &limits;
  INVALID("limits.struct_size", sandboxset_new(backend, &spec, NULL, &set, &error));
  spec.limits = NULL;
  const char *const no_policy[] = {"seccomp", NULL};
  spec.layers = no_policy;
  INVALID("layers", sandboxset_new(backend, &spec, NULL, &set, &error));
  const char *const unknown_policy[] = {"seccomp=Required", NULL};
  spec.layers = unknown_policy;
  INVALID("layers", sandboxset_new(backend, &spec, NULL, &set, &error));
  const char *const twice[] = {"seccomp=required", "seccomp=off", NULL};
  spec.layers = twice;
  INVALID("layers", sandboxset_new(backend, &spec, NULL, &set, &error));
  CHECK(set == NULL);

  /* A struct to fill: too small, and larger than ours. */
  OK(sandboxset_new(backend, NULL, NULL, &set, &error));
  struct {
    sandboxset_stats stats;
    uint64_t more;
  } filled = {.more = 5};
  INVALID("stats.struct_size", sandboxset_get_stats(set, &filled.stats, &error));
  filled.stats.struct_size = sizeof filled;
  OK(sandboxset_get_stats(set, &filled.stats, &error));
  CHECK(filled.more == 0 && filled.stats.struct_size == sizeof filled);
  sandboxset_free(set);
  sandboxset_backend_free(backend);
}

/* What only C can say; the rest is in tests/conformance/bad_input.json. */
static void out_of_range(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));

#define CONFIG(field, change)                                                            \
  do {                                                                                   \
    sandboxset_config config;                                                            \
    sandboxset_config_init(&config, sizeof config);                                      \
    change;                                                                              \
    INVALID(field, sandboxset_new(backend, NULL, &config, &set, &error));                \
  } while (0)
  CONFIG("reuse", config.reuse = unknown);
  CONFIG("config.reserved", config.reserved = 1);

  const char *no_pair[] = {"NOVALUE", NULL}, *fine[] = {"true", NULL};
  sandboxset_bind bind;
  sandboxset_limits limits;
  sandboxset_runtime runtime;
  const sandboxset_bind *binds[] = {&bind, NULL};
#define SPEC(field, change)                                                              \
  do {                                                                                   \
    sandboxset_spec spec;                                                                \
    sandboxset_spec_init(&spec, sizeof spec);                                            \
    sandboxset_bind_init(&bind, sizeof bind);                                            \
    bind.source = "/usr";                                                                \
    bind.target = "/mnt";                                                                \
    sandboxset_limits_init(&limits, sizeof limits);                                      \
    sandboxset_runtime_init(&runtime, sizeof runtime);                                   \
    runtime.args = fine;                                                                 \
    change;                                                                              \
    INVALID(field, sandboxset_new(backend, &spec, NULL, &set, &error));                  \
  } while (0)
  sandboxset_linux_options linux_options;
  sandboxset_linux_options_init(&linux_options, sizeof linux_options);
  CHECK(linux_options.image_cache == NULL);
  linux_options.image_cache = "relative";
  sandboxset_backend *no_backend = NULL;
  INVALID("image_cache", sandboxset_backend_linux_new(&linux_options, &no_backend, &error));
  sandboxset_linux_options_init(&linux_options, sizeof linux_options);
  CHECK(linux_options.shells == SANDBOXSET_SHELLS_ON_DEMAND);
  linux_options.shells = 1025;
  INVALID("shells", sandboxset_backend_linux_new(&linux_options, &no_backend, &error));
  CHECK(no_backend == NULL);
  SPEC("root", spec.root = "\xff\xfe");
  SPEC("root", spec.root = "oci:/tmp:\xff\xfe");
  SPEC("env", spec.env = no_pair);
  SPEC("binds", spec.binds_length = 1);
  SPEC("binds_length", spec.binds = binds; spec.binds_length = SIZE_MAX);
  SPEC("binds", spec.binds = binds + 1; spec.binds_length = 1);
  SPEC("binds.source", spec.binds = binds; spec.binds_length = 1; bind.source = NULL);
  SPEC("binds.writable", spec.binds = binds; spec.binds_length = 1; bind.writable = 2);
  SPEC("limits.reserved", spec.limits = &limits; limits.reserved = 1);
  SPEC("runtime.args", spec.runtime = &runtime; runtime.args = NULL);
  SPEC("runtime.env", spec.runtime = &runtime; runtime.env = no_pair);
  SPEC("runtime.forks", spec.runtime = &runtime; runtime.forks = 2);
  SPEC("runtime.reserved", spec.runtime = &runtime; runtime.reserved = 1);
  CHECK(set == NULL);

  OK(sandboxset_new(backend, NULL, NULL, &set, &error));
  sandboxset_ref *ref = NULL;
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.acquire = unknown;
  INVALID("acquire", sandboxset_get_or_create_unpaused(set, &options, &ref, &error));
  options.acquire = SANDBOXSET_ACQUIRE_ANY;
  options.no_wait = 2;
  INVALID("no_wait", sandboxset_get_or_create_unpaused(set, &options, &ref, &error));
  CHECK(ref == NULL);

  ref = get(set);
  sandboxset_output *output = NULL;
#define COMMAND(field, change)                                                           \
  do {                                                                                   \
    sandboxset_command command;                                                          \
    sandboxset_command_init(&command, sizeof command);                                   \
    command.args = fine;                                                                 \
    change;                                                                              \
    INVALID(field, sandboxset_ref_exec(ref, &command, &output, &error));                 \
  } while (0)
  INVALID("command", sandboxset_ref_exec(ref, NULL, &output, &error));
  COMMAND("command.struct_size", command.struct_size = 8);
  COMMAND("args", command.args = NULL);
  COMMAND("env", command.env = no_pair);
  COMMAND("stdin_mode", command.stdin_mode = unknown);
  COMMAND("stdin_bytes", command.stdin_length = 1);
  COMMAND("stdin_bytes", command.stdin_bytes = (const uint8_t *)"x"; command.stdin_length = 1);
  COMMAND("on_overflow", command.on_overflow = unknown);
  INVALID("reason", sandboxset_ref_destroy(ref, "\xff\xfe", &error));
  INVALID("operation", sandboxset_mock_calls(backend, unknown, &(uint64_t){0}, &error));
  INVALID("nth", sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 0, NULL, &error));
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = unknown;
  INVALID("fault.kind", sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 1, &fault, &error));
  fault.kind = SANDBOXSET_MOCK_FAIL;
  fault.message = "\xff";
  INVALID("fault.message", sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 1, &fault, &error));
  CHECK(output == NULL);

  /* None of it harmed the sandbox. */
  put(ref);
  CHECK(stats_of(set).idle == 1 && stats_of(set).created == 1);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

static void unwanted(void *user_data, sandboxset_code code, sandboxset_error *failure) {
  (void)user_data, (void)code, (void)failure;
  CHECK(!"a call that was refused has called back");
}

static void asynchronous_calls(void) {
  static const char *args[] = {"cat", NULL};
  sandboxset_backend *backend = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  sandboxset_runtime runtime;
  sandboxset_runtime_init(&runtime, sizeof runtime);
  runtime.args = args;
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.runtime = &runtime;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, &spec, NULL, &set, &error));
  sandboxset_ref *ref = get(set);
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  command.stdin_mode = SANDBOXSET_STDIN_STREAM;
  sandboxset_process *process = NULL;
  sandboxset_connection *connection = NULL;
  sandboxset_event_stream *stream = NULL;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  OK(sandboxset_ref_connect(ref, 1000, NULL, &connection, &error));
  OK(sandboxset_events(set, 1, &stream, &error));

  INVALID("callback", sandboxset_new_async(backend, NULL, NULL, NULL, NULL, &error));
  INVALID("callback", sandboxset_get_or_create_unpaused_async(set, NULL, NULL, NULL, &error));
  INVALID("callback", sandboxset_prewarm_async(set, 1, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_drain_async(set, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_close_async(set, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_close_report_async(set, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_put_async(ref, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_exec_async(ref, &command, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_spawn_async(ref, &command, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_connect_async(ref, 1, NULL, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_call_async(ref, NULL, 0, 1, NULL, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_log_async(ref, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_read_file_async(ref, "a", 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_write_file_async(ref, "a", NULL, 0, 0644, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_list_dir_async(ref, ".", 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_ref_remove_async(ref, "a", NULL, NULL, &error));
  INVALID("callback", sandboxset_process_write_async(process, NULL, 0, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_process_read_async(process, 1, 1, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_process_wait_async(process, 1, NULL, NULL, NULL, &error));
  INVALID("callback", sandboxset_connection_read_async(connection, 1, NULL, NULL, &error));
  INVALID("callback", sandboxset_connection_write_async(connection, NULL, 0, NULL, NULL, &error));
  INVALID("callback", sandboxset_event_stream_next_async(stream, 1, NULL, NULL, &error));

  INVALID("set", sandboxset_close_async(NULL, 1, unwanted, NULL, &error));
  INVALID("set", sandboxset_drain_async((sandboxset *)ref, 1, unwanted, NULL, &error));
  INVALID("sandbox", sandboxset_ref_put_async(NULL, unwanted, NULL, &error));
  INVALID("sandbox", sandboxset_ref_remove_async((sandboxset_ref *)set, "a", unwanted, NULL, &error));
  INVALID("path", sandboxset_ref_remove_async(ref, NULL, unwanted, NULL, &error));
  INVALID("data", sandboxset_ref_write_file_async(ref, "a", NULL, 1, 0644, unwanted, NULL, &error));
  INVALID("data", sandboxset_process_write_async(process, NULL, 1, 1, unwanted, NULL, &error));
  INVALID("data", sandboxset_connection_write_async(connection, NULL, 1, unwanted, NULL, &error));
  INVALID("max_bytes", sandboxset_connection_read_async(connection, 0, NULL, NULL, &error));
  INVALID("max_bytes", sandboxset_process_read_async(process, 1, 0, 1, NULL, NULL, &error));
  INVALID("stream", sandboxset_process_read_async(process, unknown, 1, 1, NULL, NULL, &error));
  INVALID("cancel", sandboxset_process_wait_async(process, 1, (sandboxset_cancel *)ref, NULL, NULL, &error));
  command.args = NULL;
  command.on_overflow = unknown;
  INVALID("on_overflow", sandboxset_ref_exec_async(ref, &command, NULL, NULL, &error));

  /* A refused call leaves the connection to the next, and the ref with its holder. */
  OK(sandboxset_connection_write(connection, (const uint8_t *)"\0\0\0\0", 4, &error));
  sandboxset_event_stream_free(stream);
  sandboxset_connection_free(connection);
  sandboxset_process_free(process);
  put(ref);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

int main(void) {
  null_pointers();
  foreign_handles();
  struct_sizes();
  out_of_range();
  asynchronous_calls();
  return 0;
}
