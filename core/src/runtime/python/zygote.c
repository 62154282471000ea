/*
 * The part of the Python runtime that is not Python: the fork server of sandboxset_zygote.h, for ctypes.
 *
 * It has no dependencies, not even the C library that it was built with: what it calls is found in the one that the
 * interpreter runs on, whichever that is.
 */
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

/* Serves forks, with the interpreter's own steps around each. As sandboxset_zygote_serve. */
__attribute__((visibility("default"))) int sandboxset_python_serve(void (*before)(void), void (*in_server)(void),
                                                                   void (*in_child)(void),
                                                                   struct sandboxset_zygote_child *child);

struct steps {
    void (*before)(void);
    void (*in_server)(void);
};

static void run_before(void *steps) { ((struct steps *)steps)->before(); }

static void run_in_server(void *steps) { ((struct steps *)steps)->in_server(); }

int sandboxset_python_serve(void (*before)(void), void (*in_server)(void), void (*in_child)(void),
                            struct sandboxset_zygote_child *child) {
    struct steps steps = {before, in_server};
    /* The interpreter's handlers are part of its state: a child that lost them would have its own idea of them. */
    struct sandboxset_zygote_hooks hooks = {run_before, run_in_server, &steps, 1};
    int result = sandboxset_zygote_serve(&hooks, child);
    if (result == 1) in_child();
    return result;
}
