/* The event stream, and the manual clock. */
#include "check.h"

int main(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_event_stream *stream = NULL;
  OK(sandboxset_events(set, 64, &stream, &error));
  sandboxset_ref *ref = get(set);
  uint64_t id = id_of(ref);
  put(ref);
  ref = get(set);
  OK(sandboxset_ref_destroy(ref, "seen enough", &error));
  sandboxset_ref_free(ref);
  close_and_free(set);

  /* The stream outlives the set, ends by itself, and begins with the create and ends with the destroy. */
  uint64_t last = 0;
  uint32_t first_kind = SANDBOXSET_EVENT_OTHER, last_kind = SANDBOXSET_EVENT_OTHER;
  int unpaused = 0, count = 0;
  for (;;) {
    sandboxset_event *event = NULL;
    OK(sandboxset_event_stream_next(stream, 60000, &event, &error));
    if (!event) {
      break;
    }
    sandboxset_event_info info;
    info.struct_size = sizeof info;
    OK(sandboxset_event_get_info(event, &info, &error));
    CHECK(info.sequence > last && info.sandbox_id == id && info.text && info.lost == 0);
    last = info.sequence;
    if (count++ == 0) {
      first_kind = info.kind;
    }
    unpaused += info.kind == SANDBOXSET_EVENT_UNPAUSE;
    last_kind = info.kind;
    if (info.kind == SANDBOXSET_EVENT_DESTROY) {
      CHECK(strstr(info.text, "seen enough"));
    }
    sandboxset_event_free(event);
  }
  CHECK(first_kind == SANDBOXSET_EVENT_CREATE && last_kind == SANDBOXSET_EVENT_DESTROY && unpaused == 1);
  sandboxset_event_stream_free(stream);

  /* A set keeps its clock. */
  sandboxset_clock *clock = NULL;
  OK(sandboxset_clock_new(&clock, &error));
  sandboxset_backend *backend = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.clock = clock;
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  sandboxset_backend_free(backend);
  ref = get(set);
  OK(sandboxset_clock_advance(clock, 1500, &error));
  uint64_t age = 0;
  OK(sandboxset_ref_age(ref, &age, &error));
  CHECK(age == 1500000000u);
  sandboxset_clock_free(clock);
  put(ref);
  close_and_free(set);
  return 0;
}
