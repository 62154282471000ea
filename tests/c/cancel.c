/* Cancelling waits, from this thread and from another. */
#include "check.h"

struct waiter {
  sandboxset *set;
  sandboxset_cancel *cancel;
};

static void *wait_here(void *argument) {
  struct waiter *waiter = argument;
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.cancel = waiter->cancel;
  options.timeout_ms = SANDBOXSET_FOREVER_MS;
  sandboxset_ref *ref = NULL;
  FAILS(SANDBOXSET_CANCELLED, sandboxset_get_or_create_unpaused(waiter->set, &options, &ref, &error));
  CHECK(ref == NULL);
  return NULL;
}

int main(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *held = get(set);
  sandboxset_cancel *cancel = NULL;
  OK(sandboxset_cancel_new(&cancel, &error));

  struct waiter waiter = {set, cancel};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    CHECK(pthread_create(&threads[i], NULL, wait_here, &waiter) == 0);
  }
  /* Whether they wait already or come later, they are cancelled. */
  OK(sandboxset_cancel_now(cancel, &error));
  OK(sandboxset_cancel_now(cancel, &error));
  for (int i = 0; i < 4; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  wait_here(&waiter);
  sandboxset_cancel_free(cancel);

  put(held);
  put(get(set));
  CHECK(stats_of(set).created == 1 && stats_of(set).waiting == 0);
  close_and_free(set);
  return 0;
}
