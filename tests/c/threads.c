/* Many threads on few sandboxes: no error, no double hand-out, no lost place. */
#include <stdatomic.h>

#include "check.h"

enum { THREADS = 8, ROUNDS = 200, SANDBOXES = 3 };

static sandboxset *set;
static atomic_int holders[1 << 16];

static void *work(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    sandboxset_ref *ref = get(set);
    uint64_t id = id_of(ref);
    CHECK(id < sizeof holders / sizeof *holders);
    CHECK(atomic_fetch_add(&holders[id], 1) == 0);
    CHECK(atomic_fetch_sub(&holders[id], 1) == 1);
    put(ref);
  }
  return NULL;
}

int main(void) {
  set = mock_set(SANDBOXES, NULL);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  sandboxset_stats stats = stats_of(set);
  CHECK(stats.gets == THREADS * ROUNDS && stats.puts == THREADS * ROUNDS);
  CHECK(stats.created <= SANDBOXES && stats.held == 0 && stats.waiting == 0);
  close_and_free(set);
  return 0;
}
