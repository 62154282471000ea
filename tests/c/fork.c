/* A forked child: every call is refused, every free does nothing, and the parent notices nothing. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void child(sandboxset_backend *backend, sandboxset *set, sandboxset_ref *ref) {
  sandboxset_ref *none = NULL;
  sandboxset_backend *other = NULL;
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_get_or_create_unpaused(set, NULL, &none, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_put(ref, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_ref_destroy(ref, "from the child", &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_close(set, 0, &error));
  FAILS(SANDBOXSET_FORKED_PROCESS, sandboxset_backend_mock_new(&other, &error));
  CHECK(none == NULL && other == NULL);
  CHECK(sandboxset_version_number() == SANDBOXSET_VERSION_NUMBER);
  sandboxset_ref_free(ref);
  sandboxset_free(set);
  sandboxset_backend_free(backend);
  /* Passed. Ends by a signal, because a leak check at exit would find what only the parent's threads know. */
  raise(SIGKILL);
}

int main(void) {
  sandboxset_backend *backend = NULL;
  sandboxset *set = mock_set(1, &backend);
  sandboxset_ref *ref = get(set);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    child(backend, set, ref);
    _exit(1);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  put(ref);
  CHECK(stats_of(set).idle == 1);
  close_and_free(set);
  sandboxset_backend_free(backend);
  return 0;
}
