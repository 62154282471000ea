/* Real sandboxes. */
#include "real.h"

enum { MINUTE_MS = 60000 };

static sandboxset_output *exec(sandboxset_ref *ref, sandboxset_command command) {
  sandboxset_output *output = NULL;
  OK(sandboxset_ref_exec(ref, &command, &output, &error));
  return output;
}

/* Checks an output against what it should be, and frees it. */
static void ended(sandboxset_output *output, uint32_t wanted_outcome, int32_t wanted_status, const char *wanted) {
  uint32_t outcome = 99;
  int32_t status = -1;
  OK(sandboxset_output_outcome(output, &outcome, &status, &error));
  const uint8_t *bytes = NULL;
  size_t length = 0;
  OK(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDERR, &bytes, &length, &error));
  if (outcome != wanted_outcome || status != wanted_status) {
    fprintf(stderr, "outcome %u status %d, stderr: %.*s\n", outcome, status, (int)length, (const char *)bytes);
  }
  CHECK(outcome == wanted_outcome && status == wanted_status);
  OK(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDOUT, &bytes, &length, &error));
  CHECK(!wanted || (length == strlen(wanted) && memcmp(bytes, wanted, length) == 0));
  sandboxset_output_free(output);
}

static void runs_commands(void) {
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *echo[] = {"echo", "hello", NULL};
  ended(exec(ref, command_of(echo)), SANDBOXSET_OUTCOME_EXITED, 0, "hello\n");
  const char *fails[] = {"false", NULL};
  ended(exec(ref, command_of(fails)), SANDBOXSET_OUTCOME_EXITED, 1, "");

  const char *cat[] = {"cat", NULL};
  sandboxset_command command = command_of(cat);
  command.stdin_mode = SANDBOXSET_STDIN_BYTES;
  command.stdin_bytes = (const uint8_t *)"from the host";
  command.stdin_length = strlen("from the host");
  ended(exec(ref, command), SANDBOXSET_OUTCOME_EXITED, 0, "from the host");

  /* The environment is what we give, and nothing of the host's. */
  CHECK(setenv("SANDBOXSET_TEST_SECRET", "of the host", 1) == 0);
  const char *printenv[] = {"printenv", "SANDBOXSET_TEST_SECRET", NULL};
  ended(exec(ref, command_of(printenv)), SANDBOXSET_OUTCOME_EXITED, 1, "");
  const char *env[] = {"SANDBOXSET_TEST_SECRET=given", NULL};
  command = command_of(printenv);
  command.env = env;
  ended(exec(ref, command), SANDBOXSET_OUTCOME_EXITED, 0, "given\n");
  put(ref);
  close_and_free(set);
}

static void ends_what_runs_too_long(void) {
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *sleeps[] = {"sleep", "1000", NULL};
  sandboxset_command command = command_of(sleeps);
  command.timeout_ms = 100;
  command.grace_ms = 0;
  ended(exec(ref, command), SANDBOXSET_OUTCOME_TIMED_OUT, 0, "");
  sandboxset_ref_free(ref);

  ref = get(set);
  sandboxset_cancel *cancel = NULL;
  OK(sandboxset_cancel_new(&cancel, &error));
  OK(sandboxset_cancel_now(cancel, &error));
  command = command_of(sleeps);
  command.cancel = cancel;
  sandboxset_output *output = NULL;
  FAILS(SANDBOXSET_CANCELLED, sandboxset_ref_exec(ref, &command, &output, &error));
  sandboxset_cancel_free(cancel);
  sandboxset_ref_free(ref);
  close_and_free(set);
}

static void streams(void) {
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *cat[] = {"cat", NULL};
  sandboxset_command command = command_of(cat);
  command.stdin_mode = SANDBOXSET_STDIN_STREAM;
  sandboxset_process *process = NULL;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  OK(sandboxset_process_write(process, (const uint8_t *)"ping", 4, MINUTE_MS, &error));
  uint8_t buffer[16];
  size_t length = 0, total = 0;
  while (total < 4) {
    OK(sandboxset_process_read(process, SANDBOXSET_STREAM_STDOUT, buffer + total, sizeof buffer - total, MINUTE_MS,
                               &length, &error));
    CHECK(length > 0);
    total += length;
  }
  CHECK(memcmp(buffer, "ping", 4) == 0);
  sandboxset_output *output = NULL;
  FAILS(SANDBOXSET_TIMEOUT, sandboxset_process_wait(process, 10, NULL, &output, &error));
  OK(sandboxset_process_close_stdin(process, &error));
  OK(sandboxset_process_wait(process, MINUTE_MS, NULL, &output, &error));
  ended(output, SANDBOXSET_OUTCOME_EXITED, 0, "");
  sandboxset_process_free(process);

  const char *sleeps[] = {"sleep", "1000", NULL};
  command = command_of(sleeps);
  command.timeout_ms = MINUTE_MS;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  INVALID("signal", sandboxset_process_signal(process, 0, &error));
  OK(sandboxset_process_kill(process, &error));
  OK(sandboxset_process_kill(process, &error));
  OK(sandboxset_process_wait(process, MINUTE_MS, NULL, &output, &error));
  ended(output, SANDBOXSET_OUTCOME_SIGNALED, 9, "");
  sandboxset_process_free(process);
  put(ref);
  close_and_free(set);
}

static void files(void) {
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_ref_write_file(ref, "note.txt", (const uint8_t *)"written outside\n", 16, 0644, &error));
  const char *cat[] = {"cat", "/scratch/note.txt", NULL};
  ended(exec(ref, command_of(cat)), SANDBOXSET_OUTCOME_EXITED, 0, "written outside\n");
  const char *copy[] = {"cp", "note.txt", "copy.txt", NULL};
  ended(exec(ref, command_of(copy)), SANDBOXSET_OUTCOME_EXITED, 0, "");
  sandboxset_bytes *content = NULL;
  OK(sandboxset_ref_read_file(ref, "copy.txt", 1000, &content, &error));
  const uint8_t *bytes = NULL;
  size_t length = 0;
  OK(sandboxset_bytes_data(content, &bytes, &length, &error));
  CHECK(length == 16 && memcmp(bytes, "written outside\n", 16) == 0);
  sandboxset_bytes_free(content);
  FAILS(SANDBOXSET_TOO_BIG, sandboxset_ref_read_file(ref, "copy.txt", 3, &content, &error));

  sandboxset_dir *dir = NULL;
  OK(sandboxset_ref_list_dir(ref, "/scratch", 100, &dir, &error));
  size_t count = 0;
  OK(sandboxset_dir_count(dir, &count, &error));
  int found = 0;
  for (size_t i = 0; i < count; i++) {
    sandboxset_dir_entry entry;
    entry.struct_size = sizeof entry;
    OK(sandboxset_dir_get_entry(dir, i, &entry, &error));
    found += entry.kind == SANDBOXSET_FILE_REGULAR &&
             (strcmp(entry.name, "note.txt") == 0 || strcmp(entry.name, "copy.txt") == 0);
  }
  CHECK(found == 2);
  sandboxset_dir_free(dir);
  OK(sandboxset_ref_remove(ref, "copy.txt", &error));
  sandboxset_code code = sandboxset_ref_read_file(ref, "copy.txt", 1000, &content, NULL);
  CHECK(code != SANDBOXSET_OK);

  /* A link that the sandbox plants leads the host nowhere. */
  const char *plant[] = {"ln", "-s", "/etc/shadow", "trap", NULL};
  ended(exec(ref, command_of(plant)), SANDBOXSET_OUTCOME_EXITED, 0, "");
  code = sandboxset_ref_read_file(ref, "trap", 1000, &content, NULL);
  CHECK(code != SANDBOXSET_OK);

  sandboxset_usage usage;
  usage.struct_size = sizeof usage;
  OK(sandboxset_ref_get_usage(ref, &usage, &error));
  sandboxset_ref_free(ref);
  close_and_free(set);
}

static void talks_to_a_runtime(void) {
  /* Answers every call with what it was asked, in capitals. */
  static const char server[] =
      "import os, socket, struct\n"
      "listener = socket.socket(socket.AF_UNIX)\n"
      "listener.bind(os.environ['SANDBOXSET_SOCKET'])\n"
      "listener.listen()\n"
      "os.write(3, b'READY\\n')\n"
      "while True:\n"
      "    stream = listener.accept()[0].makefile('rwb')\n"
      "    while header := stream.read(4):\n"
      "        request = stream.read(struct.unpack('<I', header)[0])\n"
      "        stream.write(header + request.upper())\n"
      "        stream.flush()\n";
  if (!has("python3", "talks_to_a_runtime")) return;
  const char *args[] = {"python3", "-c", server, NULL};
  sandboxset_runtime runtime;
  sandboxset_runtime_init(&runtime, sizeof runtime);
  runtime.args = args;
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.runtime = &runtime;
  sandboxset *set = new_set(1, &spec);
  sandboxset_ref *ref = get(set);
  sandboxset_bytes *answer = NULL;
  OK(sandboxset_ref_call(ref, (const uint8_t *)"shout", 5, MINUTE_MS, NULL, &answer, &error));
  const uint8_t *bytes = NULL;
  size_t length = 0;
  OK(sandboxset_bytes_data(answer, &bytes, &length, &error));
  CHECK(length == 5 && memcmp(bytes, "SHOUT", 5) == 0);
  sandboxset_bytes_free(answer);
  put(ref);
  close_and_free(set);

  /* By hand, over a connection of our own. */
  set = new_set(1, &spec);
  ref = get(set);
  sandboxset_connection *connection = NULL;
  OK(sandboxset_ref_connect(ref, MINUTE_MS, NULL, &connection, &error));
  INVALID("timeout_ms", sandboxset_connection_set_timeout(connection, 0, &error));
  OK(sandboxset_connection_set_timeout(connection, MINUTE_MS, &error));
  OK(sandboxset_connection_write(connection, (const uint8_t *)"\x02\0\0\0hi", 6, &error));
  uint8_t frame[6];
  for (size_t total = 0; total < sizeof frame; total += length) {
    OK(sandboxset_connection_read(connection, frame + total, sizeof frame - total, &length, &error));
    CHECK(length > 0);
  }
  CHECK(memcmp(frame, "\x02\0\0\0HI", 6) == 0);
  OK(sandboxset_connection_set_timeout(connection, 10, &error));
  FAILS(SANDBOXSET_TIMEOUT, sandboxset_connection_read(connection, frame, sizeof frame, &length, &error));
  sandboxset_connection_free(connection);
  sandboxset_bytes *log = NULL;
  OK(sandboxset_ref_log(ref, 1000, &log, &error));
  sandboxset_bytes_free(log);
  sandboxset_ref_free(ref);
  close_and_free(set);
}

static void ends_once_and_outlives_its_set(void) {
  sandboxset *set = new_set(2, NULL);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_destroy(ref, "late", &error));
  sandboxset_ref_free(ref);
  ref = get(set);
  uint64_t uses = 0;
  OK(sandboxset_ref_uses(ref, &uses, &error));
  CHECK(uses == 2);

  sandboxset_free(set);
  CHECK(id_of(ref) != 0);
  CHECK(sandboxset_ref_put(ref, NULL) != SANDBOXSET_INTERNAL);
  sandboxset_ref_free(ref);
}

static void bad_input(void) {
  sandboxset *set = NULL;
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.root = "/does/not/exist";
  INVALID("root", sandboxset_new(backend, &spec, NULL, &set, &error));
  CHECK(set == NULL);
  /* A directory that is there, but is no image layout. */
  spec.root = "oci:/usr:tag";
  INVALID("root", sandboxset_new(backend, &spec, NULL, &set, &error));
  CHECK(set == NULL);

  set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *none[] = {NULL};
  sandboxset_command command = command_of(none);
  sandboxset_output *output = NULL;
  INVALID("args", sandboxset_ref_exec(ref, &command, &output, &error));
  CHECK(output == NULL);
  INVALID("backend", sandboxset_mock_live(backend, &(uint64_t){0}, &error));
  put(ref);
  close_and_free(set);
}

static void reports_isolation(void) {
  sandboxset_report *report = NULL;
  OK(sandboxset_backend_isolation_report(backend, &report, &error));
  size_t count = 0;
  OK(sandboxset_report_count(report, &count, &error));
  CHECK(count > 0);
  for (size_t i = 0; i < count; i++) {
    sandboxset_layer layer;
    layer.struct_size = sizeof layer;
    OK(sandboxset_report_get_layer(report, i, &layer, &error));
    CHECK(layer.name[0] && layer.status <= SANDBOXSET_LAYER_MISSING);
  }
  sandboxset_report_free(report);
}

int main(void) {
  require_linux();
  runs_commands();
  ends_what_runs_too_long();
  streams();
  files();
  talks_to_a_runtime();
  ends_once_and_outlives_its_set();
  bad_input();
  reports_isolation();
  sandboxset_backend_free(backend);
  return 0;
}
