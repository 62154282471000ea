/* One function for each operation: it answers what goes below `ok`, or leaves an error in the call. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

/* Where C leaves no default because it wants the argument. */
enum { TIMEOUT_MS = 30000, DEADLINE_MS = 10000, MAX_BYTES = 64 << 20, MAX_ENTRIES = 4096, CAPACITY = 1024, MODE = 0644 };

/* A call whose success is all that it answers. */
#define DONE(code) ((code) == SANDBOXSET_OK ? json_null() : NULL)

static uint64_t timeout(const struct call *call) { return number(call->request, "timeout_ms", TIMEOUT_MS); }
static uint64_t deadline(const struct call *call) { return number(call->request, "deadline_ms", DEADLINE_MS); }
static uint64_t max_bytes(const struct call *call) { return number(call->request, "max_bytes", MAX_BYTES); }
static const char *path(const struct call *call) { return text(call->request, "path"); }

static json_t *named(const struct call *call, enum kind kind, sandboxset_code code, void *handle) {
  if (code != SANDBOXSET_OK) {
    return NULL;
  }
  put_handle(kind, text(call->request, "as"), handle);
  return json_null();
}

static json_t *bytes_answer(sandboxset_code code, sandboxset_bytes *bytes) {
  const uint8_t *start;
  size_t length;
  if (code != SANDBOXSET_OK || sandboxset_bytes_data(bytes, &start, &length, NULL) != SANDBOXSET_OK) {
    return NULL;
  }
  json_t *answer = data_answer(start, length);
  sandboxset_bytes_free(bytes);
  return answer;
}

static json_t *backend_new(struct call *call) {
  sandboxset_backend *backend = NULL;
  if (strcmp(text(call->request, "kind"), "mock") == 0) {
    sandboxset_code code = sandboxset_backend_mock_new(&backend, &call->error);
    return named(call, BACKEND, code, backend);
  }
  sandboxset_linux_options options;
  sandboxset_linux_options_init(&options, sizeof options);
  options.keeper = text(call->request, "keeper");
  options.image_cache = text(call->request, "image_cache");
  options.shells = number(call->request, "shells", options.shells);
  sandboxset_code code = sandboxset_backend_linux_new(&options, &backend, &call->error);
  return named(call, BACKEND, code, backend);
}

static uint32_t mock_operation(const struct call *call) {
  static const char *const names[] = {"create", "pause", "unpause", "destroy", "exec",    "death", "reset",
                                      "fork",   "bind",  "unbind",  "connect", "files", NULL};
  return choice(call->request, "operation", names, 0);
}

static json_t *mock_fault_at(struct call *call) {
  uint64_t nth = number(call->request, "nth", 0);
  sandboxset_mock_fault *fault = read_fault(call);
  return DONE(sandboxset_mock_fault_at(handle(call, "backend"), mock_operation(call), nth, fault, &call->error));
}

static json_t *mock_fault_always(struct call *call) {
  sandboxset_mock_fault *fault = read_fault(call);
  return DONE(sandboxset_mock_fault_always(handle(call, "backend"), mock_operation(call), fault, &call->error));
}

static json_t *mock_release_hangs(struct call *call) {
  return DONE(sandboxset_mock_release_hangs(handle(call, "backend"), &call->error));
}

static json_t *mock_wait_for_hangs(struct call *call) {
  uint32_t hanging = 0;
  uint64_t count = number(call->request, "count", 0);
  sandboxset_code code = sandboxset_mock_wait_for_hangs(handle(call, "backend"), mock_operation(call), count,
                                                        timeout(call), &hanging, &call->error);
  return code == SANDBOXSET_OK ? json_boolean(hanging) : NULL;
}

static json_t *mock_counts(struct call *call) {
  sandboxset_backend *backend = handle(call, "backend");
  uint64_t live = 0, most_live = 0, paused = 0;
  if (sandboxset_mock_live(backend, &live, &call->error) != SANDBOXSET_OK ||
      sandboxset_mock_most_live(backend, &most_live, &call->error) != SANDBOXSET_OK ||
      sandboxset_mock_paused(backend, &paused, &call->error) != SANDBOXSET_OK) {
    return NULL;
  }
  return json_pack("{sI sI sI}", "live", (json_int_t)live, "most_live", (json_int_t)most_live, "paused",
                   (json_int_t)paused);
}

static json_t *mock_calls(struct call *call) {
  uint64_t calls = 0;
  sandboxset_code code = sandboxset_mock_calls(handle(call, "backend"), mock_operation(call), &calls, &call->error);
  return code == SANDBOXSET_OK ? json_integer((json_int_t)calls) : NULL;
}

static json_t *clock_new(struct call *call) {
  sandboxset_clock *clock = NULL;
  sandboxset_code code = sandboxset_clock_new(&clock, &call->error);
  return named(call, CLOCK, code, clock);
}

static json_t *clock_advance(struct call *call) {
  return DONE(sandboxset_clock_advance(handle(call, "clock"), number(call->request, "by_ms", 0), &call->error));
}

static json_t *cancel_new(struct call *call) {
  sandboxset_cancel *cancel = NULL;
  sandboxset_code code = sandboxset_cancel_new(&cancel, &call->error);
  return named(call, CANCEL, code, cancel);
}

static json_t *cancel(struct call *call) {
  return DONE(sandboxset_cancel_now(handle(call, "cancel"), &call->error));
}

static json_t *set_new(struct call *call) {
  sandboxset *set = NULL;
  sandboxset_spec *spec = read_spec(call);
  sandboxset_config *config = read_config(call);
  sandboxset_code code = sandboxset_new(handle(call, "backend"), spec, config, &set, &call->error);
  return named(call, SET, code, set);
}

static json_t *get_or_create_unpaused(struct call *call) {
  sandboxset_ref *ref = NULL;
  uint64_t id = 0, uses = 0;
  sandboxset_get_options *options = read_get_options(call);
  if (sandboxset_get_or_create_unpaused(handle(call, "set"), options, &ref, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_id(ref, &id, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_uses(ref, &uses, &call->error) != SANDBOXSET_OK) {
    return NULL;
  }
  put_handle(REF, text(call->request, "as"), ref);
  return json_pack("{sI sI}", "id", (json_int_t)id, "uses", (json_int_t)uses);
}

static json_t *prewarm(struct call *call) {
  uint64_t idle = 0;
  uint64_t count = number(call->request, "count", 0);
  sandboxset_code code = sandboxset_prewarm(handle(call, "set"), count, timeout(call), &idle, &call->error);
  return code == SANDBOXSET_OK ? json_integer((json_int_t)idle) : NULL;
}

static json_t *shrink(struct call *call) {
  uint64_t destroyed = 0;
  uint64_t left = number(call->request, "keep", 0);
  sandboxset_code code = sandboxset_shrink(handle(call, "set"), left, &destroyed, &call->error);
  return code == SANDBOXSET_OK ? json_integer((json_int_t)destroyed) : NULL;
}

static json_t *drain(struct call *call) {
  return DONE(sandboxset_drain(handle(call, "set"), deadline(call), &call->error));
}

static json_t *close_set(struct call *call) {
  uint64_t destroyed = 0;
  sandboxset_tally *survivors = NULL;
  sandboxset_code code =
      sandboxset_close_report(handle(call, "set"), deadline(call), &destroyed, &survivors, &call->error);
  if (code != SANDBOXSET_OK) {
    return NULL;
  }
  return json_pack("{sI sI}", "destroyed", (json_int_t)destroyed, "survivors", (json_int_t)tally_sum(survivors));
}

static json_t *stats(struct call *call) { return stats_answer(handle(call, "set")); }

static json_t *isolation_report(struct call *call) {
  sandboxset_report *report = NULL;
  sandboxset_code code = sandboxset_isolation_report(handle(call, "set"), &report, &call->error);
  return code == SANDBOXSET_OK ? layers_answer(report) : NULL;
}

static json_t *events(struct call *call) {
  sandboxset_event_stream *stream = NULL;
  uint64_t capacity = number(call->request, "capacity", CAPACITY);
  sandboxset_code code = sandboxset_events(handle(call, "set"), capacity, &stream, &call->error);
  return named(call, EVENTS, code, stream);
}

static json_t *next_event(struct call *call) {
  sandboxset_event *event = NULL;
  sandboxset_code code = sandboxset_event_stream_next(handle(call, "events"), timeout(call), &event, &call->error);
  return code == SANDBOXSET_OK ? event_answer(event) : NULL;
}

static json_t *put(struct call *call) { return DONE(sandboxset_ref_put(handle(call, "ref"), &call->error)); }

static json_t *destroy(struct call *call) {
  return DONE(sandboxset_ref_destroy(handle(call, "ref"), text(call->request, "reason"), &call->error));
}

static json_t *taint(struct call *call) {
  return DONE(sandboxset_ref_taint(handle(call, "ref"), text(call->request, "reason"), &call->error));
}

static json_t *abandon(struct call *call) {
  sandboxset_ref_free(take_handle(REF, text(call->request, "ref")));
  return json_null();
}

static json_t *inspect(struct call *call) {
  static const char *const states[] = {"held", "dead", "stale"};
  sandboxset_ref *ref = handle(call, "ref");
  uint64_t id = 0, uses = 0;
  uint32_t state = 0;
  const char *scratch = NULL, *host_scratch = NULL;
  if (sandboxset_ref_id(ref, &id, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_uses(ref, &uses, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_state(ref, &state, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_scratch_dir(ref, &scratch, &call->error) != SANDBOXSET_OK ||
      sandboxset_ref_host_scratch_dir(ref, &host_scratch, &call->error) != SANDBOXSET_OK) {
    return NULL;
  }
  return json_pack("{sI sI sb ss ss ss?}", "id", (json_int_t)id, "uses", (json_int_t)uses, "reused", uses > 1, "state",
                   state < 3 ? states[state] : "other", "scratch_dir", scratch, "host_scratch_dir", host_scratch);
}

static json_t *age(struct call *call) {
  uint64_t age_ns = 0;
  sandboxset_code code = sandboxset_ref_age(handle(call, "ref"), &age_ns, &call->error);
  return code == SANDBOXSET_OK ? json_integer((json_int_t)(age_ns / 1000000)) : NULL;
}

static json_t *usage(struct call *call) {
  sandboxset_usage usage;
  usage.struct_size = sizeof usage;
  if (sandboxset_ref_get_usage(handle(call, "ref"), &usage, &call->error) != SANDBOXSET_OK) {
    return NULL;
  }
  return json_pack("{sI sI}", "memory_bytes", (json_int_t)usage.memory_bytes, "pids", (json_int_t)usage.pids);
}

static json_t *log_of(struct call *call) {
  sandboxset_bytes *bytes = NULL;
  sandboxset_code code = sandboxset_ref_log(handle(call, "ref"), max_bytes(call), &bytes, &call->error);
  return bytes_answer(code, bytes);
}

static json_t *exec(struct call *call) {
  sandboxset_output *output = NULL;
  sandboxset_command *command = read_command(call);
  sandboxset_code code = sandboxset_ref_exec(handle(call, "ref"), command, &output, &call->error);
  return code == SANDBOXSET_OK ? output_answer(output) : NULL;
}

static json_t *spawn(struct call *call) {
  sandboxset_process *process = NULL;
  sandboxset_command *command = read_command(call);
  sandboxset_code code = sandboxset_ref_spawn(handle(call, "ref"), command, &process, &call->error);
  return named(call, PROCESS, code, process);
}

static json_t *write_stdin(struct call *call) {
  size_t length;
  const uint8_t *bytes = data(call, json_object_get(call->request, "data"), &length);
  return DONE(sandboxset_process_write(handle(call, "process"), bytes, length, timeout(call), &call->error));
}

static json_t *close_stdin(struct call *call) {
  return DONE(sandboxset_process_close_stdin(handle(call, "process"), &call->error));
}

static json_t *kill_process(struct call *call) {
  return DONE(sandboxset_process_kill(handle(call, "process"), &call->error));
}

static json_t *signal_process(struct call *call) {
  int32_t signal = (int32_t)json_integer_value(json_object_get(call->request, "signal"));
  return DONE(sandboxset_process_signal(handle(call, "process"), signal, &call->error));
}

static json_t *read_stream(struct call *call) {
  static const char *const streams[] = {"", "stdout", "stderr", NULL};
  size_t length = 0;
  uint8_t *buffer = keep(call, max_bytes(call));
  sandboxset_code code =
      sandboxset_process_read(handle(call, "process"), choice(call->request, "stream", streams, 0), buffer,
                              max_bytes(call), timeout(call), &length, &call->error);
  return code == SANDBOXSET_OK ? data_answer(buffer, length) : NULL;
}

static json_t *wait_process(struct call *call) {
  sandboxset_output *output = NULL;
  sandboxset_code code = sandboxset_process_wait(handle(call, "process"), timeout(call), handle(call, "cancel"),
                                                 &output, &call->error);
  return code == SANDBOXSET_OK ? output_answer(output) : NULL;
}

static json_t *call_runtime(struct call *call) {
  sandboxset_bytes *bytes = NULL;
  size_t length;
  const uint8_t *request = data(call, json_object_get(call->request, "data"), &length);
  sandboxset_code code = sandboxset_ref_call(handle(call, "ref"), request, length, timeout(call),
                                             handle(call, "cancel"), &bytes, &call->error);
  return bytes_answer(code, bytes);
}

static json_t *connect_runtime(struct call *call) {
  sandboxset_connection *connection = NULL;
  sandboxset_code code = sandboxset_ref_connect(handle(call, "ref"), timeout(call), handle(call, "cancel"),
                                                &connection, &call->error);
  return named(call, CONNECTION, code, connection);
}

static json_t *connection_set_timeout(struct call *call) {
  return DONE(sandboxset_connection_set_timeout(handle(call, "connection"), timeout(call), &call->error));
}

static json_t *connection_write(struct call *call) {
  size_t length;
  const uint8_t *bytes = data(call, json_object_get(call->request, "data"), &length);
  return DONE(sandboxset_connection_write(handle(call, "connection"), bytes, length, &call->error));
}

static json_t *connection_read(struct call *call) {
  size_t length = 0;
  uint8_t *buffer = keep(call, max_bytes(call));
  sandboxset_code code =
      sandboxset_connection_read(handle(call, "connection"), buffer, max_bytes(call), &length, &call->error);
  return code == SANDBOXSET_OK ? data_answer(buffer, length) : NULL;
}

static json_t *read_file(struct call *call) {
  sandboxset_bytes *bytes = NULL;
  sandboxset_code code = sandboxset_ref_read_file(handle(call, "ref"), path(call), max_bytes(call), &bytes, &call->error);
  return bytes_answer(code, bytes);
}

static json_t *write_file(struct call *call) {
  size_t length;
  const uint8_t *bytes = data(call, json_object_get(call->request, "data"), &length);
  uint32_t mode = (uint32_t)number(call->request, "mode", MODE);
  return DONE(sandboxset_ref_write_file(handle(call, "ref"), path(call), bytes, length, mode, &call->error));
}

static json_t *list_dir(struct call *call) {
  sandboxset_ref *ref = handle(call, "ref");
  sandboxset_dir *dir = NULL;
  const char *scratch = NULL;
  if (sandboxset_ref_scratch_dir(ref, &scratch, &call->error) != SANDBOXSET_OK) {
    return NULL;
  }
  uint64_t most = number(call->request, "max_entries", MAX_ENTRIES);
  sandboxset_code code = sandboxset_ref_list_dir(ref, path(call) ? path(call) : scratch, most, &dir, &call->error);
  return code == SANDBOXSET_OK ? entries_answer(dir) : NULL;
}

static json_t *remove_path(struct call *call) {
  return DONE(sandboxset_ref_remove(handle(call, "ref"), path(call), &call->error));
}

static json_t *drop(struct call *call) {
  for (enum kind kind = 0; kind < KINDS; kind++) {
    const char *name = text(call->request, kind_names[kind]);
    if (name) {
      free_handle(kind, take_handle(kind, name));
    }
  }
  return json_null();
}

static const struct {
  const char *name;
  json_t *(*function)(struct call *);
} operations[] = {
    {"backend_new", backend_new},
    {"mock_fault_at", mock_fault_at},
    {"mock_fault_always", mock_fault_always},
    {"mock_release_hangs", mock_release_hangs},
    {"mock_wait_for_hangs", mock_wait_for_hangs},
    {"mock_counts", mock_counts},
    {"mock_calls", mock_calls},
    {"clock_new", clock_new},
    {"clock_advance", clock_advance},
    {"cancel_new", cancel_new},
    {"cancel", cancel},
    {"set_new", set_new},
    {"get_or_create_unpaused", get_or_create_unpaused},
    {"prewarm", prewarm},
    {"shrink", shrink},
    {"drain", drain},
    {"close", close_set},
    {"stats", stats},
    {"isolation_report", isolation_report},
    {"events", events},
    {"next_event", next_event},
    {"put", put},
    {"destroy", destroy},
    {"taint", taint},
    {"abandon", abandon},
    {"inspect", inspect},
    {"age", age},
    {"usage", usage},
    {"log", log_of},
    {"exec", exec},
    {"spawn", spawn},
    {"write_stdin", write_stdin},
    {"close_stdin", close_stdin},
    {"kill", kill_process},
    {"signal", signal_process},
    {"read", read_stream},
    {"wait", wait_process},
    {"call", call_runtime},
    {"connect", connect_runtime},
    {"connection_set_timeout", connection_set_timeout},
    {"connection_write", connection_write},
    {"connection_read", connection_read},
    {"read_file", read_file},
    {"write_file", write_file},
    {"list_dir", list_dir},
    {"remove", remove_path},
    {"drop", drop},
};

json_t *perform(json_t *request) {
  const char *name = text(request, "op");
  const char *why = strcmp(name, "leave_scope") == 0 ? "C has no scopes that end by themselves" : why_unsayable(request);
  if (why) {
    return json_pack("{ss}", "unsupported", why);
  }
  struct call call = {request, NULL, NULL};
  json_t *result = NULL;
  size_t index = 0;
  while (index < sizeof operations / sizeof *operations && strcmp(operations[index].name, name) != 0) {
    index++;
  }
  if (index == sizeof operations / sizeof *operations) {
    complain("no operation", name);
  }
  result = operations[index].function(&call);
  free_kept(&call);
  if (!result == !call.error) {
    complain("neither a result nor an error, or both:", name);
  }
  json_t *answer = result ? json_pack("{so}", "ok", result) : error_answer(call.error);
  sandboxset_error_free(call.error);
  return answer;
}
