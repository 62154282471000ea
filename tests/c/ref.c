/* The ref: its end, once; what it knows; what it outlives. */
#include "check.h"

static void ends_once(void) {
  sandboxset *set = mock_set(2, NULL);
  sandboxset_ref *ref = get(set);
  uint64_t id = id_of(ref);
  OK(sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_destroy(ref, "late", &error));

  /* The next holder is not touched by the stale ref. */
  sandboxset_ref *next = get(set);
  CHECK(id_of(next) == id);
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_put(ref, &error));
  uint32_t state = 99;
  OK(sandboxset_ref_state(ref, &state, &error));
  CHECK(state == SANDBOXSET_STATE_STALE);
  OK(sandboxset_ref_state(next, &state, &error));
  CHECK(state == SANDBOXSET_STATE_HELD && stats_of(set).held == 1);

  OK(sandboxset_ref_destroy(next, "done", &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_put(next, &error));
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_destroy(next, "again", &error));

  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  const char *args[] = {"true", NULL};
  command.args = args;
  sandboxset_output *output = NULL;
  FAILS(SANDBOXSET_STALE_REF, sandboxset_ref_exec(next, &command, &output, &error));
  CHECK(output == NULL);
  sandboxset_ref_free(ref);
  sandboxset_ref_free(next);
  close_and_free(set);
}

static void *put_here(void *ref) {
  put(ref);
  return NULL;
}

static void put_from_another_thread(void) {
  sandboxset *set = mock_set(1, NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, put_here, get(set)) == 0);
  /* The set has one place, so this waits for the other thread's put. */
  put(get(set));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(stats_of(set).created == 1);
  close_and_free(set);
}

static void free_without_put_destroys(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_ref_free(get(set));
  sandboxset_ref *ref = get(set);
  uint64_t uses = 0;
  OK(sandboxset_ref_uses(ref, &uses, &error));
  CHECK(uses == 1 && stats_of(set).created == 2);

  OK(sandboxset_ref_taint(ref, "suspicious", &error));
  put(ref);
  ref = get(set);
  CHECK(stats_of(set).created == 3);
  put(ref);
  close_and_free(set);
  uint64_t live = 1;
  OK(sandboxset_mock_live(backend, &live, &error));
  CHECK(live == 0);
  sandboxset_backend_free(backend);
}

static void outlives_its_set(void) {
  sandboxset *set = mock_set(2, NULL);
  sandboxset_ref *put_later = get(set);
  sandboxset_ref *freed_later = get(set);
  sandboxset_free(set);
  uint64_t id = id_of(put_later);
  CHECK(id != 0);
  sandboxset_code code = sandboxset_ref_put(put_later, NULL);
  CHECK(code == SANDBOXSET_OK || code == SANDBOXSET_CLOSED || code == SANDBOXSET_STALE_REF);
  sandboxset_ref_free(put_later);
  sandboxset_ref_free(freed_later);
}

static void knows(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *ref = get(set);
  uint64_t age = 0;
  OK(sandboxset_ref_age(ref, &age, &error));
  const char *path = NULL, *again = NULL;
  OK(sandboxset_ref_scratch_dir(ref, &path, &error));
  OK(sandboxset_ref_scratch_dir(ref, &again, &error));
  CHECK(path && path == again && path[0] == '/');
  OK(sandboxset_ref_host_scratch_dir(ref, &path, &error));
  put(ref);
  close_and_free(set);
}

int main(void) {
  ends_once();
  put_from_another_thread();
  free_without_put_destroys();
  outlives_its_set();
  knows();
  return 0;
}
