/* The set: get, put, reuse, prewarm, shrink, drain, close, counters. */
#include "check.h"

static void get_put_and_reuse(void) {
  sandboxset *set = mock_set(2, NULL);
  sandboxset_ref *first = get(set);
  uint64_t id = id_of(first);
  put(first);

  sandboxset_ref *second = get(set);
  uint64_t uses = 0;
  OK(sandboxset_ref_uses(second, &uses, &error));
  CHECK(id_of(second) == id && uses == 2);
  sandboxset_ref *third = get(set);
  CHECK(id_of(third) != id);

  sandboxset_stats stats = stats_of(set);
  CHECK(stats.held == 2 && stats.idle == 0 && stats.gets == 3 && stats.hits == 1 && stats.created == 2);
  CHECK(stats.misses_empty + stats.misses_all_busy + stats.misses_fresh_only + stats.misses_unhealthy +
            stats.misses_other == 2);
  put(second);
  put(third);
  close_and_free(set);
}

static void a_full_set(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *held = get(set);
  sandboxset_ref *none = NULL;
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.timeout_ms = 20;
  FAILS(SANDBOXSET_TIMEOUT, sandboxset_get_or_create_unpaused(set, &options, &none, &error));
  options.no_wait = 1;
  FAILS(SANDBOXSET_EXHAUSTED, sandboxset_get_or_create_unpaused(set, &options, &none, &error));
  CHECK(none == NULL);
  put(held);
  options.acquire = SANDBOXSET_ACQUIRE_REUSE_ONLY;
  OK(sandboxset_get_or_create_unpaused(set, &options, &held, &error));
  put(held);
  options.acquire = SANDBOXSET_ACQUIRE_FRESH_ONLY;
  options.no_wait = 0;
  options.timeout_ms = SANDBOXSET_FOREVER_MS;
  OK(sandboxset_get_or_create_unpaused(set, &options, &held, &error));
  uint64_t uses = 0;
  OK(sandboxset_ref_uses(held, &uses, &error));
  CHECK(uses == 1);
  put(held);
  close_and_free(set);
}

static void prewarm_and_shrink(void) {
  sandboxset *set = mock_set(4, NULL);
  uint64_t idle = 0, destroyed = 0;
  OK(sandboxset_prewarm(set, 3, 60000, &idle, &error));
  CHECK(idle == 3 && stats_of(set).idle == 3);
  OK(sandboxset_shrink(set, 1, &destroyed, &error));
  CHECK(destroyed == 2 && stats_of(set).idle == 1);
  OK(sandboxset_shrink(set, 0, NULL, &error));
  close_and_free(set);
}

static void drain_and_close(void) {
  sandboxset *set = mock_set(2, NULL);
  sandboxset_ref *held = get(set);
  sandboxset_ref *none = NULL;
  FAILS(SANDBOXSET_TIMEOUT, sandboxset_drain(set, 10, &error));
  FAILS(SANDBOXSET_CLOSED, sandboxset_get_or_create_unpaused(set, NULL, &none, &error));
  put(held);
  OK(sandboxset_drain(set, 60000, &error));

  uint64_t destroyed = 0;
  sandboxset_tally *survivors = NULL;
  OK(sandboxset_close_report(set, 60000, &destroyed, &survivors, &error));
  size_t count = 1;
  OK(sandboxset_tally_count(survivors, &count, &error));
  CHECK(count == 0);
  sandboxset_tally_free(survivors);
  OK(sandboxset_close(set, 60000, &error));

  /* Use after close is an error, or works where it says so. */
  FAILS(SANDBOXSET_CLOSED, sandboxset_get_or_create_unpaused(set, NULL, &none, &error));
  FAILS(SANDBOXSET_CLOSED, sandboxset_prewarm(set, 1, 10, NULL, &error));
  CHECK(stats_of(set).destroyed == 1);
  CHECK(none == NULL);
  sandboxset_free(set);
}

static void destroy_reasons(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(2, &backend);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_ref_destroy(ref, "it misbehaved", &error));
  sandboxset_ref_free(ref);
  OK(sandboxset_close(set, 60000, &error));
  uint64_t live = 1;
  OK(sandboxset_mock_live(backend, &live, &error));
  CHECK(live == 0);

  sandboxset_tally *reasons = NULL;
  OK(sandboxset_destroy_reasons(set, &reasons, &error));
  size_t count = 0;
  OK(sandboxset_tally_count(reasons, &count, &error));
  CHECK(count == 1);
  const char *text = NULL;
  uint64_t times = 0;
  OK(sandboxset_tally_at(reasons, 0, &text, &times, &error));
  CHECK(times == 1 && strlen(text) > 0);
  INVALID("index", sandboxset_tally_at(reasons, 1, &text, &times, &error));
  sandboxset_tally_free(reasons);
  sandboxset_free(set);
  sandboxset_backend_free(backend);
}

static void a_mock_isolates_nothing(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_report *report = NULL;
  OK(sandboxset_isolation_report(set, &report, &error));
  size_t count = 1;
  OK(sandboxset_report_count(report, &count, &error));
  CHECK(count == 0);
  sandboxset_layer layer;
  layer.struct_size = sizeof layer;
  INVALID("index", sandboxset_report_get_layer(report, 0, &layer, &error));
  sandboxset_report_free(report);
  OK(sandboxset_backend_isolation_report(backend, &report, &error));
  sandboxset_report_free(report);
  sandboxset_capabilities capabilities;
  capabilities.struct_size = sizeof capabilities;
  OK(sandboxset_backend_get_capabilities(backend, &capabilities, &error));
  CHECK(capabilities.pause == 1 && capabilities.exec == 1);
  sandboxset_free(set);
  sandboxset_backend_free(backend);
}

int main(void) {
  CHECK(sandboxset_version_number() == SANDBOXSET_VERSION_NUMBER);
  CHECK(strcmp(sandboxset_version(), SANDBOXSET_VERSION) == 0);
  get_put_and_reuse();
  a_full_set();
  prewarm_and_shrink();
  drain_and_close();
  destroy_reasons();
  a_mock_isolates_nothing();
  return 0;
}
