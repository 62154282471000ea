/*
 * Eight jobs on two sandboxes from one thread: whatever would wait answers by callback instead.
 *
 *     make install PREFIX="$PWD/out"
 *     export PKG_CONFIG_PATH="$PWD/out/lib/pkgconfig" LD_LIBRARY_PATH="$PWD/out/lib"
 *     cc $(pkg-config --cflags --libs sandboxset) -pthread -o callbacks ffi/examples/callbacks.c && ./callbacks
 */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include <sandboxset.h>

enum { JOBS = 8, SANDBOXES = 2 };

/* One job, from its get to its put. Only one callback at a time has it, so it needs no lock. */
struct job {
  int number;
  sandboxset_ref *sandbox;
};

static sem_t finished;

/* Ends the program if something failed. Owns the error. */
static void check(sandboxset_code code, sandboxset_error *error, const char *what) {
  if (code == SANDBOXSET_OK) {
    return;
  }
  fprintf(stderr, "cannot %s: %s: %s %s\n", what, sandboxset_error_name(error), sandboxset_error_message(error),
          sandboxset_error_cause(error));
  sandboxset_error_free(error);
  exit(1);
}

static void on_put(void *user_data, sandboxset_code code, sandboxset_error *error) {
  struct job *job = user_data;
  check(code, error, "put the sandbox back");
  sandboxset_ref_free(job->sandbox);
  sem_post(&finished);
}

static void on_output(void *user_data, sandboxset_code code, sandboxset_output *output, sandboxset_error *error) {
  struct job *job = user_data;
  check(code, error, "run the program");
  const uint8_t *bytes = NULL;
  size_t length = 0;
  code = sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDOUT, &bytes, &length, &error);
  check(code, error, "read stdout");
  printf("%d squared is %.*s", job->number, (int)length, (const char *)bytes);
  sandboxset_output_free(output);
  code = sandboxset_ref_put_async(job->sandbox, on_put, job, &error);
  check(code, error, "begin to put");
}

static void on_get(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *error) {
  struct job *job = user_data;
  check(code, error, "get a sandbox");
  job->sandbox = sandbox;
  char line[64];
  snprintf(line, sizeof line, "echo $((%d * %d))", job->number, job->number);
  const char *args[] = {"sh", "-c", line, NULL};
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  command.timeout_ms = 10000;
  /* Everything that the command points to is copied before this returns. */
  code = sandboxset_ref_exec_async(sandbox, &command, on_output, job, &error);
  check(code, error, "begin to run");
}

int main(void) {
  sandboxset_error *error = NULL;
  sandboxset_backend *backend = NULL;
  sandboxset_code code = sandboxset_backend_linux_new(NULL, &backend, &error);
  check(code, error, "use Linux sandboxes");
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = SANDBOXES;
  sandboxset *set = NULL;
  code = sandboxset_new(backend, NULL, &config, &set, &error);
  check(code, error, "make a set");

  sem_init(&finished, 0, 0);
  struct job jobs[JOBS];
  for (int i = 0; i < JOBS; i++) {
    jobs[i] = (struct job){.number = i};
    code = sandboxset_get_or_create_unpaused_async(set, NULL, on_get, &jobs[i], &error);
    check(code, error, "begin to get");
  }
  for (int i = 0; i < JOBS; i++) {
    while (sem_wait(&finished) != 0) {
      /* A signal came. */
    }
  }

  code = sandboxset_close(set, 10000, &error);
  check(code, error, "close the set");
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  return 0;
}
