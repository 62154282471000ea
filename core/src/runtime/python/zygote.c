/*
 * The part of the Python runtime that is not Python: the fork server of sandboxset_zygote.h, for ctypes.
 *
 * It has no dependencies, not even the C library that it was built with: what it calls is found in the one that the
 * interpreter runs on, whichever that is.
 */
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

/* The interpreter's own steps around each fork, and what a child does that nobody waits for yet. */
struct steps {
    void (*before)(void);
    void (*in_server)(void);
    void (*in_child)(void);
    void (*ahead)(void);
};

/* Serves forks. As sandboxset_zygote_serve. */
__attribute__((visibility("default"))) int sandboxset_python_serve(struct steps *steps,
                                                                   struct sandboxset_zygote_child *child);

static void run_before(void *steps) { ((struct steps *)steps)->before(); }

static void run_in_server(void *steps) { ((struct steps *)steps)->in_server(); }

/* Once in each child: whoever hears of a fork hears of it once. */
static void run_in_child(struct steps *steps) {
    if (steps->in_child) steps->in_child();
    steps->in_child = NULL;
}

static void run_ahead(void *steps) {
    run_in_child(steps);
    ((struct steps *)steps)->ahead();
}

int sandboxset_python_serve(struct steps *steps, struct sandboxset_zygote_child *child) {
    /* The interpreter's handlers are part of its state: a child that lost them would have its own idea of them. */
    struct sandboxset_zygote_hooks hooks = {run_before, run_in_server, steps, 1, run_ahead};
    int result = sandboxset_zygote_serve(&hooks, child);
    if (result == 1) run_in_child(steps);
    return result;
}
