/*
 * A fork server whose forks run programs: a request is the working directory, then the program and its arguments, each
 * with a final NUL. The answer is a line, `exited CODE` or `signaled NUMBER`, and what the program wrote.
 *
 * So a probe runs as a child of a process that was forked, with what it inherits of that.
 */
#define _GNU_SOURCE
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

#include <sys/un.h>

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (path == NULL || listener < 0) exit(1);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) exit(1);
    return listener;
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

static void become(char *request, size_t length, int output) {
    char *args[64], *at = request;
    int count = 0;
    while (at < request + length && count < 63) {
        args[count++] = at;
        at += strlen(at) + 1;
    }
    args[count] = NULL;
    int input = open("/dev/null", O_RDONLY);
    if (count < 2 || input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) _exit(99);
    setsid();
    /* What cannot be entered is as good as what leads nowhere. */
    if (args[0][0] != 0 && chdir(args[0])) _exit(0);
    syscall(SYS_close_range, 3, ~0u, 0);
    /* Only runtimes have it. */
    unsetenv("SANDBOXSET_SOCKET");
    execv(args[1], args + 1);
    _exit(98);
}

/* Runs a program; returns the length of the answer. */
static size_t run(char *request, size_t length, char *answer, size_t room) {
    int output[2], status = 0;
    size_t said = 64;
    ssize_t got;
    char line[64];
    if (pipe2(output, O_CLOEXEC)) exit(1);
    pid_t child = fork();
    if (child < 0) exit(1);
    if (child == 0) become(request, length, output[1]);
    close(output[1]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    /* Everybody but the init and this process, so that nobody is left for the next one, nor holds the pipe. */
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    while (said < room && (got = read(output[0], answer + said, room - said)) > 0) said += (size_t)got;
    close(output[0]);
    snprintf(line, sizeof line, WIFEXITED(status) ? "exited %d\n" : "signaled %d\n",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    memcpy(answer, line, strlen(line));
    memmove(answer + strlen(line), answer + 64, said - 64);
    return strlen(line) + said - 64;
}

int main(void) {
    static char request[65536], reply[65536];
    struct sandboxset_zygote_child child;
    sandboxset_zygote_ready();
    if (sandboxset_zygote_serve(NULL, &child) != 1) return 1;
    int listener = listen_on(getenv("SANDBOXSET_SOCKET"));
    sandboxset_zygote_ready();
    for (;;) {
        uint32_t length;
        int stream = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        while (stream >= 0 && !transfer(stream, (char *)&length, 4, 0) && length < sizeof request &&
               !transfer(stream, request, length, 0)) {
            request[length] = 0;
            length = (uint32_t)run(request, length, reply, sizeof reply);
            if (transfer(stream, (char *)&length, 4, 1) || transfer(stream, reply, length, 1)) break;
        }
        if (stream >= 0) close(stream);
    }
}
