/* Sets whose sandboxes are forked from those of another set. */
#include "check.h"

static sandboxset *new_set(sandboxset_backend *backend, const sandboxset *parent, uint32_t reuse, uint64_t min_idle) {
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  CHECK(config.parent == NULL && config.max_forks == 8);
  config.parent = parent;
  config.reuse = reuse;
  config.min_idle = min_idle;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  return set;
}

static sandboxset_backend *new_mock(void) {
  sandboxset_backend *backend = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  sandboxset_capabilities capabilities = {.struct_size = sizeof capabilities};
  OK(sandboxset_backend_get_capabilities(backend, &capabilities, &error));
  CHECK(capabilities.fork == 1);
  return backend;
}

static uint64_t calls(sandboxset_backend *backend, uint32_t operation) {
  uint64_t calls = 0;
  OK(sandboxset_mock_calls(backend, operation, &calls, &error));
  return calls;
}

/* Waits for an event of this kind. */
static sandboxset_event_info next(sandboxset_event_stream *stream, uint32_t kind) {
  for (;;) {
    sandboxset_event *event = NULL;
    OK(sandboxset_event_stream_next(stream, 30000, &event, &error));
    CHECK(event);
    sandboxset_event_info info = {.struct_size = sizeof info};
    OK(sandboxset_event_get_info(event, &info, &error));
    sandboxset_event_free(event);
    info.text = NULL;
    if (info.kind == kind) return info;
  }
}

static void children_share_a_parent(void) {
  sandboxset_backend *backend = new_mock();
  sandboxset *parents = new_set(backend, NULL, SANDBOXSET_REUSE_KEEP, 0);
  sandboxset *children = new_set(backend, parents, SANDBOXSET_REUSE_KEEP, 0);
  sandboxset_event_stream *stream = NULL;
  OK(sandboxset_events(parents, 100, &stream, &error));

  sandboxset_ref *first = get(children);
  sandboxset_event_info forked = next(stream, SANDBOXSET_EVENT_FORK);
  CHECK(forked.child_id == id_of(first) && forked.sandbox_id != forked.child_id);
  next(stream, SANDBOXSET_EVENT_PAUSE);
  sandboxset_ref *second = get(children);
  CHECK(calls(backend, SANDBOXSET_MOCK_CREATE) == 1 && calls(backend, SANDBOXSET_MOCK_FORK) == 2);
  CHECK(stats_of(parents).forks == 2 && stats_of(children).created == 2);

  /* The parent outlives its own handle and, until the last child is gone, its own end. */
  OK(sandboxset_shrink(parents, 0, NULL, &error));
  put(first);
  OK(sandboxset_ref_destroy(second, "done", &error));
  sandboxset_ref_free(second);
  close_and_free(children);
  close_and_free(parents);
  sandboxset_event_stream_free(stream);
  uint64_t live = 1;
  OK(sandboxset_mock_live(backend, &live, &error));
  CHECK(live == 0);
  sandboxset_backend_free(backend);
}

static void a_fork_is_tried_twice(void) {
  sandboxset_backend *backend = new_mock();
  sandboxset *parents = new_set(backend, NULL, SANDBOXSET_REUSE_KEEP, 0);
  sandboxset *children = new_set(backend, parents, SANDBOXSET_REUSE_KEEP, 0);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = SANDBOXSET_MOCK_DIE;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_FORK, 1, &fault, &error));
  put(get(children));
  CHECK(stats_of(parents).forks == 1 && stats_of(parents).fork_failures == 1);
  OK(sandboxset_shrink(children, 0, NULL, &error));

  OK(sandboxset_mock_fault_always(backend, SANDBOXSET_MOCK_FORK, &fault, &error));
  sandboxset_ref *ref = NULL;
  sandboxset_error *failure = NULL;
  CHECK(sandboxset_get_or_create_unpaused(children, NULL, &ref, &failure) == SANDBOXSET_FORK_FAILED);
  CHECK(strcmp(sandboxset_error_phase(failure), "fork") == 0);
  sandboxset_error_free(failure);

  OK(sandboxset_close(parents, 60000, &error));
  CHECK(sandboxset_get_or_create_unpaused(children, NULL, &ref, &failure) == SANDBOXSET_FORK_FAILED);
  CHECK(strstr(sandboxset_error_cause(failure), "CLOSED"));
  sandboxset_error_free(failure);
  close_and_free(children);
  sandboxset_free(parents);
  sandboxset_backend_free(backend);
}

static void every_holder_gets_a_fresh_fork(void) {
  sandboxset_backend *backend = new_mock();
  sandboxset *parents = new_set(backend, NULL, SANDBOXSET_REUSE_KEEP, 0);
  sandboxset *children = new_set(backend, parents, SANDBOXSET_REUSE_REPLACE, 1);
  sandboxset_free(parents);
  uint64_t last = 0;
  for (int round = 0; round < 5; round++) {
    sandboxset_ref *ref = get(children);
    CHECK(id_of(ref) != last);
    last = id_of(ref);
    put(ref);
  }
  CHECK(calls(backend, SANDBOXSET_MOCK_CREATE) == 1 && calls(backend, SANDBOXSET_MOCK_FORK) >= 5);
  close_and_free(children);
  sandboxset_backend_free(backend);
}

static void what_cannot_be_a_parent(void) {
  sandboxset_backend *backend = new_mock(), *other = new_mock();
  sandboxset *parents = new_set(backend, NULL, SANDBOXSET_REUSE_KEEP, 0), *set = NULL;
  sandboxset *resetting = new_set(backend, NULL, SANDBOXSET_REUSE_RESET, 0);
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.parent = parents;
  INVALID("parent", sandboxset_new(other, NULL, &config, &set, &error));
  config.parent = (const sandboxset *)backend;
  INVALID("parent", sandboxset_new(backend, NULL, &config, &set, &error));
  config.parent = resetting;
  INVALID("parent", sandboxset_new(backend, NULL, &config, &set, &error));
  config.parent = parents;
  OK(sandboxset_close(parents, 60000, &error));
  INVALID("parent", sandboxset_new(backend, NULL, &config, &set, &error));
  config.parent = NULL;
  config.max_forks = 0;
  INVALID("max_forks", sandboxset_new(backend, NULL, &config, &set, &error));
  CHECK(set == NULL);
  sandboxset_free(parents);
  close_and_free(resetting);
  sandboxset_backend_free(other);
  sandboxset_backend_free(backend);
}

int main(void) {
  children_share_a_parent();
  a_fork_is_tried_twice();
  every_holder_gets_a_fresh_fork();
  what_cannot_be_a_parent();
  return 0;
}
