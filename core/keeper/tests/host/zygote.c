/*
 * A fork server. With the argument `clings` it clings to its forks: whoever lets them in does not reap, so that a dead
 * process stays in each of their sandboxes, whose init cannot end before that has.
 */
#define _GNU_SOURCE
static void (ssz_run_joiner)(void *argument);
/* Only where it is defined, not where it is named. */
#define ssz_run_joiner(argument) ssz_honest_joiner(argument)
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"
#undef ssz_run_joiner

static int clings;

static void ssz_run_joiner(void *argument) {
    struct ssz_slot *slot = argument;
    if (!clings) ssz_honest_joiner(slot);
    SSZ_CALL3(SYS_setns, slot->fds[0], SSZ_NAMESPACES, 0);
    ssz_clone(SSZ_CLONE_VM | SSZ_CLONE_CHILD_SETTID | SSZ_CLONE_CHILD_CLEARTID | SIGCHLD, slot->memory + SSZ_STACKS,
              &slot->forker, ssz_run_forker, slot);
    SSZ_CALL3(SYS_close_range, 0, ~0u, 0);
    for (;;) SSZ_CALL3(SYS_pause, 0, 0, 0);
}

int main(int argc, char **argv) {
    struct sandboxset_zygote_child child;
    clings = argc > 1 && !strcmp(argv[1], "clings");
    sandboxset_zygote_ready();
    if (sandboxset_zygote_serve(NULL, &child) != 1) return 1;
    sandboxset_zygote_ready();
    for (;;) pause();
}
