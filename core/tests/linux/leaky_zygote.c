/*
 * The example fork server with as much about it as a process can have: locks of every kind, timers, pending and blocked
 * signals, handlers, descriptors, another directory and mask of files. None of that is its children's.
 *
 * SIGUSR1 makes it give up its locks, SIGUSR2 use memory until it is killed for it. With the argument `locked` it says
 * which locks another process has.
 */
#define main zygote_main
#include "zygote.c"
#undef main

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>

static const char *const names[3] = {"/scratch/flock", "/scratch/fcntl", "/scratch/ofd"};
static int locks[3];

static int lock(int number) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    locks[number] = open(names[number], O_CREAT | O_RDWR, 0644);
    if (number == 0) return flock(locks[0], LOCK_EX | LOCK_NB);
    return fcntl(locks[number], number == 1 ? F_SETLK : F_OFD_SETLK, &whole);
}

/* Each tick of a timer is one byte in a file, so that a test sees that they run here. */
static void tick(int number) {
    int file = open("/scratch/ticks", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    (void)number;
    if (file < 0 || write(file, ".", 1) != 1) _exit(2);
    close(file);
}

static void unlock(int number) {
    (void)number;
    for (int i = 0; i < 3; i++) close(locks[i]);
}

static void use_all(int number) {
    (void)number;
    for (;;) {
        char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED) memset(memory, 1, 1 << 20);
    }
}

static void set_signals(void) {
    struct sigaction ticking = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigset_t blocked;
    sigaction(SIGALRM, &ticking, NULL);
    sigaction(SIGVTALRM, &ticking, NULL);
    sigaction(SIGPROF, &ticking, NULL);
    signal(SIGUSR1, unlock);
    signal(SIGUSR2, use_all);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGTERM);
    raise(SIGRTMIN + 3);
}

static void set_timers(void) {
    struct itimerval interval = {{0, 20000}, {0, 20000}};
    struct itimerspec soon = {{0, 20000000}, {0, 20000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    timer_t timer;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    if (setitimer(ITIMER_REAL, &interval, NULL) || setitimer(ITIMER_VIRTUAL, &interval, NULL) ||
        setitimer(ITIMER_PROF, &interval, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
        timer_settime(timer, 0, &soon, NULL) || fd < 0 || timerfd_settime(fd, 0, &soon, NULL))
        exit(1);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "locked")) {
        for (int i = 0; i < 3; i++)
            if (lock(i)) printf("%s\n", names[i]);
        return 0;
    }
    if (chdir("/tmp") || setenv("OF_THE_SERVER", "1", 1)) return 1;
    umask(0);
    for (int i = 0; i < 3; i++)
        if (lock(i)) return 1;
    set_signals();
    set_timers();
    return zygote_main(argc, argv);
}
