/* The runtimes that come with the library: a Python parent that has modules imported, its forks, and Node. */
#include <sys/stat.h>
#include <unistd.h>

#include "real.h"

enum { MINUTE_MS = 60000 };

/* The code of the functions, in a directory of the host. */
static char code_dir[] = "/tmp/sandboxset-c-code-XXXXXX";

static const char *code_path(const char *name) {
  static char path[sizeof code_dir + 16];
  snprintf(path, sizeof path, "%s/%s", code_dir, name);
  return path;
}

static void write_code(const char *name, const char *text) {
  FILE *file = fopen(code_path(name), "w");
  CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static sandboxset_spec new_spec(void) {
  sandboxset_spec spec;
  sandboxset_spec_init(&spec, sizeof spec);
  spec.code_dir = code_dir;
  return spec;
}

static sandboxset_python_runtime new_python(const char *handler) {
  sandboxset_python_runtime python;
  sandboxset_python_runtime_init(&python, sizeof python);
  CHECK(python.ready_timeout_ms == 30000 && python.json == 0);
  python.handler = handler;
  return python;
}

static sandboxset_node_runtime new_node(const char *handler) {
  sandboxset_node_runtime node;
  sandboxset_node_runtime_init(&node, sizeof node);
  CHECK(node.ready_timeout_ms == 30000 && node.json == 0);
  node.handler = handler;
  return node;
}

static sandboxset_code try_set(const sandboxset_spec *spec, const sandboxset *parent, sandboxset **set) {
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.parent = parent;
  *set = NULL;
  return sandboxset_new(backend, spec, &config, set, &error);
}

static void answers(sandboxset_ref *ref, const char *request, const char *wanted) {
  sandboxset_bytes *answer = NULL;
  const uint8_t *bytes = NULL;
  size_t length = 0;
  OK(sandboxset_ref_call(ref, (const uint8_t *)request, strlen(request), MINUTE_MS, NULL, &answer, &error));
  OK(sandboxset_bytes_data(answer, &bytes, &length, &error));
  if (length != strlen(wanted) || memcmp(bytes, wanted, length) != 0) {
    fprintf(stderr, "%.*s instead of %s\n", (int)length, (const char *)bytes, wanted);
    CHECK(0);
  }
  sandboxset_bytes_free(answer);
}

static void fails(sandboxset_ref *ref, const char *request, const char *wanted) {
  sandboxset_bytes *answer = NULL;
  sandboxset_code code =
      sandboxset_ref_call(ref, (const uint8_t *)request, strlen(request), MINUTE_MS, NULL, &answer, &error);
  CHECK(code == SANDBOXSET_HANDLER_FAILED && strstr(sandboxset_error_message(error), wanted));
  sandboxset_error_free(error);
  error = NULL;
}

static void forks_of_a_python_parent_have_its_modules(void) {
  if (!has("python3", "forks_of_a_python_parent_have_its_modules")) return;
  write_code("app.py", "import sys\n"
                       "WARM = 'colorsys' in sys.modules\n"
                       "def handle(request):\n"
                       "    if request == b'fail': raise ValueError('as asked')\n"
                       "    return request.upper() + (b' warm' if WARM else b' cold')\n");
  const char *preload[] = {"json", "colorsys", NULL};
  const char *env[] = {"GREETING=hello", NULL};
  sandboxset_python_runtime server = new_python(NULL), handler = new_python("app:handle");
  server.preload = preload;
  handler.env = env;
  sandboxset_spec warm = new_spec(), child = new_spec();
  warm.python_runtime = &server;
  child.python_runtime = &handler;
  sandboxset *parents = NULL, *forked = NULL, *created = NULL;
  OK(try_set(&warm, NULL, &parents));
  OK(try_set(&child, parents, &forked));
  OK(try_set(&child, NULL, &created));

  sandboxset_ref *ref = get(forked);
  answers(ref, "one", "ONE warm");
  fails(ref, "fail", "as asked");
  answers(ref, "two", "TWO warm");
  put(ref);
  CHECK(stats_of(parents).forks == 1);
  /* The control: one that was not forked has nothing of it. */
  ref = get(created);
  answers(ref, "one", "ONE cold");
  put(ref);
  close_and_free(created);
  close_and_free(forked);
  close_and_free(parents);
  CHECK(unlink(code_path("app.py")) == 0);
}

static void a_node_process_answers_and_is_no_parent(void) {
  if (!has("node", "a_node_process_answers_and_is_no_parent")) return;
  write_code("app.js", "exports.handle = (given) => ({ ...given, times: given.times + 1 });\n");
  sandboxset_node_runtime node = new_node("app:handle");
  node.json = 1;
  sandboxset_limits limits;
  sandboxset_limits_init(&limits, sizeof limits);
  /* Of address space, where there is no memory cgroup. */
  limits.memory_bytes = UINT64_C(2) << 30;
  sandboxset_spec spec = new_spec();
  spec.node_runtime = &node;
  spec.limits = &limits;
  sandboxset *set = NULL, *children = NULL;
  OK(try_set(&spec, NULL, &set));
  sandboxset_ref *ref = get(set);
  answers(ref, "{\"times\":1}", "{\"times\":2}");
  fails(ref, "no json", "JSON");
  put(ref);
  FAILS(SANDBOXSET_UNSUPPORTED, try_set(&spec, set, &children));
  close_and_free(set);
  CHECK(unlink(code_path("app.js")) == 0);
}

static void bad_input_is_named(void) {
  sandboxset *set = NULL;
  sandboxset_spec spec = new_spec();
  const char *relative[] = {"usr/lib", NULL}, *no_module[] = {"json", "1st", NULL}, *args[] = {"true", NULL};
  sandboxset_python_runtime python = new_python("nowhere");
  spec.python_runtime = &python;
  INVALID("handler", try_set(&spec, NULL, &set));
  python = new_python(NULL);
  python.preload = no_module;
  INVALID("preload", try_set(&spec, NULL, &set));
  python = new_python(NULL);
  python.paths = relative;
  INVALID("paths", try_set(&spec, NULL, &set));
  python = new_python(NULL);
  python.brings = relative;
  INVALID("runtime.brings.source", try_set(&spec, NULL, &set));
  python = new_python(NULL);
  python.json = 2;
  INVALID("python_runtime.json", try_set(&spec, NULL, &set));
  python = new_python("\xff:x");
  INVALID("python_runtime.handler", try_set(&spec, NULL, &set));
  python = new_python(NULL);
  python.struct_size = 8;
  INVALID("python_runtime.struct_size", try_set(&spec, NULL, &set));

  sandboxset_node_runtime node = new_node(NULL);
  python = new_python(NULL);
  spec.node_runtime = &node;
  INVALID("runtime", try_set(&spec, NULL, &set));
  spec.python_runtime = NULL;
  INVALID("handler", try_set(&spec, NULL, &set));
  node = new_node("app:handle");
  node.reserved = 1;
  INVALID("node_runtime.reserved", try_set(&spec, NULL, &set));

  sandboxset_runtime runtime;
  sandboxset_runtime_init(&runtime, sizeof runtime);
  runtime.args = args;
  runtime.brings = relative;
  spec.node_runtime = NULL;
  spec.runtime = &runtime;
  INVALID("runtime.brings.source", try_set(&spec, NULL, &set));
}

int main(void) {
  require_linux();
  CHECK(mkdtemp(code_dir) && chmod(code_dir, 0755) == 0);
  forks_of_a_python_parent_have_its_modules();
  a_node_process_answers_and_is_no_parent();
  bad_input_is_named();
  CHECK(rmdir(code_dir) == 0);
  sandboxset_backend_free(backend);
  return 0;
}
