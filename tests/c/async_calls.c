/* Everything but gets by callback, on the mock: results, errors, stale refs, and handles that are freed meanwhile. */
#include "await.h"

static sandboxset_backend *backend;

static sandboxset *new_set(uint64_t max_size) {
  static const char *args[] = {"server", NULL};
  sandboxset_runtime runtime;
  sandboxset_runtime_init(&runtime, sizeof runtime);
  runtime.args = args;
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.runtime = &runtime;
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = max_size;
  OK(sandboxset_backend_mock_new(&backend, &error));
  struct answer made = ANSWER;
  OK(sandboxset_new_async(backend, &spec, &config, on_set, &made, &error));
  OK(await(&made));
  CHECK(made.result);
  return made.result;
}

static void end(sandboxset *set) {
  close_and_free(set);
  sandboxset_backend_free(backend);
  until_quiet(1);
}

static sandboxset_command command_of(const char *const *args, uint32_t stdin_mode) {
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  command.stdin_mode = stdin_mode;
  return command;
}

static const char *const echo[] = {"echo", "hello", NULL};
static const char *const cat[] = {"cat", NULL};

/* Checks bytes against what they should be, and frees them. */
static void same(void *bytes, const char *wanted, size_t wanted_length) {
  const uint8_t *data = NULL;
  size_t length = 0;
  OK(sandboxset_bytes_data(bytes, &data, &length, &error));
  CHECK(length == wanted_length && memcmp(data, wanted, length) == 0);
  sandboxset_bytes_free(bytes);
}

static void ended(void *output, uint32_t wanted) {
  uint32_t outcome = 99;
  OK(sandboxset_output_outcome(output, &outcome, NULL, &error));
  CHECK(outcome == wanted);
  sandboxset_output_free(output);
}

static void the_life_of_a_set(void) {
  sandboxset *set = new_set(2);
  struct answer warm = ANSWER, draining = ANSWER, drained = ANSWER, report = ANSWER, again = ANSWER, late = ANSWER;
  OK(sandboxset_prewarm_async(set, 2, HANG_MS, on_prewarm, &warm, &error));
  OK(await(&warm));
  CHECK(warm.number == 2 && stats_of(set).idle == 2);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_drain_async(set, 10, on_done, &draining, &error));
  FAILS(SANDBOXSET_TIMEOUT, await(&draining));
  put(ref);
  OK(sandboxset_drain_async(set, HANG_MS, on_done, &drained, &error));
  OK(await(&drained));
  OK(sandboxset_close_report_async(set, HANG_MS, on_close_report, &report, &error));
  OK(await(&report));
  size_t count = 1;
  OK(sandboxset_tally_count(report.result, &count, &error));
  CHECK(count == 0 && report.number == 2);
  sandboxset_tally_free(report.result);
  OK(sandboxset_close_async(set, HANG_MS, on_done, &again, &error));
  OK(await(&again));
  OK(sandboxset_prewarm_async(set, 1, HANG_MS, on_prewarm, &late, &error));
  FAILS(SANDBOXSET_CLOSED, await(&late));
  end(set);

  /* What the core finds wrong with the spec is told to the callback, naming the field. */
  struct answer refused = ANSWER;
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = 0;
  OK(sandboxset_backend_mock_new(&backend, &error));
  OK(sandboxset_new_async(backend, NULL, &config, on_set, &refused, &error));
  INVALID("max_size", await(&refused));
  sandboxset_backend_free(backend);
  until_quiet(1);
}

static void commands_and_their_processes(void) {
  sandboxset *set = new_set(1);
  sandboxset_ref *ref = get(set);
  struct answer ran = ANSWER, mistaken = ANSWER, started = ANSWER, early = ANSWER, cancelled = ANSWER;
  {
    /* Nothing of the command needs to live longer than the call. */
    char word[] = "word";
    const char *args[] = {"echo", word, NULL};
    sandboxset_command command = command_of(args, SANDBOXSET_STDIN_NULL);
    OK(sandboxset_ref_exec_async(ref, &command, on_output, &ran, &error));
    memset(word, 'x', 4);
    args[0] = NULL;
  }
  OK(await(&ran));
  ended(ran.result, SANDBOXSET_OUTCOME_EXITED);
  sandboxset_command command = command_of(cat, SANDBOXSET_STDIN_STREAM);
  OK(sandboxset_ref_exec_async(ref, &command, on_output, &mistaken, &error));
  INVALID("stdin", await(&mistaken));

  OK(sandboxset_ref_spawn_async(ref, &command, on_process, &started, &error));
  OK(await(&started));
  sandboxset_process *process = started.result;
  OK(sandboxset_process_wait_async(process, 10, NULL, on_output, &early, &error));
  FAILS(SANDBOXSET_TIMEOUT, await(&early));
  sandboxset_cancel *cancel = NULL;
  OK(sandboxset_cancel_new(&cancel, &error));
  OK(sandboxset_process_wait_async(process, SANDBOXSET_FOREVER_MS, cancel, on_output, &cancelled, &error));
  OK(sandboxset_cancel_now(cancel, &error));
  sandboxset_cancel_free(cancel);
  FAILS(SANDBOXSET_CANCELLED, await(&cancelled));

  struct answer waits = ANSWER, wrote = ANSWER, reads = ANSWER, end_of_it = ANSWER, closed = ANSWER;
  OK(sandboxset_process_wait_async(process, HANG_MS, NULL, on_output, &waits, &error));
  uint8_t text[] = {'h', 'i'};
  OK(sandboxset_process_write_async(process, text, sizeof text, HANG_MS, on_done, &wrote, &error));
  text[0] = 'x';
  OK(await(&wrote));
  OK(sandboxset_process_read_async(process, SANDBOXSET_STREAM_STDERR, 100, HANG_MS, on_bytes, &reads, &error));
  CHECK(!is_answered(&waits) && !is_answered(&reads));
  OK(sandboxset_process_close_stdin(process, &error));
  OK(await(&waits));
  ended(waits.result, SANDBOXSET_OUTCOME_EXITED);
  OK(await(&reads));
  same(reads.result, "", 0);
  OK(sandboxset_process_write_async(process, text, 1, HANG_MS, on_done, &closed, &error));
  FAILS(SANDBOXSET_INVALID_STATE, await(&closed));
  OK(sandboxset_process_read_async(process, SANDBOXSET_STREAM_STDERR, UINT64_MAX, HANG_MS, on_bytes, &end_of_it,
                                   &error));
  OK(await(&end_of_it));
  sandboxset_bytes_free(end_of_it.result);
  sandboxset_process_free(process);
  put(ref);
  end(set);
}

static void files_and_logs(void) {
  sandboxset *set = new_set(1);
  sandboxset_ref *ref = get(set);
  struct answer wrote = ANSWER, read = ANSWER, large = ANSWER, listed = ANSWER, removed = ANSWER, gone = ANSWER,
                log = ANSWER, bad = ANSWER;
  OK(sandboxset_ref_write_file_async(ref, "note", (const uint8_t *)"a\0b", 3, 0644, on_done, &wrote, &error));
  OK(await(&wrote));
  OK(sandboxset_ref_read_file_async(ref, "note", 100, on_bytes, &read, &error));
  OK(await(&read));
  same(read.result, "a\0b", 3);
  OK(sandboxset_ref_read_file_async(ref, "note", 2, on_bytes, &large, &error));
  FAILS(SANDBOXSET_TOO_BIG, await(&large));
  OK(sandboxset_ref_list_dir_async(ref, ".", 10, on_dir, &listed, &error));
  OK(await(&listed));
  size_t count = 0;
  OK(sandboxset_dir_count(listed.result, &count, &error));
  CHECK(count == 1);
  sandboxset_dir_free(listed.result);
  OK(sandboxset_ref_remove_async(ref, "note", on_done, &removed, &error));
  OK(await(&removed));
  OK(sandboxset_ref_remove_async(ref, "note", on_done, &gone, &error));
  CHECK(await(&gone) != SANDBOXSET_OK);
  sandboxset_error_free(error);
  error = NULL;
  OK(sandboxset_ref_write_file_async(ref, "note", NULL, 0, 077777, on_done, &bad, &error));
  INVALID("mode", await(&bad));
  OK(sandboxset_ref_log_async(ref, 10, on_bytes, &log, &error));
  OK(await(&log));
  sandboxset_bytes_free(log.result);
  put(ref);
  end(set);
}

static void calls_and_connections(void) {
  sandboxset *set = new_set(1);
  sandboxset_ref *ref = get(set);
  struct answer called = ANSWER, cancelled = ANSWER, connected = ANSWER, wrote = ANSWER, reads = ANSWER, waits = ANSWER;
  OK(sandboxset_ref_call_async(ref, (const uint8_t *)"shout", 5, HANG_MS, NULL, on_bytes, &called, &error));
  OK(await(&called));
  same(called.result, "shout", 5);
  sandboxset_cancel *cancel = NULL;
  OK(sandboxset_cancel_new(&cancel, &error));
  OK(sandboxset_cancel_now(cancel, &error));
  OK(sandboxset_ref_connect_async(ref, HANG_MS, cancel, on_connection, &cancelled, &error));
  FAILS(SANDBOXSET_CANCELLED, await(&cancelled));
  sandboxset_cancel_free(cancel);

  OK(sandboxset_ref_connect_async(ref, HANG_MS, NULL, on_connection, &connected, &error));
  OK(await(&connected));
  sandboxset_connection *connection = connected.result;
  OK(sandboxset_connection_write_async(connection, (const uint8_t *)"\2\0\0\0hi", 6, on_done, &wrote, &error));
  OK(await(&wrote));
  OK(sandboxset_connection_read_async(connection, 100, on_bytes, &reads, &error));
  OK(await(&reads));
  same(reads.result, "\2\0\0\0hi", 6);

  /* A call that is under way has the connection for itself from the moment on at which it was started. */
  struct answer second = ANSWER;
  uint8_t buffer[8];
  size_t length = 0;
  OK(sandboxset_connection_read_async(connection, 100, on_bytes, &waits, &error));
  FAILS(SANDBOXSET_INVALID_STATE, sandboxset_connection_read_async(connection, 9, on_bytes, &second, &error));
  FAILS(SANDBOXSET_INVALID_STATE, sandboxset_connection_write_async(connection, buffer, 1, on_done, &second, &error));
  FAILS(SANDBOXSET_INVALID_STATE, sandboxset_connection_read(connection, buffer, sizeof buffer, &length, &error));
  CHECK(!is_answered(&waits));
  sandboxset_connection_free(connection);
  CHECK(await(&waits) != SANDBOXSET_OK);
  sandboxset_error_free(error);
  error = NULL;
  put(ref);
  end(set);
  CHECK(!is_answered(&second));
}

static void events(void) {
  sandboxset *set = new_set(1);
  sandboxset_event_stream *stream = NULL;
  OK(sandboxset_events(set, 10, &stream, &error));
  struct answer none = ANSWER, first = ANSWER, freed = ANSWER;
  OK(sandboxset_event_stream_next_async(stream, 10, on_event, &none, &error));
  OK(await(&none));
  CHECK(none.result == NULL);
  OK(sandboxset_event_stream_next_async(stream, SANDBOXSET_FOREVER_MS, on_event, &first, &error));
  put(get(set));
  OK(await(&first));
  sandboxset_event_info info = {.struct_size = sizeof info};
  OK(sandboxset_event_get_info(first.result, &info, &error));
  CHECK(info.kind == SANDBOXSET_EVENT_CREATE && info.sequence == 1);
  sandboxset_event_free(first.result);
  sandboxset_event *event = NULL;
  do {
    sandboxset_event_free(event);
    OK(sandboxset_event_stream_next(stream, 0, &event, &error));
  } while (event);
  OK(sandboxset_event_stream_next_async(stream, SANDBOXSET_FOREVER_MS, on_event, &freed, &error));
  sandboxset_event_stream_free(stream);
  OK(await(&freed));
  CHECK(freed.result == NULL);
  end(set);
}

static void puts_and_stale_refs(void) {
  sandboxset *set = new_set(1);
  sandboxset_ref *ref = get(set);
  uint64_t id = id_of(ref);
  struct answer back = ANSWER, twice = ANSWER, ran = ANSWER, read = ANSWER, called = ANSWER;
  OK(sandboxset_ref_put_async(ref, on_done, &back, &error));
  /* The lease is over at once, so that nothing can come between, and the free is that of a ref that was put. */
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_put(ref, &error));
  OK(sandboxset_ref_put_async(ref, on_done, &twice, &error));
  FAILS(SANDBOXSET_STALE_REF, await(&twice));
  sandboxset_command command = command_of(echo, SANDBOXSET_STDIN_NULL);
  OK(sandboxset_ref_exec_async(ref, &command, on_output, &ran, &error));
  FAILS(SANDBOXSET_STALE_REF, await(&ran));
  OK(sandboxset_ref_read_file_async(ref, "note", 1, on_bytes, &read, &error));
  FAILS(SANDBOXSET_STALE_REF, await(&read));
  OK(sandboxset_ref_call_async(ref, NULL, 0, HANG_MS, NULL, on_bytes, &called, &error));
  FAILS(SANDBOXSET_STALE_REF, await(&called));
  sandboxset_ref_free(ref);
  OK(await(&back));
  ref = get(set);
  CHECK(id_of(ref) == id && stats_of(set).created == 1);

  /* A put of which nobody awaits the end, and that is freed at once, still is a put. */
  struct answer forgotten = ANSWER;
  OK(sandboxset_ref_put_async(ref, on_done, &forgotten, &error));
  sandboxset_ref_free(ref);
  ref = get(set);
  CHECK(id_of(ref) == id);
  OK(await(&forgotten));
  put(ref);
  end(set);
}

static void frees_while_calls_are_under_way(void) {
  sandboxset *set = new_set(2);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = SANDBOXSET_MOCK_HANG;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_EXEC, 1, &fault, &error));
  sandboxset_ref *ref = get(set);
  sandboxset_command command = command_of(echo, SANDBOXSET_STDIN_NULL);
  struct answer ran = ANSWER, waits = ANSWER, reads = ANSWER, put_meanwhile = ANSWER;
  OK(sandboxset_ref_exec_async(ref, &command, on_output, &ran, &error));
  uint64_t calls = 0;
  UNTIL((OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_EXEC, &calls, &error)), calls == 1));
  sandboxset_ref_free(ref);
  FAILS(SANDBOXSET_SANDBOX_DEAD, await(&ran));

  /* The free of a process kills it, also while it is waited for and read from. */
  ref = get(set);
  command = command_of(cat, SANDBOXSET_STDIN_STREAM);
  sandboxset_process *process = NULL;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  OK(sandboxset_process_wait_async(process, SANDBOXSET_FOREVER_MS, NULL, on_output, &waits, &error));
  OK(sandboxset_process_read_async(process, SANDBOXSET_STREAM_STDOUT, 9, SANDBOXSET_FOREVER_MS, on_bytes, &reads,
                                   &error));
  sandboxset_process_free(process);
  OK(await(&waits));
  ended(waits.result, SANDBOXSET_OUTCOME_SIGNALED);
  OK(await(&reads));
  same(reads.result, "", 0);

  /* A put with a call under way destroys the sandbox, and the call ends by that. */
  OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_EXEC, &calls, &error));
  uint64_t hanging = calls + 1;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_EXEC, hanging, &fault, &error));
  command = command_of(echo, SANDBOXSET_STDIN_NULL);
  OK(sandboxset_ref_exec_async(ref, &command, on_output, &put_meanwhile, &error));
  UNTIL((OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_EXEC, &calls, &error)), calls == hanging));
  put(ref);
  FAILS(SANDBOXSET_SANDBOX_DEAD, await(&put_meanwhile));

  /* A set that is freed while it warms up is closed when that is over. */
  struct answer warms = ANSWER;
  OK(sandboxset_prewarm_async(set, 2, HANG_MS, on_prewarm, &warms, &error));
  sandboxset_free(set);
  OK(await(&warms));
  uint64_t live = 1;
  UNTIL((OK(sandboxset_mock_live(backend, &live, &error)), live == 0));
  sandboxset_backend_free(backend);
  until_quiet(1);
}

int main(void) {
  the_life_of_a_set();
  commands_and_their_processes();
  files_and_logs();
  calls_and_connections();
  events();
  puts_and_stale_refs();
  frees_while_calls_are_under_way();
  return 0;
}
