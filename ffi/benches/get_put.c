/*
 * Measures get + put + free on the mock through the C ABI and prints one line of JSON, in nanoseconds per round.
 *
 * One round costs about as much as reading the clock twice, so the clock is read once per batch of rounds; the
 * percentiles are those of batch means. A rare slow round therefore shows in max and p99 divided by the batch.
 *
 *     get_put [batches]
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sandboxset.h>

enum { BATCH = 100, WARM_UP = 200, DEFAULT_BATCHES = 20000 };

static void check(sandboxset_code code) {
  if (code != SANDBOXSET_OK) {
    fprintf(stderr, "get_put: %s\n", sandboxset_code_name(code));
    exit(1);
  }
}

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double batch(sandboxset *set) {
  double start = now_ns();
  for (int i = 0; i < BATCH; i++) {
    sandboxset_ref *ref = NULL;
    check(sandboxset_get_or_create_unpaused(set, NULL, &ref, NULL));
    check(sandboxset_ref_put(ref, NULL));
    sandboxset_ref_free(ref);
  }
  return (now_ns() - start) / BATCH;
}

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

int main(int argc, char **argv) {
  long batches = argc > 1 ? strtol(argv[1], NULL, 10) : DEFAULT_BATCHES;
  double *times = batches > 0 ? malloc((size_t)batches * sizeof *times) : NULL;
  if (!times) {
    fprintf(stderr, "usage: get_put [batches]\n");
    return 2;
  }
  sandboxset_backend *backend = NULL;
  sandboxset *set = NULL;
  check(sandboxset_backend_mock_new(&backend, NULL));
  check(sandboxset_new(backend, NULL, NULL, &set, NULL));
  for (int i = 0; i < WARM_UP; i++) {
    batch(set);
  }
  for (long i = 0; i < batches; i++) {
    times[i] = batch(set);
  }
  qsort(times, (size_t)batches, sizeof *times, ascending);
  printf("{\"name\":\"c.get_put\",\"unit\":\"ns\",\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f,\"n\":%ld}\n",
         times[batches / 2], times[batches * 9 / 10], times[batches * 99 / 100], times[batches - 1],
         batches * BATCH);
  free(times);
  check(sandboxset_close(set, 10000, NULL));
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  return 0;
}
