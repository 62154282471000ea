/*
 * A runtime that can be forked, in C: it prepares something once, and each fork of it answers requests about that in
 * a sandbox of its own. Give its program to a set as a runtime that `forks`, and that set to another as its parent.
 *
 *     cc -O2 -static -I include ffi/examples/zygote.c -o zygote
 *
 * Its argument is how many MiB it prepares, 8 if there is none.
 */
#define _GNU_SOURCE
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/un.h>

/* What takes long to prepare, and is there in every child. */
static char *prepared;
static int requests;

static void prepare(size_t megabytes) {
    size_t size = megabytes << 20;
    prepared = malloc(size);
    if (prepared == NULL) exit(1);
    memset(prepared, 'p', size);
}

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (path == NULL || listener < 0) exit(1);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) exit(1);
    return listener;
}

static void list_descriptors(char *answer, size_t room) {
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[300], target[200];
        ssize_t length;
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir)) continue;
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        snprintf(answer + strlen(answer), room - strlen(answer), "%s %s\n", entry->d_name, target);
    }
    if (dir != NULL) closedir(dir);
}

/* Answers one request; returns the length of the answer. */
static size_t answer(const struct sandboxset_zygote_child *child, const char *request, char *answer, size_t room) {
    answer[0] = 0;
    requests++;
    if (!strcmp(request, "state")) {
        snprintf(answer, room, "%c %d", prepared[5000000], requests);
    } else if (!strcmp(request, "args")) {
        for (int i = 0; i < child->argc; i++)
            snprintf(answer + strlen(answer), room - strlen(answer), "%s\n", child->argv[i]);
    } else if (!strcmp(request, "env")) {
        for (char **variable = environ; *variable; variable++)
            snprintf(answer + strlen(answer), room - strlen(answer), "%s\n", *variable);
    } else if (!strcmp(request, "cwd")) {
        if (getcwd(answer, room) == NULL) strcpy(answer, "none");
    } else if (!strcmp(request, "fds")) {
        list_descriptors(answer, room);
    } else if (!strncmp(request, "read ", 5)) {
        int file = open(request + 5, O_RDONLY | O_CLOEXEC);
        size_t length = 0;
        ssize_t got;
        while (file >= 0 && (got = read(file, answer + length, room - length)) > 0) length += (size_t)got;
        if (file >= 0) close(file);
        return length;
    } else if (!strncmp(request, "use ", 4)) {
        size_t size = (size_t)atol(request + 4) << 20;
        char *memory = malloc(size);
        if (memory != NULL) memset(memory, 1, size);
        snprintf(answer, room, "%d", memory ? memory[size - 1] : 0);
        free(memory);
    } else if (!strcmp(request, "random")) {
        /* From the kernel, from each generator of the C library, and what the kernel gave at the start. */
        unsigned char bytes[32], *given = (unsigned char *)getauxval(AT_RANDOM);
        if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes || given == NULL) exit(1);
        for (size_t i = 0; i < sizeof bytes; i++) snprintf(answer + 2 * i, room - 2 * i, "%02x", bytes[i]);
        snprintf(answer + strlen(answer), room - strlen(answer), "\n%x%x\n%lx%lx\n%lx%lx\n", (unsigned)rand(),
                 (unsigned)rand(), random(), random(), lrand48(), lrand48());
        for (int i = 0; i < 16; i++) snprintf(answer + strlen(answer), room - strlen(answer), "%02x", given[i]);
    } else if (!strcmp(request, "end")) {
        exit(7);
    } else {
        snprintf(answer, room, "%s", request);
    }
    return strlen(answer);
}

static int transfer(int fd, char *bytes, size_t length, int writing) {
    while (length > 0) {
        ssize_t done = writing ? send(fd, bytes, length, MSG_NOSIGNAL) : read(fd, bytes, length);
        if (done <= 0) return -1;
        bytes += done;
        length -= (size_t)done;
    }
    return 0;
}

/* Serves one connection at a time: four bytes of length, then the request; and so the answers. */
static void serve_requests(const struct sandboxset_zygote_child *child, int listener) {
    static char request[65536], reply[65536];
    for (;;) {
        uint32_t length;
        int stream = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        while (stream >= 0 && !transfer(stream, (char *)&length, 4, 0) && length < sizeof request &&
               !transfer(stream, request, length, 0)) {
            request[length] = 0;
            length = (uint32_t)answer(child, request, reply, sizeof reply);
            if (transfer(stream, (char *)&length, 4, 1) || transfer(stream, reply, length, 1)) break;
        }
        if (stream >= 0) close(stream);
    }
}

int main(int argc, char **argv) {
    struct sandboxset_zygote_child child = {argc, argv, environ};
    prepare(argc > 1 ? strtoul(argv[1], NULL, 10) : 8);
    do {
        sandboxset_zygote_ready();
        if (sandboxset_zygote_serve(NULL, &child) != 1) return 1;
        /* From here on each child runs by itself; one that has this variable is to be forked in its turn. */
    } while (getenv("SANDBOXSET_FORK_FD") != NULL);
    printf("forked\n");
    fflush(stdout);
    int listener = listen_on(getenv("SANDBOXSET_SOCKET"));
    sandboxset_zygote_ready();
    serve_requests(&child, listener);
    return 0;
}
