/* Races: whatever comes first, every callback comes once, and no sandbox is lost. */
#include <stdatomic.h>

#include "await.h"

enum { ROUNDS = 300, CANCELLERS = 3, THREADS = 4, GETS_EACH = 150 };

static sandboxset *set;

/* A place where several threads begin at once, round after round. */
static pthread_barrier_t starts, ends;
static sandboxset_cancel *cancel;

static void *cancel_here(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_barrier_wait(&starts);
    OK(sandboxset_cancel_now(cancel, &error));
    pthread_barrier_wait(&ends);
  }
  return NULL;
}

/* Several cancels race the put that serves the get. */
static void cancels_race_the_hand_over(void) {
  set = mock_set(1, NULL);
  pthread_t threads[CANCELLERS];
  CHECK(pthread_barrier_init(&starts, NULL, CANCELLERS + 1) == 0);
  CHECK(pthread_barrier_init(&ends, NULL, CANCELLERS + 1) == 0);
  for (int i = 0; i < CANCELLERS; i++) {
    CHECK(pthread_create(&threads[i], NULL, cancel_here, NULL) == 0);
  }
  static struct answer answers[ROUNDS];
  int served = 0, cancelled = 0;
  for (int i = 0; i < ROUNDS; i++) {
    answers[i] = (struct answer)ANSWER;
    sandboxset_ref *held = get(set);
    OK(sandboxset_cancel_new(&cancel, &error));
    sandboxset_get_options options;
    sandboxset_get_options_init(&options, sizeof options);
    options.timeout_ms = SANDBOXSET_FOREVER_MS;
    options.cancel = cancel;
    OK(sandboxset_get_or_create_unpaused_async(set, &options, on_ref, &answers[i], &error));
    pthread_barrier_wait(&starts);
    put(held);
    pthread_barrier_wait(&ends);
    sandboxset_code code = await(&answers[i]);
    if (code == SANDBOXSET_OK) {
      served++;
      put(answers[i].result);
    } else {
      cancelled++;
      FAILS(SANDBOXSET_CANCELLED, code);
    }
    sandboxset_cancel_free(cancel);
  }
  for (int i = 0; i < CANCELLERS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  printf("%d served, %d cancelled\n", served, cancelled);
  UNTIL(stats_of(set).idle == 1);
  CHECK(stats_of(set).created == 1 && stats_of(set).held == 0 && stats_of(set).waiting == 0);
  close_and_free(set);
  until_quiet(1);
}

/* Timeouts race the hand-over, and callbacks put what they get, from many threads. */
static atomic_int served, late, other;

static void on_late(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *failure) {
  (void)user_data;
  if (code == SANDBOXSET_OK) {
    put(sandbox);
    atomic_fetch_add(&served, 1);
  } else {
    atomic_fetch_add(code == SANDBOXSET_TIMEOUT ? &late : &other, 1);
    sandboxset_error_free(failure);
  }
}

static void *get_here(void *unused) {
  (void)unused;
  for (int i = 0; i < GETS_EACH; i++) {
    sandboxset_get_options options;
    sandboxset_get_options_init(&options, sizeof options);
    options.timeout_ms = (uint64_t)(i % 3);
    OK(sandboxset_get_or_create_unpaused_async(set, &options, on_late, NULL, &error));
    if (i % 5 == 0) {
      sandboxset_ref *ref = get(set);
      struct answer back = ANSWER;
      OK(sandboxset_ref_put_async(ref, on_done, &back, &error));
      sandboxset_ref_free(ref);
      OK(await(&back));
    }
  }
  return NULL;
}

static void timeouts_race_the_hand_over(void) {
  set = mock_set(2, NULL);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i], NULL, get_here, NULL) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  UNTIL(atomic_load(&served) + atomic_load(&late) + atomic_load(&other) == THREADS * GETS_EACH);
  printf("%d served, %d late\n", atomic_load(&served), atomic_load(&late));
  CHECK(atomic_load(&other) == 0 && atomic_load(&served) > 0);
  UNTIL(stats_of(set).held == 0 && stats_of(set).returning == 0 && stats_of(set).creating == 0);
  CHECK(stats_of(set).waiting == 0 && stats_of(set).created <= 2);
  close_and_free(set);
  until_quiet(1);
  CHECK(atomic_load(&served) + atomic_load(&late) == THREADS * GETS_EACH);
}

/* The close, or the free, of a set races the gets of other threads. */
static atomic_int ended;

static void on_end(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *failure) {
  (void)user_data;
  CHECK(code == SANDBOXSET_OK || code == SANDBOXSET_CLOSED);
  sandboxset_ref_free(sandbox);
  sandboxset_error_free(failure);
  atomic_fetch_add(&ended, 1);
}

static void *start_here(void *unused) {
  (void)unused;
  pthread_barrier_wait(&starts);
  for (int i = 0; i < 20; i++) {
    OK(sandboxset_get_or_create_unpaused_async(set, NULL, on_end, NULL, &error));
  }
  pthread_barrier_wait(&ends);
  return NULL;
}

static void a_close_races_gets(void) {
  CHECK(pthread_barrier_init(&starts, NULL, THREADS + 1) == 0);
  CHECK(pthread_barrier_init(&ends, NULL, THREADS + 1) == 0);
  for (int round = 0; round < 20; round++) {
    set = mock_set(2, NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
      CHECK(pthread_create(&threads[i], NULL, start_here, NULL) == 0);
    }
    struct answer closing = ANSWER;
    pthread_barrier_wait(&starts);
    OK(sandboxset_close_async(set, HANG_MS, on_done, &closing, &error));
    pthread_barrier_wait(&ends);
    sandboxset_free(set);
    OK(await(&closing));
    UNTIL(atomic_load(&ended) == (round + 1) * THREADS * 20);
    for (int i = 0; i < THREADS; i++) {
      CHECK(pthread_join(threads[i], NULL) == 0);
    }
  }
  until_quiet(1);
  CHECK(atomic_load(&ended) == 20 * THREADS * 20);
}

int main(void) {
  cancels_race_the_hand_over();
  timeouts_race_the_hand_over();
  a_close_races_gets();
  return 0;
}
