/* One queue for threads and callbacks, and no thread for each of those who wait. */
#include <stdatomic.h>

#include "await.h"

enum { GETS = 1000, SANDBOXES = 4, MIXED = 40 };

static sandboxset *set;
static sandboxset_get_options patient;

/* Who was served, in the order of the callbacks. */
static atomic_int served;
static atomic_int order[GETS];
static atomic_int most_threads;

static void note(int number) {
  atomic_store(&order[atomic_fetch_add(&served, 1)], number);
}

static void on_turn(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *failure) {
  error = failure;
  CHECK(code == SANDBOXSET_OK);
  note((int)(intptr_t)user_data);
  int threads = threads_now();
  for (int most = atomic_load(&most_threads); most < threads;) {
    if (atomic_compare_exchange_weak(&most_threads, &most, threads)) break;
  }
  put(sandbox);
}

static sandboxset *set_of(uint64_t max_size) {
  sandboxset_backend *backend = NULL;
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = max_size;
  config.max_waiters = GETS;
  OK(sandboxset_backend_mock_new(&backend, &error));
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  sandboxset_backend_free(backend);
  return set;
}

static void a_thousand_gets_share_four(void) {
  set_of(SANDBOXES);
  sandboxset_ref *held[SANDBOXES];
  for (int i = 0; i < SANDBOXES; i++) {
    held[i] = get(set);
  }
  /* The workers that made these are gone, so what is counted from here on is there for those who wait. */
  until_quiet(1);
  for (intptr_t i = 0; i < GETS; i++) {
    OK(sandboxset_get_or_create_unpaused_async(set, &patient, on_turn, (void *)i, &error));
  }
  CHECK(stats_of(set).waiting == GETS && atomic_load(&served) == 0);
  /* This one, the one that polls them all, and the timer. */
  CHECK(threads_now() <= 3);
  for (int i = 0; i < SANDBOXES; i++) {
    put(held[i]);
  }
  UNTIL(atomic_load(&served) == GETS && stats_of(set).held == 0);
  /* A sandbox is with one holder at a time: when a get was served, all but SANDBOXES - 1 of those before it had put
   * theirs. Callbacks of gets that were served at once may come in any order. */
  for (int place = 0; place < GETS; place++) {
    CHECK(atomic_load(&order[place]) - place < SANDBOXES);
  }
  /* Those above, and workers that hand out, of which a few may be about to end; far from one for each get. */
  CHECK(atomic_load(&most_threads) < GETS / 10);
  sandboxset_stats stats = stats_of(set);
  CHECK(stats.created == SANDBOXES && stats.gets == GETS + SANDBOXES && stats.waiting == 0);
  close_and_free(set);
  until_quiet(1);
}

/* The same, one put at a time: each serves the one who is next. */
static void every_put_serves_the_next(void) {
  set_of(SANDBOXES);
  static struct answer answers[GETS];
  sandboxset_ref *held[SANDBOXES];
  for (int i = 0; i < SANDBOXES; i++) {
    held[i] = get(set);
  }
  for (int i = 0; i < GETS; i++) {
    answers[i] = (struct answer)ANSWER;
    OK(sandboxset_get_or_create_unpaused_async(set, &patient, on_ref, &answers[i], &error));
  }
  for (int i = 0; i < GETS; i++) {
    CHECK(!is_answered(&answers[i]));
    put(held[i % SANDBOXES]);
    OK(await(&answers[i]));
    held[i % SANDBOXES] = answers[i].result;
  }
  for (int i = 0; i < SANDBOXES; i++) {
    put(held[i]);
  }
  close_and_free(set);
  until_quiet(1);
}

static void *wait_here(void *user_data) {
  sandboxset_ref *ref = NULL;
  OK(sandboxset_get_or_create_unpaused(set, &patient, &ref, &error));
  note((int)(intptr_t)user_data);
  put(ref);
  return NULL;
}

static void threads_and_callbacks_stand_in_one_queue(void) {
  set_of(1);
  atomic_store(&served, 0);
  sandboxset_ref *held = get(set);
  pthread_t threads[MIXED];
  for (intptr_t i = 0; i < MIXED; i++) {
    if (i % 2 == 0) {
      CHECK(pthread_create(&threads[i], NULL, wait_here, (void *)i) == 0);
    } else {
      OK(sandboxset_get_or_create_unpaused_async(set, &patient, on_turn, (void *)i, &error));
    }
    UNTIL(stats_of(set).waiting == (uint64_t)i + 1);
  }
  put(held);
  UNTIL(atomic_load(&served) == MIXED);
  for (int i = 0; i < MIXED; i += 2) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  for (int place = 0; place < MIXED; place++) {
    CHECK(atomic_load(&order[place]) == place);
  }
  close_and_free(set);
  until_quiet(1);
}

/* All of those who wait end at once; that costs no thread each either. */
static atomic_int closed;

static void on_closed(void *user_data, sandboxset_code code, sandboxset_ref *sandbox, sandboxset_error *failure) {
  (void)user_data;
  CHECK(code == SANDBOXSET_CLOSED && sandbox == NULL);
  sandboxset_error_free(failure);
  CHECK(threads_now() <= 8);
  atomic_fetch_add(&closed, 1);
}

static void a_close_ends_a_thousand(void) {
  set_of(1);
  sandboxset_ref *held = get(set);
  until_quiet(1);
  for (int i = 0; i < GETS; i++) {
    OK(sandboxset_get_or_create_unpaused_async(set, &patient, on_closed, NULL, &error));
  }
  struct answer closing = ANSWER;
  OK(sandboxset_close_async(set, HANG_MS, on_done, &closing, &error));
  UNTIL(atomic_load(&closed) == GETS);
  put(held);
  OK(await(&closing));
  sandboxset_free(set);
  until_quiet(1);
  CHECK(atomic_load(&closed) == GETS);
}

int main(void) {
  sandboxset_get_options_init(&patient, sizeof patient);
  patient.timeout_ms = SANDBOXSET_FOREVER_MS;
  a_thousand_gets_share_four();
  every_put_serves_the_next();
  threads_and_callbacks_stand_in_one_queue();
  a_close_ends_a_thousand();
  return 0;
}
