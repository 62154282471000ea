/* The few macros that all C tests share. A failed check prints where, and what the library said, and ends the test. */
#ifndef CHECK_H
#define CHECK_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sandboxset.h>

/* Every call of a test reports here; checks free what they looked at. */
static _Thread_local sandboxset_error *error;

static inline void check_failed(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  if (error) {
    fprintf(stderr, "  %s in %s: %s: %s\n", sandboxset_error_name(error), sandboxset_error_phase(error),
            sandboxset_error_message(error), sandboxset_error_cause(error));
  }
  exit(1);
}

static inline void check_code(const char *file, int line, const char *what, sandboxset_code code,
                              sandboxset_code wanted, const char *field) {
  if (code != wanted) {
    fprintf(stderr, "%s instead of %s\n", sandboxset_code_name(code), sandboxset_code_name(wanted));
    check_failed(file, line, what);
  }
  if ((code == SANDBOXSET_OK) != (error == NULL) || sandboxset_error_code(error) != code) {
    check_failed(file, line, "the error does not fit the code");
  }
  if (field && (!sandboxset_error_field(error) || strcmp(sandboxset_error_field(error), field) != 0)) {
    const char *named = sandboxset_error_field(error);
    fprintf(stderr, "the error names %s instead of %s\n", named ? named : "nothing", field);
    check_failed(file, line, what);
  }
  sandboxset_error_free(error);
  error = NULL;
}

/* A condition. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
/* A call that succeeds; its last argument is &error. */
#define OK(call) check_code(__FILE__, __LINE__, #call, (call), SANDBOXSET_OK, NULL)
/* A call that fails with this code. */
#define FAILS(wanted, call) check_code(__FILE__, __LINE__, #call, (call), (wanted), NULL)
/* A call that fails with SANDBOXSET_INVALID_ARGUMENT and names this field. */
#define INVALID(field, call) check_code(__FILE__, __LINE__, #call, (call), SANDBOXSET_INVALID_ARGUMENT, (field))

/* A set of mocks, of at most `max_size`. */
static inline sandboxset *mock_set(uint64_t max_size, sandboxset_backend **out_backend) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = NULL;
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = max_size;
  OK(sandboxset_backend_mock_new(&backend, &error));
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  if (out_backend) {
    *out_backend = backend;
  } else {
    sandboxset_backend_free(backend);
  }
  return set;
}

static inline sandboxset_ref *get(sandboxset *set) {
  sandboxset_ref *ref = NULL;
  OK(sandboxset_get_or_create_unpaused(set, NULL, &ref, &error));
  CHECK(ref);
  return ref;
}

static inline void put(sandboxset_ref *ref) {
  OK(sandboxset_ref_put(ref, &error));
  sandboxset_ref_free(ref);
}

static inline sandboxset_stats stats_of(sandboxset *set) {
  sandboxset_stats stats;
  stats.struct_size = sizeof stats;
  OK(sandboxset_get_stats(set, &stats, &error));
  return stats;
}

static inline uint64_t id_of(sandboxset_ref *ref) {
  uint64_t id = 0;
  OK(sandboxset_ref_id(ref, &id, &error));
  CHECK(id != 0);
  return id;
}

static inline void close_and_free(sandboxset *set) {
  OK(sandboxset_close(set, 60000, &error));
  sandboxset_free(set);
}

#endif
