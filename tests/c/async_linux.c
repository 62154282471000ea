/* Callbacks from real sandboxes. */
#include "await.h"
#include "real.h"

static void ended(void *output, uint32_t wanted_outcome, int32_t wanted_status) {
  uint32_t outcome = 99;
  int32_t status = -1;
  OK(sandboxset_output_outcome(output, &outcome, &status, &error));
  CHECK(outcome == wanted_outcome && status == wanted_status);
  sandboxset_output_free(output);
}

/* A chain of callbacks, each of which starts the next call: get, exec, put. */
enum { LIVES = 20 };

struct life {
  struct answer over;
  sandboxset_ref *ref;
};

static void on_over(void *user_data, sandboxset_code code, sandboxset_error *failure) {
  struct life *life = user_data;
  sandboxset_ref_free(life->ref);
  on_done(&life->over, code, failure);
}

static void on_ran(void *user_data, sandboxset_code code, sandboxset_output *output, sandboxset_error *failure) {
  struct life *life = user_data;
  error = failure;
  CHECK(code == SANDBOXSET_OK);
  ended(output, SANDBOXSET_OUTCOME_EXITED, 3);
  OK(sandboxset_ref_put_async(life->ref, on_over, life, &error));
}

static void on_held(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *failure) {
  struct life *life = user_data;
  error = failure;
  CHECK(code == SANDBOXSET_OK);
  life->ref = sandbox;
  const char *args[] = {"sh", "-c", "exit 3", NULL};
  sandboxset_command command = command_of(args);
  OK(sandboxset_ref_exec_async(sandbox, &command, on_ran, life, &error));
}

static void lives_of_callbacks_share_two_sandboxes(void) {
  sandboxset *set = new_set(2, NULL);
  static struct life lives[LIVES];
  for (int i = 0; i < LIVES; i++) {
    lives[i].over = (struct answer)ANSWER;
    OK(sandboxset_get_or_create_unpaused_async(set, NULL, on_held, &lives[i], &error));
  }
  for (int i = 0; i < LIVES; i++) {
    OK(await(&lives[i].over));
  }
  sandboxset_stats stats = stats_of(set);
  CHECK(stats.gets == LIVES && stats.puts == LIVES && stats.created <= 2 && stats.held == 0);
  struct answer closed = ANSWER;
  OK(sandboxset_close_async(set, HANG_MS, on_done, &closed, &error));
  OK(await(&closed));
  sandboxset_free(set);
}

static void a_cancelled_exec_and_streams(void) {
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *sleeps[] = {"sleep", "1000", NULL};
  sandboxset_command command = command_of(sleeps);
  struct answer cancelled = ANSWER, wrote = ANSWER, read = ANSWER, ran = ANSWER, killed = ANSWER;
  OK(sandboxset_cancel_new((sandboxset_cancel **)&command.cancel, &error));
  sandboxset_cancel *cancel = (sandboxset_cancel *)command.cancel;
  OK(sandboxset_ref_exec_async(ref, &command, on_output, &cancelled, &error));
  OK(sandboxset_cancel_now(cancel, &error));
  sandboxset_cancel_free(cancel);
  FAILS(SANDBOXSET_CANCELLED, await(&cancelled));
  sandboxset_ref_free(ref);

  ref = get(set);
  OK(sandboxset_ref_write_file_async(ref, "a", (const uint8_t *)"text", 4, 0600, on_done, &wrote, &error));
  OK(await(&wrote));
  OK(sandboxset_ref_read_file_async(ref, "a", 10, on_bytes, &read, &error));
  OK(await(&read));
  sandboxset_bytes_free(read.result);

  const char *cat[] = {"cat", NULL};
  command = command_of(cat);
  command.stdin_mode = SANDBOXSET_STDIN_STREAM;
  sandboxset_process *process = NULL;
  struct answer echoed = ANSWER, fed = ANSWER;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  OK(sandboxset_process_read_async(process, SANDBOXSET_STREAM_STDOUT, 100, HANG_MS, on_bytes, &echoed, &error));
  OK(sandboxset_process_write_async(process, (const uint8_t *)"echo", 4, HANG_MS, on_done, &fed, &error));
  OK(await(&fed));
  OK(await(&echoed));
  const uint8_t *bytes = NULL;
  size_t length = 0;
  OK(sandboxset_bytes_data(echoed.result, &bytes, &length, &error));
  CHECK(length == 4 && memcmp(bytes, "echo", 4) == 0);
  sandboxset_bytes_free(echoed.result);
  OK(sandboxset_process_wait_async(process, HANG_MS, NULL, on_output, &ran, &error));
  OK(sandboxset_process_close_stdin(process, &error));
  OK(await(&ran));
  ended(ran.result, SANDBOXSET_OUTCOME_EXITED, 0);
  sandboxset_process_free(process);

  /* The free of a process kills it at once, however long somebody would still wait for it. */
  command = command_of(sleeps);
  command.timeout_ms = SANDBOXSET_FOREVER_MS;
  OK(sandboxset_ref_spawn(ref, &command, &process, &error));
  OK(sandboxset_process_wait_async(process, SANDBOXSET_FOREVER_MS, NULL, on_output, &killed, &error));
  sandboxset_process_free(process);
  OK(await(&killed));
  ended(killed.result, SANDBOXSET_OUTCOME_SIGNALED, 9);
  put(ref);
  close_and_free(set);
}

static const char server[] =
    "import os, socket\n"
    "listener = socket.socket(socket.AF_UNIX)\n"
    "listener.bind(os.environ['SANDBOXSET_SOCKET'])\n"
    "listener.listen()\n"
    "os.write(3, b'READY\\n')\n"
    "kept = []\n"
    "while True:\n"
    "    connection, _ = listener.accept()\n"
    "    kept.append(connection)\n"
    "    connection.sendall(b'hi')\n";

/* A read that would wait for ever ends when its connection is freed. */
static void connections(void) {
  if (!has("python3", "connections")) return;
  const char *args[] = {"python3", "-c", server, NULL};
  sandboxset_runtime runtime;
  sandboxset_runtime_init(&runtime, sizeof runtime);
  runtime.args = args;
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.runtime = &runtime;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, &spec, NULL, &set, &error));
  sandboxset_ref *ref = get(set);
  struct answer connected = ANSWER, read = ANSWER, waits = ANSWER;
  OK(sandboxset_ref_connect_async(ref, HANG_MS, NULL, on_connection, &connected, &error));
  OK(await(&connected));
  OK(sandboxset_connection_read_async(connected.result, 2, on_bytes, &read, &error));
  OK(await(&read));
  sandboxset_bytes_free(read.result);
  OK(sandboxset_connection_read_async(connected.result, 2, on_bytes, &waits, &error));
  sandboxset_connection_free(connected.result);
  sandboxset_code code = await(&waits);
  if (code == SANDBOXSET_OK) {
    /* The end of the stream, which is what a closed connection reads. */
    const uint8_t *bytes = NULL;
    size_t length = 1;
    OK(sandboxset_bytes_data(waits.result, &bytes, &length, &error));
    CHECK(length == 0);
    sandboxset_bytes_free(waits.result);
  }
  sandboxset_error_free(error);
  error = NULL;
  sandboxset_ref_free(ref);
  close_and_free(set);
}

int main(void) {
  require_linux();
  lives_of_callbacks_share_two_sandboxes();
  a_cancelled_exec_and_streams();
  connections();
  sandboxset_backend_free(backend);
  return 0;
}
