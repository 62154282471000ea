/* From JSON to what calls take. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

/* Memory that lives as long as the call. */
struct piece {
  struct piece *next;
  max_align_t bytes[];
};

void *keep(struct call *call, size_t size) {
  struct piece *piece = calloc(1, sizeof *piece + size);
  piece->next = call->pieces;
  call->pieces = piece;
  return piece->bytes;
}

void free_kept(struct call *call) {
  while (call->pieces) {
    struct piece *piece = call->pieces;
    call->pieces = piece->next;
    free(piece);
  }
}

static const json_t *given(const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  return json_is_null(value) ? NULL : value;
}

static bool has_nul(const json_t *value) {
  return json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value);
}

static bool is_zero(const json_t *value) {
  return json_is_number(value) && json_number_value(value) == 0;
}

/* Walks through everything that reaches C as a string or as a number with a meaning of its own. */
static const char *unsayable(const char *name, const json_t *value, bool late) {
  static const char *const nul = "a C string ends at its first NUL";
  static const char *const unlimited[] = {"cpus", "file_bytes", "cpu_seconds"};
  if (strcmp(name, "data") == 0 || strcmp(name, "stdin") == 0) {
    return NULL;
  }
  if (has_nul(value)) {
    return nul;
  }
  const char *why = NULL;
  size_t index;
  const json_t *element;
  json_array_foreach(value, index, element) {
    const json_t *first = json_array_get(element, 0);
    if (strcmp(name, "secrets") == 0) {
      why = has_nul(first) ? nul : NULL;
    } else if (strcmp(name, "env") == 0 && json_is_string(first) && strchr(json_string_value(first), '=') &&
               !has_nul(first)) {
      why = "in C the name of a variable ends at its first =";
    } else {
      why = unsayable("", element, late);
    }
    if (why) {
      return why;
    }
  }
  const char *key;
  json_t *member;
  json_object_foreach((json_t *)value, key, member) {
    bool zero_is_default = late && strcmp(name, "limits") == 0;
    zero_is_default |= strcmp(name, "command") == 0 && strcmp(key, "memory_bytes") == 0;
    for (size_t at = 0; at < sizeof unlimited / sizeof *unlimited; at++) {
      zero_is_default |= strcmp(key, unlimited[at]) == 0;
    }
    if (zero_is_default && is_zero(member)) {
      return "in C a zero here is the default";
    }
    why = unsayable(key, member, late || strcmp(key, "binding") == 0);
    if (why) {
      return why;
    }
  }
  return NULL;
}

const char *why_unsayable(const json_t *request) {
  return unsayable("", request, false);
}

const char *text(const json_t *object, const char *name) {
  return json_string_value(given(object, name));
}

uint64_t number(const json_t *object, const char *name, uint64_t otherwise) {
  const json_t *value = given(object, name);
  if (json_is_string(value)) {
    return strtoull(json_string_value(value), NULL, 10);
  }
  return value ? (uint64_t)json_integer_value(value) : otherwise;
}

bool yes(const json_t *object, const char *name) {
  return json_is_true(json_object_get(object, name));
}

static double cores(const json_t *object, double otherwise) {
  const json_t *value = given(object, "cpus");
  if (json_is_string(value)) {
    return strtod(json_string_value(value), NULL);
  }
  return value ? json_number_value(value) : otherwise;
}

uint32_t choice(const json_t *object, const char *name, const char *const *names, uint32_t otherwise) {
  const char *chosen = text(object, name);
  if (!chosen) {
    return otherwise;
  }
  for (uint32_t index = 0; names[index]; index++) {
    if (strcmp(names[index], chosen) == 0) {
      return index;
    }
  }
  complain("unknown:", chosen);
}

uint8_t *data(struct call *call, const json_t *value, size_t *out_length) {
  const unsigned char *from = (const unsigned char *)json_string_value(value);
  size_t length = json_string_length(value);
  uint8_t *bytes = keep(call, length + 1);
  size_t count = 0;
  for (size_t at = 0; at < length; at++) {
    /* Characters above U+007F have two bytes in UTF-8. */
    bytes[count++] = from[at] < 0x80 ? from[at] : (uint8_t)((from[at] << 6) | (from[at + 1] & 0x3f));
    at += from[at] >= 0x80;
  }
  *out_length = count;
  return bytes;
}

void *handle(const struct call *call, const char *name) {
  const char *called = text(call->request, name);
  for (enum kind kind = 0; called && kind < KINDS; kind++) {
    if (strcmp(kind_names[kind], name) == 0) {
      return get_handle(kind, called);
    }
  }
  return NULL;
}

static const char *const *strings(struct call *call, const json_t *object, const char *name) {
  const json_t *list = given(object, name);
  if (!list) {
    return NULL;
  }
  const char **strings = keep(call, (json_array_size(list) + 1) * sizeof *strings);
  for (size_t index = 0; index < json_array_size(list); index++) {
    strings[index] = json_string_value(json_array_get(list, index));
  }
  return strings;
}

static char *assignment(struct call *call, const char *key, const char *value) {
  char *text = keep(call, strlen(key) + strlen(value) + 2);
  strcat(strcat(strcpy(text, key), "="), value);
  return text;
}

static const char *const *environment(struct call *call, const json_t *object) {
  const json_t *list = given(object, "env");
  if (!list) {
    return NULL;
  }
  const char **strings = keep(call, (json_array_size(list) + 1) * sizeof *strings);
  for (size_t index = 0; index < json_array_size(list); index++) {
    const json_t *pair = json_array_get(list, index);
    strings[index] = assignment(call, json_string_value(json_array_get(pair, 0)),
                                json_string_value(json_array_get(pair, 1)));
  }
  return strings;
}

static const sandboxset_bind *const *binds(struct call *call, const json_t *object, size_t *out_length) {
  const json_t *list = given(object, "binds");
  *out_length = json_array_size(list);
  const sandboxset_bind **binds = keep(call, (*out_length + 1) * sizeof *binds);
  for (size_t index = 0; index < *out_length; index++) {
    const json_t *from = json_array_get(list, index);
    sandboxset_bind *bind = keep(call, sizeof *bind);
    sandboxset_bind_init(bind, sizeof *bind);
    bind->source = text(from, "source");
    bind->target = text(from, "target");
    bind->writable = yes(from, "writable");
    binds[index] = bind;
  }
  return binds;
}

static sandboxset_limits *limits(struct call *call, const json_t *from) {
  sandboxset_limits *limits = keep(call, sizeof *limits);
  sandboxset_limits_init(limits, sizeof *limits);
  limits->memory_bytes = number(from, "memory_bytes", limits->memory_bytes);
  limits->pids = (uint32_t)number(from, "pids", limits->pids);
  limits->cpus = cores(from, limits->cpus);
  limits->scratch_bytes = number(from, "scratch_bytes", limits->scratch_bytes);
  limits->scratch_inodes = number(from, "scratch_inodes", limits->scratch_inodes);
  limits->open_files = number(from, "open_files", limits->open_files);
  limits->file_bytes = number(from, "file_bytes", limits->file_bytes);
  return limits;
}

static sandboxset_runtime *runtime(struct call *call, const json_t *from) {
  sandboxset_runtime *runtime = keep(call, sizeof *runtime);
  sandboxset_runtime_init(runtime, sizeof *runtime);
  runtime->args = strings(call, from, "args");
  runtime->env = environment(call, from);
  runtime->ready_timeout_ms = number(from, "ready_timeout_ms", runtime->ready_timeout_ms);
  runtime->forks = yes(from, "forks");
  return runtime;
}

sandboxset_spec *read_spec(struct call *call) {
  const json_t *from = given(call->request, "spec");
  sandboxset_spec *spec = keep(call, sizeof *spec);
  sandboxset_spec_init(spec, sizeof *spec);
  spec->root = text(from, "root");
  spec->code_dir = text(from, "code_dir");
  spec->binds = binds(call, from, &spec->binds_length);
  spec->env = environment(call, from);
  spec->limits = given(from, "limits") ? limits(call, given(from, "limits")) : NULL;
  spec->runtime = given(from, "runtime") ? runtime(call, given(from, "runtime")) : NULL;
  json_t *layers = json_object_get(from, "layers");
  if (layers) {
    const char **policies = keep(call, (json_object_size(layers) + 1) * sizeof *policies);
    spec->layers = policies;
    const char *name;
    json_t *policy;
    json_object_foreach(layers, name, policy) {
      *policies++ = assignment(call, name, json_string_value(policy));
    }
  }
  return spec;
}

sandboxset_config *read_config(struct call *call) {
  static const char *const reuses[] = {"keep", "reset", "replace", NULL};
  const json_t *from = given(call->request, "config");
  sandboxset_config *config = keep(call, sizeof *config);
  sandboxset_config_init(config, sizeof *config);
  config->max_size = number(from, "max_size", config->max_size);
  config->min_idle = number(from, "min_idle", config->min_idle);
  config->max_waiters = number(from, "max_waiters", config->max_waiters);
  config->get_timeout_ms = number(from, "get_timeout_ms", config->get_timeout_ms);
  config->create_timeout_ms = number(from, "create_timeout_ms", config->create_timeout_ms);
  config->reuse = choice(from, "reuse", reuses, config->reuse);
  config->max_forks = number(from, "max_forks", config->max_forks);
  config->scratch_dirs = text(from, "scratch_dirs");
  config->parent = text(from, "parent") ? get_handle(SET, text(from, "parent")) : NULL;
  config->clock = text(from, "clock") ? get_handle(CLOCK, text(from, "clock")) : NULL;
  return config;
}

static sandboxset_late_binding *binding(struct call *call, const json_t *from) {
  sandboxset_late_binding *binding = keep(call, sizeof *binding);
  sandboxset_late_binding_init(binding, sizeof *binding);
  binding->env = environment(call, from);
  binding->binds = binds(call, from, &binding->binds_length);
  const json_t *list = given(from, "secrets");
  const sandboxset_secret **secrets = keep(call, (json_array_size(list) + 1) * sizeof *secrets);
  for (size_t index = 0; index < json_array_size(list); index++) {
    const json_t *pair = json_array_get(list, index);
    sandboxset_secret *secret = keep(call, sizeof *secret);
    sandboxset_secret_init(secret, sizeof *secret);
    secret->name = json_string_value(json_array_get(pair, 0));
    secret->bytes = data(call, json_array_get(pair, 1), &secret->length);
    secrets[index] = secret;
  }
  binding->secrets = secrets;
  binding->secrets_length = json_array_size(list);
  list = given(from, "files");
  const sandboxset_late_file **files = keep(call, (json_array_size(list) + 1) * sizeof *files);
  for (size_t index = 0; index < json_array_size(list); index++) {
    const json_t *row = json_array_get(list, index);
    sandboxset_late_file *file = keep(call, sizeof *file);
    sandboxset_late_file_init(file, sizeof *file);
    file->path = text(row, "path");
    file->bytes = data(call, json_object_get(row, "data"), &file->length);
    file->mode = (uint32_t)number(row, "mode", file->mode);
    files[index] = file;
  }
  binding->files = files;
  binding->files_length = json_array_size(list);
  const json_t *tighter = given(from, "limits");
  if (tighter) {
    sandboxset_late_limits *limits = keep(call, sizeof *limits);
    sandboxset_late_limits_init(limits, sizeof *limits);
    limits->memory_bytes = number(tighter, "memory_bytes", 0);
    limits->pids = (uint32_t)number(tighter, "pids", 0);
    limits->cpus = cores(tighter, 0);
    binding->limits = limits;
  }
  return binding;
}

sandboxset_get_options *read_get_options(struct call *call) {
  static const char *const acquires[] = {"any", "reuse_only", "fresh_only", NULL};
  const json_t *from = call->request;
  sandboxset_get_options *options = keep(call, sizeof *options);
  sandboxset_get_options_init(options, sizeof *options);
  options->timeout_ms = number(from, "timeout_ms", options->timeout_ms);
  options->no_wait = yes(from, "no_wait");
  options->acquire = choice(from, "acquire", acquires, options->acquire);
  options->cancel = handle(call, "cancel");
  options->binding = given(from, "binding") ? binding(call, given(from, "binding")) : NULL;
  return options;
}

sandboxset_command *read_command(struct call *call) {
  static const char *const overflows[] = {"truncate", "kill", NULL};
  const json_t *from = given(call->request, "command");
  sandboxset_command *command = keep(call, sizeof *command);
  sandboxset_command_init(command, sizeof *command);
  command->args = strings(call, from, "args");
  command->env = environment(call, from);
  command->cwd = text(from, "cwd");
  const json_t *input = given(from, "stdin");
  if (json_is_string(input)) {
    command->stdin_mode = SANDBOXSET_STDIN_BYTES;
    command->stdin_bytes = data(call, input, &command->stdin_length);
  } else if (input) {
    command->stdin_mode = SANDBOXSET_STDIN_STREAM;
  }
  command->on_overflow = choice(from, "on_overflow", overflows, command->on_overflow);
  command->timeout_ms = number(from, "timeout_ms", command->timeout_ms);
  command->grace_ms = number(from, "grace_ms", command->grace_ms);
  command->output_bytes = number(from, "output_bytes", command->output_bytes);
  command->memory_bytes = number(from, "memory_bytes", command->memory_bytes);
  command->cpu_seconds = number(from, "cpu_seconds", command->cpu_seconds);
  command->cancel = text(from, "cancel") ? get_handle(CANCEL, text(from, "cancel")) : NULL;
  return command;
}

sandboxset_mock_fault *read_fault(struct call *call) {
  static const char *const kinds[] = {"fail", "hang", "die", "delay", NULL};
  const json_t *from = given(call->request, "fault");
  if (!from) {
    return NULL;
  }
  sandboxset_mock_fault *fault = keep(call, sizeof *fault);
  sandboxset_mock_fault_init(fault, sizeof *fault);
  fault->kind = choice(from, "kind", kinds, fault->kind);
  fault->message = text(from, "message");
  fault->delay_ms = number(from, "delay_ms", fault->delay_ms);
  return fault;
}
