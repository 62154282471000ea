/* Answers that come by callback: each is awaited, and a second one ends the test. */
#ifndef AWAIT_H
#define AWAIT_H

#include <dirent.h>
#include <sched.h>
#include <time.h>

#include "check.h"

/* Longer than anything that is not a hang, in seconds and milliseconds. */
enum { HANG_S = 60, HANG_MS = HANG_S * 1000 };

/* What a callback was given. Lives until no more callback can come, so that a second one is noticed. */
struct answer {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int calls;
  pthread_t thread;
  sandboxset_code code;
  void *result;
  uint64_t number;
  sandboxset_error *error;
};

#define ANSWER {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static inline void answered(struct answer *answer, sandboxset_code code, void *result, uint64_t number,
                            sandboxset_error *failure) {
  CHECK((code == SANDBOXSET_OK) == (failure == NULL));
  CHECK(code == SANDBOXSET_OK || (result == NULL && number == 0));
  CHECK(pthread_mutex_lock(&answer->lock) == 0);
  answer->calls++;
  CHECK(answer->calls == 1);
  answer->thread = pthread_self();
  answer->code = code;
  answer->result = result;
  answer->number = number;
  answer->error = failure;
  CHECK(pthread_cond_broadcast(&answer->changed) == 0);
  CHECK(pthread_mutex_unlock(&answer->lock) == 0);
}

#define ANSWERED_BY(name, type)                                                                      \
  static inline void name(void *user_data, sandboxset_code code, type *result, sandboxset_error *failure) { \
    answered(user_data, code, result, 0, failure);                                                   \
  }

ANSWERED_BY(on_set, sandboxset)
ANSWERED_BY(on_ref, sandboxset_ref)
ANSWERED_BY(on_output, sandboxset_output)
ANSWERED_BY(on_process, sandboxset_process)
ANSWERED_BY(on_connection, sandboxset_connection)
ANSWERED_BY(on_bytes, sandboxset_bytes)
ANSWERED_BY(on_dir, sandboxset_dir)
ANSWERED_BY(on_event, sandboxset_event)

static inline void on_done(void *user_data, sandboxset_code code, sandboxset_error *failure) {
  answered(user_data, code, NULL, 0, failure);
}

static inline void on_prewarm(void *user_data, sandboxset_code code, uint64_t idle, sandboxset_error *failure) {
  answered(user_data, code, NULL, idle, failure);
}

static inline void on_close_report(void *user_data, sandboxset_code code, uint64_t destroyed,
                                   sandboxset_tally *survivors, sandboxset_error *failure) {
  answered(user_data, code, survivors, destroyed, failure);
}

/* Waits for the callback; its error becomes that of the calling thread, as if the call itself had failed. */
static inline sandboxset_code await(struct answer *answer) {
  struct timespec until;
  CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
  until.tv_sec += HANG_S;
  CHECK(pthread_mutex_lock(&answer->lock) == 0);
  while (answer->calls == 0) {
    CHECK(pthread_cond_timedwait(&answer->changed, &answer->lock, &until) == 0);
  }
  CHECK(!pthread_equal(answer->thread, pthread_self()));
  error = answer->error;
  answer->error = NULL;
  sandboxset_code code = answer->code;
  CHECK(pthread_mutex_unlock(&answer->lock) == 0);
  return code;
}

static inline int is_answered(struct answer *answer) {
  CHECK(pthread_mutex_lock(&answer->lock) == 0);
  int calls = answer->calls;
  CHECK(pthread_mutex_unlock(&answer->lock) == 0);
  return calls != 0;
}

/* Waits for something that another thread is about to do, and that nothing tells. */
#define UNTIL(condition)                                                                             \
  do {                                                                                               \
    time_t started_ = time(NULL);                                                                    \
    while (!(condition)) {                                                                           \
      CHECK(time(NULL) - started_ < HANG_S || !"this never became true: " #condition);               \
      sched_yield();                                                                                 \
    }                                                                                                \
  } while (0)

/* How many threads this process has, without the one of ThreadSanitizer. */
static inline int threads_now(void) {
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks);
  int count = 0;
  for (struct dirent *task; (task = readdir(tasks));) {
    count += task->d_name[0] != '.';
  }
  closedir(tasks);
#ifdef __SANITIZE_THREAD__
  count--;
#endif
  return count;
}

/* Waits until the library has no thread: from then on no callback can come, so none came twice. `own` are the test's. */
static inline void until_quiet(int own) {
  UNTIL(threads_now() <= own);
}

#endif
