/* Running commands and touching files, on the mock. */
#include "check.h"

int main(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *ref = get(set);
  const char *args[] = {"echo", "hello", NULL};
  const char *env[] = {"LANG=C", NULL};
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  command.env = env;
  command.stdin_mode = SANDBOXSET_STDIN_BYTES;
  command.stdin_bytes = (const uint8_t *)"input";
  command.stdin_length = 5;
  sandboxset_output *output = NULL;
  OK(sandboxset_ref_exec(ref, &command, &output, &error));

  uint32_t outcome = 99;
  int32_t status = -1;
  OK(sandboxset_output_outcome(output, &outcome, &status, &error));
  CHECK(outcome == SANDBOXSET_OUTCOME_EXITED && status == 0);
  OK(sandboxset_output_outcome(output, &outcome, NULL, &error));
  const uint8_t *bytes = NULL;
  size_t length = 0, head = 0;
  uint64_t dropped = 1;
  OK(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDOUT, &bytes, &length, &error));
  CHECK(bytes);
  OK(sandboxset_output_bytes(output, SANDBOXSET_STREAM_STDERR, &bytes, &length, &error));
  CHECK(bytes);
  INVALID("stream", sandboxset_output_bytes(output, 3, &bytes, &length, &error));
  OK(sandboxset_output_dropped(output, SANDBOXSET_STREAM_STDOUT, &dropped, &head, &error));
  CHECK(dropped == 0);
  sandboxset_usage usage;
  usage.struct_size = sizeof usage;
  OK(sandboxset_output_get_usage(output, &usage, &error));
  sandboxset_output_free(output);

  /* Files. */
  OK(sandboxset_ref_write_file(ref, "note.txt", (const uint8_t *)"a\0b", 3, 0644, &error));
  sandboxset_bytes *content = NULL;
  OK(sandboxset_ref_read_file(ref, "note.txt", 100, &content, &error));
  OK(sandboxset_bytes_data(content, &bytes, &length, &error));
  CHECK(length == 3 && memcmp(bytes, "a\0b", 3) == 0);
  sandboxset_bytes_free(content);
  FAILS(SANDBOXSET_TOO_BIG, sandboxset_ref_read_file(ref, "note.txt", 2, &content, &error));
  put(ref);
  close_and_free(set);
  return 0;
}
