/* Scripted faults: what fails, what hangs, what dies, and what the set makes of it. */
#include "check.h"

static uint64_t calls(sandboxset_backend *backend, uint32_t operation) {
  uint64_t calls = 0;
  OK(sandboxset_mock_calls(backend, operation, &calls, &error));
  return calls;
}

static void a_failing_create(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.message = "no more electrons";
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 1, &fault, &error));

  sandboxset_ref *ref = NULL;
  sandboxset_error *failure = NULL;
  CHECK(sandboxset_get_or_create_unpaused(set, NULL, &ref, &failure) == SANDBOXSET_CREATE_FAILED);
  CHECK(ref == NULL && failure);
  CHECK(sandboxset_error_code(failure) == SANDBOXSET_CREATE_FAILED);
  CHECK(strcmp(sandboxset_error_name(failure), "CREATE_FAILED") == 0);
  CHECK(strcmp(sandboxset_error_phase(failure), "create") == 0);
  CHECK(sandboxset_error_retryable(failure) && sandboxset_error_field(failure) == NULL);
  CHECK(strstr(sandboxset_error_message(failure), "no more electrons") ||
        strstr(sandboxset_error_cause(failure), "no more electrons"));
  sandboxset_error_free(failure);

  put(get(set));
  CHECK(calls(backend, SANDBOXSET_MOCK_CREATE) == 2);
  sandboxset_stats stats = stats_of(set);
  CHECK(stats.create_failures == 1 && stats.created == 1);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

static void a_reset_and_one_that_fails(void) {
  sandboxset_backend *backend = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  sandboxset_capabilities capabilities = {.struct_size = sizeof capabilities};
  OK(sandboxset_backend_get_capabilities(backend, &capabilities, &error));
  CHECK(capabilities.reset == 1);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.message = "something is left";
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_RESET, 2, &fault, &error));
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = 1;
  config.reuse = SANDBOXSET_REUSE_RESET;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  sandboxset_event_stream *stream = NULL;
  OK(sandboxset_events(set, 100, &stream, &error));

  sandboxset_ref *first = get(set);
  uint64_t id = id_of(first);
  put(first);
  sandboxset_ref *second = get(set);
  CHECK(id_of(second) == id);
  put(second);
  sandboxset_ref *third = get(set);
  CHECK(id_of(third) != id);
  sandboxset_stats stats = stats_of(set);
  CHECK(stats.resets == 1 && stats.reset_failures == 1);
  CHECK(calls(backend, SANDBOXSET_MOCK_RESET) == 2);
  put(third);

  int seen = 0;
  while (!seen) {
    sandboxset_event *event = NULL;
    OK(sandboxset_event_stream_next(stream, 30000, &event, &error));
    CHECK(event);
    sandboxset_event_info info = {.struct_size = sizeof info};
    OK(sandboxset_event_get_info(event, &info, &error));
    seen = info.kind == SANDBOXSET_EVENT_RESET;
    if (seen) CHECK(strcmp(info.text, "files: as when fresh") == 0 && info.sandbox_id == id);
    sandboxset_event_free(event);
  }
  sandboxset_event_stream_free(stream);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

static void a_failing_unpause(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(2, &backend);
  sandboxset_ref *ref = get(set);
  uint64_t id = id_of(ref);
  put(ref);
  OK(sandboxset_mock_fault_always(backend, SANDBOXSET_MOCK_UNPAUSE, NULL, &error));
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = SANDBOXSET_MOCK_DIE;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_UNPAUSE, calls(backend, SANDBOXSET_MOCK_UNPAUSE) + 1,
                              &fault, &error));
  ref = get(set);
  CHECK(id_of(ref) != id);
  put(ref);
  close_and_free(set);
  uint64_t live = 1;
  OK(sandboxset_mock_live(backend, &live, &error));
  CHECK(live == 0);
  sandboxset_backend_free(backend);
}

static void a_hanging_create(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = SANDBOXSET_MOCK_HANG;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 1, &fault, &error));
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.timeout_ms = 20;
  sandboxset_ref *ref = NULL;
  FAILS(SANDBOXSET_TIMEOUT, sandboxset_get_or_create_unpaused(set, &options, &ref, &error));
  uint32_t hanging = 0;
  OK(sandboxset_mock_wait_for_hangs(backend, SANDBOXSET_MOCK_CREATE, 1, 60000, &hanging, &error));
  CHECK(hanging == 1);
  OK(sandboxset_mock_wait_for_hangs(backend, SANDBOXSET_MOCK_CREATE, 2, 0, &hanging, &error));
  CHECK(hanging == 0);
  CHECK(stats_of(set).creating == 1 && stats_of(set).timeouts == 1);
  /* The work of the caller that gave up is not lost: the next one gets it. */
  OK(sandboxset_mock_release_hangs(backend, &error));
  put(get(set));
  CHECK(calls(backend, SANDBOXSET_MOCK_CREATE) == 1 && stats_of(set).created == 1);
  uint64_t most_live = 0, paused = 0;
  OK(sandboxset_mock_most_live(backend, &most_live, &error));
  OK(sandboxset_mock_paused(backend, &paused, &error));
  CHECK(most_live == 1 && paused == 1);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

int main(void) {
  a_failing_create();
  a_reset_and_one_that_fails();
  a_failing_unpause();
  a_hanging_create();
  return 0;
}
