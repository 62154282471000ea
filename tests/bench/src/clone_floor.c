/*
 * The floor of forking: the very process that is forked, with all that it has prepared, but cloned plainly, where it is.
 * For each byte that it hears it forks, and the child answers with a byte and ends.
 */
#define main zygote_main
#include "zygote.c"
#undef main

int main(int argc, char **argv) {
    char byte;
    prepare(argc > 1 ? strtoul(argv[1], NULL, 10) : 8);
    while (read(0, &byte, 1) == 1) {
        pid_t child = fork();
        if (child == 0) _exit(write(1, &byte, 1) == 1 ? 0 : 1);
        if (child < 0) return 1;
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    }
    return 0;
}
