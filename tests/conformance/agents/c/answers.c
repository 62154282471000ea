/* From what calls return to JSON. What is read here cannot fail but by a mistake of this file. */
#include "agent.h"

#include <stdlib.h>

#define MUST(call) ((call) == SANDBOXSET_OK ? (void)0 : complain("failed:", #call))

/* Of a number handed out, which a newer library may have more of. */
static const char *name_of(uint32_t number, const char *const *names, uint32_t count) {
  return number < count ? names[number] : "other";
}

json_t *error_answer(const sandboxset_error *error) {
  const char *field = sandboxset_error_field(error);
  uint64_t id = sandboxset_error_sandbox_id(error);
  return json_pack("{s{si ss ss sb so ss? ss ss}}", "error", "code", (int)sandboxset_error_code(error), "name",
                   sandboxset_error_name(error), "phase", sandboxset_error_phase(error), "retryable",
                   (int)sandboxset_error_retryable(error), "sandbox_id",
                   id ? json_integer((json_int_t)id) : json_null(), "field", field, "message",
                   sandboxset_error_message(error), "cause", sandboxset_error_cause(error));
}

json_t *data_answer(const uint8_t *bytes, size_t length) {
  char *text = malloc(2 * length + 1);
  size_t count = 0;
  for (size_t at = 0; at < length; at++) {
    if (bytes[at] >= 0x80) {
      text[count++] = (char)(0xc0 | (bytes[at] >> 6));
    }
    text[count++] = (char)(bytes[at] < 0x80 ? bytes[at] : 0x80 | (bytes[at] & 0x3f));
  }
  json_t *answer = json_stringn(text, count);
  free(text);
  return answer;
}

json_t *output_answer(sandboxset_output *output) {
  static const char *const outcomes[] = {"exited", "signaled", "timed_out", "out_of_memory", "output_limit"};
  static const char *const streams[] = {NULL, "stdout", "stderr"};
  static const char *const dropped[] = {NULL, "stdout_dropped", "stderr_dropped"};
  uint32_t outcome;
  int32_t status;
  MUST(sandboxset_output_outcome(output, &outcome, &status, NULL));
  json_t *answer = json_pack("{ss}", "outcome", name_of(outcome, outcomes, 5));
  json_object_set_new(answer, "exit_code", outcome == SANDBOXSET_OUTCOME_EXITED ? json_integer(status) : json_null());
  json_object_set_new(answer, "signal", outcome == SANDBOXSET_OUTCOME_SIGNALED ? json_integer(status) : json_null());
  for (uint32_t stream = SANDBOXSET_STREAM_STDOUT; stream <= SANDBOXSET_STREAM_STDERR; stream++) {
    const uint8_t *bytes;
    size_t length;
    uint64_t lost;
    MUST(sandboxset_output_bytes(output, stream, &bytes, &length, NULL));
    MUST(sandboxset_output_dropped(output, stream, &lost, NULL, NULL));
    json_object_set_new(answer, streams[stream], data_answer(bytes, length));
    json_object_set_new(answer, dropped[stream], json_integer((json_int_t)lost));
  }
  sandboxset_output_free(output);
  return answer;
}

json_t *event_answer(sandboxset_event *event) {
  static const char *const kinds[] = {"create", "unpause", "pause", "put", "destroy", "fault", "lost", "reset", "fork"};
  if (!event) {
    return json_null();
  }
  sandboxset_event_info info;
  info.struct_size = sizeof info;
  MUST(sandboxset_event_get_info(event, &info, NULL));
  json_t *answer = json_pack("{sI ss sI ss sI sI}", "sequence", (json_int_t)info.sequence, "kind",
                             name_of(info.kind, kinds, 9), "sandbox_id", (json_int_t)info.sandbox_id, "text",
                             info.text, "child_id", (json_int_t)info.child_id, "lost", (json_int_t)info.lost);
  sandboxset_event_free(event);
  return answer;
}

json_t *stats_answer(const sandboxset *set) {
  sandboxset_stats stats;
  stats.struct_size = sizeof stats;
  MUST(sandboxset_get_stats(set, &stats, NULL));
  sandboxset_tally *reasons;
  MUST(sandboxset_destroy_reasons(set, &reasons, NULL));
  const struct {
    const char *name;
    uint64_t count;
  } counters[] = {
      {"idle", stats.idle},
      {"held", stats.held},
      {"creating", stats.creating},
      {"resuming", stats.resuming},
      {"returning", stats.returning},
      {"destroying", stats.destroying},
      {"quarantined", stats.quarantined},
      {"waiting", stats.waiting},
      {"gets", stats.gets},
      {"hits", stats.hits},
      {"waits", stats.waits},
      {"timeouts", stats.timeouts},
      {"created", stats.created},
      {"create_failures", stats.create_failures},
      {"puts", stats.puts},
      {"destroyed", stats.destroyed},
      {"resets", stats.resets},
      {"reset_failures", stats.reset_failures},
      {"forks", stats.forks},
      {"fork_failures", stats.fork_failures},
  }, reasons_to_miss[] = {
      {"empty", stats.misses_empty},
      {"all_busy", stats.misses_all_busy},
      {"fresh_only", stats.misses_fresh_only},
      {"unhealthy", stats.misses_unhealthy},
      {"other", stats.misses_other},
  };
  json_t *misses = json_object();
  for (size_t at = 0; at < sizeof reasons_to_miss / sizeof *reasons_to_miss; at++) {
    if (reasons_to_miss[at].count) {
      json_object_set_new(misses, reasons_to_miss[at].name, json_integer((json_int_t)reasons_to_miss[at].count));
    }
  }
  json_t *answer = json_pack("{so so}", "misses", misses, "destroyed_by", tally_answer(reasons));
  for (size_t at = 0; at < sizeof counters / sizeof *counters; at++) {
    json_object_set_new(answer, counters[at].name, json_integer((json_int_t)counters[at].count));
  }
  return answer;
}

json_t *layers_answer(sandboxset_report *report) {
  static const char *const statuses[] = {"active", "degraded", "missing"};
  json_t *answer = json_object();
  size_t count;
  MUST(sandboxset_report_count(report, &count, NULL));
  for (size_t index = 0; index < count; index++) {
    sandboxset_layer layer;
    layer.struct_size = sizeof layer;
    MUST(sandboxset_report_get_layer(report, index, &layer, NULL));
    json_object_set_new(answer, layer.name, json_string(name_of(layer.status, statuses, 3)));
  }
  sandboxset_report_free(report);
  return answer;
}

json_t *entries_answer(sandboxset_dir *dir) {
  static const char *const kinds[] = {"file", "directory", "symlink", "other"};
  json_t *answer = json_array();
  size_t count;
  MUST(sandboxset_dir_count(dir, &count, NULL));
  for (size_t index = 0; index < count; index++) {
    sandboxset_dir_entry entry;
    entry.struct_size = sizeof entry;
    MUST(sandboxset_dir_get_entry(dir, index, &entry, NULL));
    json_array_append_new(answer, json_pack("{ss ss}", "name", entry.name, "kind", name_of(entry.kind, kinds, 4)));
  }
  sandboxset_dir_free(dir);
  return answer;
}

uint64_t tally_sum(sandboxset_tally *tally) {
  json_t *all = tally_answer(tally);
  uint64_t sum = 0;
  const char *name;
  json_t *times;
  json_object_foreach(all, name, times) { sum += (uint64_t)json_integer_value(times); }
  json_decref(all);
  return sum;
}

json_t *tally_answer(sandboxset_tally *tally) {
  json_t *answer = json_object();
  size_t count;
  MUST(sandboxset_tally_count(tally, &count, NULL));
  for (size_t index = 0; index < count; index++) {
    const char *text;
    uint64_t times;
    MUST(sandboxset_tally_at(tally, index, &text, &times, NULL));
    json_object_set_new(answer, text, json_integer((json_int_t)times));
  }
  sandboxset_tally_free(tally);
  return answer;
}
