/* What a get binds late, on mocks. */
#include "check.h"

static const uint8_t hush[] = {'h', 'u', 's', 'h', 0, 0xff};

/* A set of one mock that resets, or keeps. */
static sandboxset *set_of(sandboxset_backend *backend, uint32_t reuse) {
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = 1;
  config.reuse = reuse;
  sandboxset *set = NULL;
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  return set;
}

static sandboxset_backend *mock(void) {
  sandboxset_backend *backend = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  return backend;
}

/* Whether a file of the sandbox holds these bytes. */
static bool holds(sandboxset_ref *ref, const char *path, const void *bytes, size_t length) {
  sandboxset_bytes *found = NULL;
  sandboxset_code code = sandboxset_ref_read_file(ref, path, 100, &found, &error);
  sandboxset_error_free(error);
  error = NULL;
  if (code != SANDBOXSET_OK) return false;
  const uint8_t *data = NULL;
  size_t size = 0;
  OK(sandboxset_bytes_data(found, &data, &size, &error));
  bool same = size == length && memcmp(data, bytes, length) == 0;
  sandboxset_bytes_free(found);
  return same;
}

static uint64_t calls(sandboxset_backend *backend, uint32_t operation) {
  uint64_t count = 0;
  OK(sandboxset_mock_calls(backend, operation, &count, &error));
  return count;
}

static void everything_is_there_and_gone_after_a_reset(void) {
  sandboxset_backend *backend = mock();
  sandboxset *set = set_of(backend, SANDBOXSET_REUSE_RESET);

  sandboxset_secret secret;
  sandboxset_secret_init(&secret, sizeof secret);
  secret.name = "token";
  secret.bytes = hush;
  secret.length = sizeof hush;
  const sandboxset_secret *secrets[] = {&secret};
  sandboxset_late_file file;
  sandboxset_late_file_init(&file, sizeof file);
  CHECK(file.mode == 0644);
  file.path = "in/put";
  file.bytes = (const uint8_t *)"data";
  file.length = 4;
  const sandboxset_late_file *files[] = {&file};
  sandboxset_bind bind;
  sandboxset_bind_init(&bind, sizeof bind);
  bind.source = "/usr";
  bind.target = "/mnt/usr";
  const sandboxset_bind *binds[] = {&bind};
  sandboxset_late_limits limits;
  sandboxset_late_limits_init(&limits, sizeof limits);
  limits.pids = 8;
  const char *env[] = {"WHO=late", NULL};
  sandboxset_late_binding binding;
  sandboxset_late_binding_init(&binding, sizeof binding);
  binding.env = env;
  binding.secrets = secrets;
  binding.secrets_length = 1;
  binding.files = files;
  binding.files_length = 1;
  binding.binds = binds;
  binding.binds_length = 1;
  binding.limits = &limits;
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.binding = &binding;

  sandboxset_ref *ref = NULL;
  OK(sandboxset_get_or_create_unpaused(set, &options, &ref, &error));
  uint64_t id = id_of(ref);
  CHECK(holds(ref, "/run/secrets/token", hush, sizeof hush) && holds(ref, "in/put", "data", 4));
  put(ref);
  ref = get(set);
  CHECK(id_of(ref) == id);
  CHECK(!holds(ref, "/run/secrets/token", hush, sizeof hush) && !holds(ref, "in/put", "data", 4));
  put(ref);
  CHECK(calls(backend, SANDBOXSET_MOCK_BIND) == 1 && calls(backend, SANDBOXSET_MOCK_UNBIND) == 1);

  /* One that cannot be bound is destroyed, and its place is not lost. */
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_BIND, 2, &fault, &error));
  sandboxset_ref *none = NULL;
  sandboxset_code code = sandboxset_get_or_create_unpaused(set, &options, &none, &error);
  CHECK(code == SANDBOXSET_INTERNAL && none == NULL && strcmp(sandboxset_error_phase(error), "bind") == 0);
  sandboxset_error_free(error);
  error = NULL;
  ref = get(set);
  CHECK(id_of(ref) != id);
  put(ref);

  /* A set that keeps destroys it at the put. */
  sandboxset *keeps = set_of(backend, SANDBOXSET_REUSE_KEEP);
  OK(sandboxset_get_or_create_unpaused(keeps, &options, &ref, &error));
  id = id_of(ref);
  put(ref);
  ref = get(keeps);
  CHECK(id_of(ref) != id);
  put(ref);
  close_and_free(keeps);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

static void bad_bindings(void) {
  sandboxset_backend *backend = mock();
  sandboxset *set = set_of(backend, SANDBOXSET_REUSE_KEEP);
  sandboxset_late_binding binding;
  sandboxset_late_binding_init(&binding, sizeof binding);
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.binding = &binding;
  sandboxset_ref *none = NULL;
#define GET sandboxset_get_or_create_unpaused(set, &options, &none, &error)

  binding.secrets_length = 1;
  INVALID("binding.secrets", GET);
  const sandboxset_secret *no_secrets[] = {NULL};
  binding.secrets = no_secrets;
  INVALID("binding.secrets", GET);
  sandboxset_secret secret;
  sandboxset_secret_init(&secret, sizeof secret);
  const sandboxset_secret *secrets[] = {&secret};
  binding.secrets = secrets;
  INVALID("binding.secrets", GET);
  secret.name = "a/b";
  INVALID("binding.secrets", GET);
  secret.name = "ok";
  secret.length = 1;
  INVALID("binding.secrets", GET);
  secret.length = SIZE_MAX;
  secret.bytes = hush;
  INVALID("binding.secrets", GET);
  binding.secrets_length = SIZE_MAX;
  INVALID("binding.secrets_length", GET);
  binding.secrets_length = 0;

  sandboxset_late_file file;
  sandboxset_late_file_init(&file, sizeof file);
  const sandboxset_late_file *files[] = {&file};
  binding.files = files;
  binding.files_length = 1;
  INVALID("binding.files.path", GET);
  file.path = "../x";
  INVALID("binding.files.path", GET);
  file.path = "x";
  file.mode = 01000;
  INVALID("binding.files.mode", GET);
  file.mode = 0;
  file.reserved = 1;
  INVALID("binding.files.reserved", GET);
  binding.files_length = 0;

  sandboxset_bind bind;
  sandboxset_bind_init(&bind, sizeof bind);
  const sandboxset_bind *binds[] = {&bind};
  binding.binds = binds;
  binding.binds_length = 1;
  INVALID("binding.binds.source", GET);
  bind.source = "/usr";
  INVALID("binding.binds.target", GET);
  bind.target = "/mnt/usr";
  bind.writable = 1;
  INVALID("binding.binds.writable", GET);
  bind.writable = 2;
  INVALID("binding.binds.writable", GET);
  binding.binds_length = 0;

  sandboxset_late_limits limits;
  sandboxset_late_limits_init(&limits, sizeof limits);
  binding.limits = &limits;
  limits.pids = 65;
  INVALID("binding.limits.pids", GET);
  limits.pids = 0;
  limits.memory_bytes = UINT64_MAX;
  INVALID("binding.limits.memory_bytes", GET);
  limits.memory_bytes = 0;
  limits.cpus = -1;
  INVALID("binding.limits.cpus", GET);
  limits.cpus = 0;
  limits.reserved = 1;
  INVALID("binding.limits.reserved", GET);
  binding.limits = NULL;

  const char *env[] = {"NOVALUE", NULL};
  binding.env = env;
  INVALID("binding.env", GET);
  binding.env = NULL;
  binding.struct_size = 8;
  INVALID("binding.struct_size", GET);
#undef GET
  CHECK(none == NULL && stats_of(set).created == 0);
  close_and_free(set);
  sandboxset_backend_free(backend);
}

int main(void) {
  everything_is_there_and_gone_after_a_reset();
  bad_bindings();
  return 0;
}
