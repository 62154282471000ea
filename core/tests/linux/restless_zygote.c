/*
 * The example fork server, but its forks do not wait for what they are told: as its argument says they `leave`, or
 * `speak` unasked, before (`-at-once`) or after they said that they are there. Or the server can `deny` every fork.
 */
#define _GNU_SOURCE
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

static const char *mode;

/* In a fork that nobody waits for. */
static void ahead(void *unused) {
    (void)unused;
    if (!strcmp(mode, "leave-at-once")) _exit(3);
    if (!strcmp(mode, "speak-at-once")) sandboxset_zygote_ready();
    if ((strcmp(mode, "leave") && strcmp(mode, "speak")) || fork() != 0) return;
    /* Most probably it has said by then that it is there. */
    usleep(20000);
    if (!strcmp(mode, "leave")) kill(getppid(), SIGKILL);
    if (!strcmp(mode, "speak")) sandboxset_zygote_ready();
    _exit(0);
}

/* In the server, whenever it forks. */
static void before(void *unused) {
    int control = atoi(getenv("SANDBOXSET_FORK_FD"));
    uint64_t id;
    (void)unused;
    for (id = 0; !strcmp(mode, "deny") && id < 64; id++) ssz_send(control, SSZ_FAILED, id, 1, "no");
}

static int serve_restlessly(const struct sandboxset_zygote_hooks *none, struct sandboxset_zygote_child *child) {
    static const struct sandboxset_zygote_hooks hooks = {before, NULL, NULL, 0, ahead};
    (void)none;
    return sandboxset_zygote_serve(&hooks, child);
}

#define main zygote_main
#define sandboxset_zygote_serve serve_restlessly
#include "zygote.c"
#undef main

int main(int argc, char **argv) {
    mode = argc > 1 ? argv[1] : "";
    return zygote_main(1, argv);
}
