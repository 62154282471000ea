/* Gets by callback: every way in which one can end, exactly once. */
#include "await.h"

static sandboxset_get_options options_of(uint64_t timeout_ms, const sandboxset_cancel *cancel) {
  sandboxset_get_options options;
  sandboxset_get_options_init(&options, sizeof options);
  options.timeout_ms = timeout_ms;
  options.cancel = cancel;
  return options;
}

static void start(sandboxset *set, const sandboxset_get_options *options, struct answer *answer) {
  OK(sandboxset_get_or_create_unpaused_async(set, options, on_ref, answer, &error));
}

static sandboxset_ref *ref_of(struct answer *answer) {
  OK(await(answer));
  CHECK(answer->result);
  return answer->result;
}

static void created_idle_and_waited_for(void) {
  sandboxset *set = mock_set(1, NULL);
  struct answer created = ANSWER, idle = ANSWER, queued = ANSWER, unwanted = ANSWER;
  start(set, NULL, &created);
  sandboxset_ref *ref = ref_of(&created);
  uint64_t id = id_of(ref);
  put(ref);
  start(set, NULL, &idle);
  ref = ref_of(&idle);
  CHECK(id_of(ref) == id);
  start(set, NULL, &queued);
  CHECK(stats_of(set).waiting == 1 && !is_answered(&queued));
  put(ref);
  ref = ref_of(&queued);
  CHECK(id_of(ref) == id && stats_of(set).created == 1 && stats_of(set).gets == 3);

  INVALID("callback", sandboxset_get_or_create_unpaused_async(set, NULL, NULL, &unwanted, &error));
  sandboxset_get_options options = options_of(0, NULL);
  options.acquire = 77;
  INVALID("acquire", sandboxset_get_or_create_unpaused_async(set, &options, on_ref, &unwanted, &error));
  INVALID("set", sandboxset_get_or_create_unpaused_async(NULL, NULL, on_ref, &unwanted, &error));
  put(ref);
  close_and_free(set);
  until_quiet(1);
  CHECK(!is_answered(&unwanted));
}

static void at_once_or_in_time(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *held = get(set);
  struct answer no_time = ANSWER, late = ANSWER, exhausted = ANSWER;
  sandboxset_get_options options = options_of(0, NULL);
  start(set, &options, &no_time);
  FAILS(SANDBOXSET_TIMEOUT, await(&no_time));
  options.timeout_ms = 20;
  start(set, &options, &late);
  FAILS(SANDBOXSET_TIMEOUT, await(&late));
  options.no_wait = 1;
  start(set, &options, &exhausted);
  FAILS(SANDBOXSET_EXHAUSTED, await(&exhausted));
  put(held);
  close_and_free(set);
  until_quiet(1);
}

static void cancelled_before_during_and_after(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *held = get(set);
  sandboxset_cancel *cancel = NULL;
  OK(sandboxset_cancel_new(&cancel, &error));
  sandboxset_get_options options = options_of(SANDBOXSET_FOREVER_MS, cancel);
  struct answer during = ANSWER, before = ANSWER, after = ANSWER;
  start(set, &options, &during);
  OK(sandboxset_cancel_now(cancel, &error));
  FAILS(SANDBOXSET_CANCELLED, await(&during));
  start(set, &options, &before);
  FAILS(SANDBOXSET_CANCELLED, await(&before));
  sandboxset_cancel_free(cancel);

  OK(sandboxset_cancel_new(&cancel, &error));
  options.cancel = cancel;
  start(set, &options, &after);
  put(held);
  held = ref_of(&after);
  OK(sandboxset_cancel_now(cancel, &error));
  sandboxset_cancel_free(cancel);
  put(held);
  CHECK(stats_of(set).waiting == 0 && stats_of(set).idle == 1);
  close_and_free(set);
  until_quiet(1);
}

static void refused_and_closed(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = NULL;
  OK(sandboxset_backend_mock_new(&backend, &error));
  sandboxset_config config;
  sandboxset_config_init(&config, sizeof config);
  config.max_size = 1;
  config.max_waiters = 2;
  OK(sandboxset_new(backend, NULL, &config, &set, &error));
  sandboxset_ref *held = get(set);
  sandboxset_get_options options = options_of(SANDBOXSET_FOREVER_MS, NULL);
  struct answer first = ANSWER, second = ANSWER, third = ANSWER, late = ANSWER, closing = ANSWER;
  start(set, &options, &first);
  start(set, &options, &second);
  start(set, &options, &third);
  FAILS(SANDBOXSET_OVERLOADED, await(&third));
  OK(sandboxset_close_async(set, HANG_MS, on_done, &closing, &error));
  FAILS(SANDBOXSET_CLOSED, await(&first));
  FAILS(SANDBOXSET_CLOSED, await(&second));
  start(set, &options, &late);
  FAILS(SANDBOXSET_CLOSED, await(&late));
  CHECK(!is_answered(&closing));
  put(held);
  OK(await(&closing));
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  until_quiet(1);
}

static void a_freed_set_ends_its_gets(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *held = get(set);
  sandboxset_get_options options = options_of(SANDBOXSET_FOREVER_MS, NULL);
  struct answer waiting = ANSWER;
  start(set, &options, &waiting);
  sandboxset_free(set);
  FAILS(SANDBOXSET_CLOSED, await(&waiting));
  put(held);
  until_quiet(1);
}

static void what_the_backend_fails_at(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(2, &backend);
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_CREATE, 1, &fault, &error));
  struct answer failed = ANSWER, revived = ANSWER, unbound = ANSWER;
  start(set, NULL, &failed);
  FAILS(SANDBOXSET_CREATE_FAILED, await(&failed));

  /* An idle sandbox that dies when it is unpaused is replaced by another, without the caller's noticing. */
  sandboxset_ref *ref = get(set);
  uint64_t id = id_of(ref);
  put(ref);
  uint64_t calls = 0;
  OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_UNPAUSE, &calls, &error));
  fault.kind = SANDBOXSET_MOCK_DIE;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_UNPAUSE, calls + 1, &fault, &error));
  start(set, NULL, &revived);
  ref = ref_of(&revived);
  CHECK(id_of(ref) != id && stats_of(set).misses_unhealthy == 1);
  put(ref);

  fault.kind = SANDBOXSET_MOCK_FAIL;
  OK(sandboxset_mock_fault_always(backend, SANDBOXSET_MOCK_BIND, &fault, &error));
  sandboxset_secret secret;
  sandboxset_secret_init(&secret, sizeof secret);
  secret.name = "token";
  secret.bytes = (const uint8_t *)"hush";
  secret.length = 4;
  const sandboxset_secret *secrets[] = {&secret};
  sandboxset_late_binding binding;
  sandboxset_late_binding_init(&binding, sizeof binding);
  binding.secrets = secrets;
  binding.secrets_length = 1;
  sandboxset_get_options options = options_of(HANG_MS, NULL);
  options.binding = &binding;
  start(set, &options, &unbound);
  sandboxset_code code = await(&unbound);
  CHECK(code != SANDBOXSET_OK && strcmp(sandboxset_error_phase(error), "bind") == 0);
  sandboxset_error_free(error);
  error = NULL;
  close_and_free(set);
  sandboxset_backend_free(backend);
  until_quiet(1);
}

/* An unpause that hangs keeps neither the caller nor any other get. */
static void a_hanging_unpause_delays_nobody_else(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(2, &backend), *other = mock_set(1, NULL);
  put(get(set));
  uint64_t calls = 0, begun = 0;
  OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_UNPAUSE, &calls, &error));
  sandboxset_mock_fault fault;
  sandboxset_mock_fault_init(&fault, sizeof fault);
  fault.kind = SANDBOXSET_MOCK_HANG;
  OK(sandboxset_mock_fault_at(backend, SANDBOXSET_MOCK_UNPAUSE, calls + 1, &fault, &error));
  struct answer hangs = ANSWER, beside = ANSWER, elsewhere = ANSWER;
  start(set, NULL, &hangs);
  UNTIL((OK(sandboxset_mock_calls(backend, SANDBOXSET_MOCK_UNPAUSE, &begun, &error)), begun == calls + 1));
  start(set, NULL, &beside);
  put(ref_of(&beside));
  sandboxset_ref *held = get(other);
  start(other, NULL, &elsewhere);
  put(held);
  put(ref_of(&elsewhere));
  CHECK(!is_answered(&hangs));
  OK(sandboxset_mock_release_hangs(backend, &error));
  put(ref_of(&hangs));
  close_and_free(set);
  close_and_free(other);
  sandboxset_backend_free(backend);
  until_quiet(1);
}

int main(void) {
  created_idle_and_waited_for();
  at_once_or_in_time();
  cancelled_before_during_and_after();
  refused_and_closed();
  a_freed_set_ends_its_gets();
  what_the_backend_fails_at();
  a_hanging_unpause_delays_nobody_else();
  return 0;
}
