/* A forked child: every call is refused, every free does nothing, and the parent notices nothing. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "await.h"

/* Of the parent's get, which is under way when it forks. */
static struct answer waiting = ANSWER;

static void child(sandboxset_backend *backend, sandboxset *set, sandboxset_ref *ref) {
  sandboxset_ref *none = NULL;
  sandboxset_backend *other = NULL;
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_get_or_create_unpaused(set, NULL, &none, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_destroy(ref, "from the child", &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_close(set, 0, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_backend_mock_new(&other, &error));
  struct answer never = ANSWER;
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_get_or_create_unpaused_async(set, NULL, on_ref, &never, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_put_async(ref, on_done, &never, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_read_file_async(ref, "a", 1, on_bytes, &never, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_close_async(set, 0, on_done, &never, &error));
  CHECK(none == NULL && other == NULL);
  CHECK(sandboxset_version_number() == SANDBOXSET_VERSION_NUMBER);
  sandboxset_ref_free(ref);
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  /* There is no thread here from which a callback could come. */
  CHECK(threads_now() == 1 && !is_answered(&never) && !is_answered(&waiting));
  /* Passed. Ends by a signal, because a leak check at exit would find what only the parent's threads know. */
  raise(SIGKILL);
}

int main(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_get_or_create_unpaused_async(set, NULL, on_ref, &waiting, &error));
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    child(backend, set, ref);
    _exit(1);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  CHECK(!is_answered(&waiting));
  put(ref);
  OK(await(&waiting));
  put(waiting.result);
  CHECK(stats_of(set).idle == 1);
  close_and_free(set);
  sandboxset_backend_free(backend);
  until_quiet(1);
  return 0;
}
