/* Sets of real sandboxes. A program that uses this exits with 77, saying why, where this host cannot make one. */
#ifndef REAL_H
#define REAL_H

#include "check.h"

static sandboxset_backend *backend;

static inline sandboxset *new_set(uint64_t max_size, const sandboxset_spec *spec) {
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = max_size;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, spec, &config, &set, &error));
  return set;
}

static inline sandboxset_command command_of(const char *const *args) {
  sandboxset_command command;
  sandboxset_command_init(&command, sizeof command);
  command.args = args;
  return command;
}

/* Makes the backend, and sees whether it can make a sandbox here at all; else says why and ends the test. */
static inline void require_linux(void) {
  sandboxset *set = NULL;
  sandboxset_ref *ref = NULL;
  sandboxset_error *why = NULL;
  sandboxset_code code = sandboxset_backend_linux_new(NULL, &backend, &why);
  if (code == SANDBOXSET_OK) {
    set = new_set(1, NULL);
    code = sandboxset_get_or_create_unpaused(set, NULL, &ref, &why);
  }
  if (code == SANDBOXSET_OK) {
    put(ref);
    close_and_free(set);
    return;
  }
  if (code != SANDBOXSET_UNSUPPORTED && code != SANDBOXSET_PERMISSION_DENIED && code != SANDBOXSET_CREATE_FAILED &&
      code != SANDBOXSET_BACKEND_UNAVAILABLE) {
    error = why;
    check_failed(__FILE__, __LINE__, "an answer that no host explains");
  }
  printf("SKIP: no Linux sandbox on this host: %s: %s: %s\n", sandboxset_error_name(why),
         sandboxset_error_message(why), sandboxset_error_cause(why));
  exit(77);
}

/* Whether sandboxes have this program, asked for its version; says so if not, for the sake of `what` is skipped then. */
static inline int has(const char *program, const char *what) {
  const char *version[] = {program, "--version", NULL};
  sandboxset *set = new_set(1, NULL);
  sandboxset_ref *ref = get(set);
  sandboxset_output *output = NULL;
  sandboxset_command command = command_of(version);
  uint32_t outcome = 99;
  int32_t status = 99;
  if (sandboxset_ref_exec(ref, &command, &output, NULL) == SANDBOXSET_OK) {
    OK(sandboxset_output_outcome(output, &outcome, &status, &error));
  }
  sandboxset_output_free(output);
  sandboxset_ref_free(ref);
  close_and_free(set);
  if (outcome == SANDBOXSET_OUTCOME_EXITED && status == 0) return 1;
  printf("SKIP %s: no %s in the sandbox\n", what, program);
  return 0;
}

#endif
