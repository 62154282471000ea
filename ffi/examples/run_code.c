/*
 * Runs a small Python program in a Linux sandbox, twice: the second time the sandbox is warm.
 *
 *     make install PREFIX="$PWD/out"
 *     export PKG_CONFIG_PATH="$PWD/out/lib/pkgconfig" LD_LIBRARY_PATH="$PWD/out/lib"
 *     cc $(pkg-config --cflags --libs sandboxset) -o run_code ffi/examples/run_code.c && ./run_code
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sandboxset.h>

/* What untrusted code might look like: it computes, and it leaves something in its scratch dir. */
static const char program[] =
    "import pathlib\n"
    "limit = 100_000\n"
    "sieve = bytearray([1]) * limit\n"
    "for n in range(2, int(limit ** 0.5) + 1):\n"
    "    if sieve[n]:\n"
    "        sieve[n * n::n] = bytes(len(range(n * n, limit, n)))\n"
    "runs = pathlib.Path('runs')\n"
    "count = int(runs.read_text()) + 1 if runs.exists() else 1\n"
    "runs.write_text(str(count))\n"
    "print(f'run {count}: {sum(sieve) - 2} primes below {limit}')\n";

/* Ends the program if a call failed. Takes the error's address, because C may evaluate arguments in any order. */
static void check(sandboxset_code code, sandboxset_error **out_error, const char *what) {
  if (code == SANDBOXSET_OK) {
    return;
  }
  sandboxset_error *error = *out_error;
  fprintf(stderr, "cannot %s: %s: %s %s\n", what, sandboxset_error_name(error), sandboxset_error_message(error),
          sandboxset_error_cause(error));
  sandboxset_error_free(error);
  exit(1);
}

static int run(sandboxset *set) {
  sandboxset_error *error = NULL;
  sandboxset_ref *sandbox = NULL;
  check(sandboxset_get_or_create_unpaused(set, NULL, &sandbox, &error), &error, "get a sandbox");
  check(sandboxset_ref_write_file(sandbox, "primes.py", (const uint8_t *)program, strlen(program), 0644, &error),
        &error, "write the program");

  const char *args[] = {"python3", "primes.py", NULL};
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  command.timeout_ms = 10000;
  sandboxset_output *output = NULL;
  check(sandboxset_ref_exec(sandbox, &command, &output, &error), &error, "run the program");

  uint32_t outcome;
  int32_t status;
  const uint8_t *bytes;
  size_t length;
  uint64_t uses;
  check(sandboxset_output_outcome(output, &outcome, &status, &error), &error, "read the outcome");
  check(sandboxset_ref_uses(sandbox, &uses, &error), &error, "count the uses");
  check(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDOUT, &bytes, &length, &error), &error, "read stdout");
  printf("%.*s", (int)length, (const char *)bytes);
  check(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDERR, &bytes, &length, &error), &error, "read stderr");
  fprintf(stderr, "%.*s", (int)length, (const char *)bytes);
  printf("outcome %" PRIu32 ", status %" PRId32 ", use %" PRIu64 " of this sandbox\n", outcome, status, uses);
  sandboxset_output_free(output);

  /* Fit for the next holder. Without this line the free would destroy the sandbox. */
  check(sandboxset_ref_put(sandbox, &error), &error, "put the sandbox back");
  sandboxset_ref_free(sandbox);
  return outcome == SANDBOXSET_OUTCOME_EXITED && status == 0 ? 0 : 1;
}

int main(void) {
  sandboxset_error *error = NULL;
  sandboxset_backend *backend = NULL;
  check(sandboxset_backend_linux_new(NULL, &backend, &error), &error, "use Linux sandboxes");

  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = 4;
  sandboxset *set = NULL;
  check(sandboxset_new(backend, NULL, &config, &set, &error), &error, "make a set");

  int failed = run(set) + run(set);

  check(sandboxset_close(set, 10000, &error), &error, "close the set");
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  return failed;
}
