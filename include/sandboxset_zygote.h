/*
 * sandboxset_zygote.h: a fork server in one header, for runtimes that SandboxSet forks. No dependencies.
 *
 *     #define SANDBOXSET_ZYGOTE_IMPLEMENTATION   (in one C file)
 *     #include "sandboxset_zygote.h"
 *
 *     int main(void) {
 *         load_everything();                      // what all children share
 *         sandboxset_zygote_ready();
 *         struct sandboxset_zygote_child child;
 *         if (sandboxset_zygote_serve(NULL, &child) != 1) return 1;
 *         // From here on each child runs by itself, in a sandbox of its own.
 *         int listener = listen_on(getenv("SANDBOXSET_SOCKET"));
 *         sandboxset_zygote_ready();
 *         answer_requests(listener);
 *     }
 *
 * docs/fork-protocol.md describes what is said between the two sides. This version speaks version 1, on x86-64.
 * The process that serves must have one thread.
 *
 * With SANDBOXSET_ZYGOTE_HUGE_PAGES=1 in the environment of the server, what it has prepared is put on huge pages
 * before it serves (Linux 6.1), which makes forks of a large one many times faster.
 */
#ifndef SANDBOXSET_ZYGOTE_H
#define SANDBOXSET_ZYGOTE_H

#ifdef __cplusplus
extern "C" {
#endif

/* What a child was made with. The strings live as long as the child. */
struct sandboxset_zygote_child {
    int argc;
    char **argv; /* the arguments of the child set's runtime; NULL at the end */
    char **envp; /* its environment, which is also the child's `environ` */
};

/* What an embedded interpreter needs to know of a fork. Any may be NULL. */
struct sandboxset_zygote_hooks {
    void (*before)(void *user_data); /* in the server, before each fork */
    void (*after)(void *user_data);  /* in the server, after it */
    void *user_data;
    int keep_signals; /* whether a child keeps the signal handlers and the mask of the server */
    /*
     * In a child that nobody waits for yet, before it is told what to be. What it touches here it need not copy when it
     * is wanted; what this is to know of the child, and its randomness, come only later.
     */
    void (*ahead)(void *user_data);
};

/* Says that this process is ready: a server to be forked, a child to be handed out. Returns 0, or -1 with errno. */
int sandboxset_zygote_ready(void);

/*
 * Serves forks. Returns 1 in each child; 0 in the server when nobody will ask for forks any more; -1 with errno if
 * this process was not started to be forked.
 */
int sandboxset_zygote_serve(const struct sandboxset_zygote_hooks *hooks, struct sandboxset_zygote_child *child);

#ifdef __cplusplus
}
#endif

#endif /* SANDBOXSET_ZYGOTE_H */

#if defined(SANDBOXSET_ZYGOTE_IMPLEMENTATION) && !defined(SANDBOXSET_ZYGOTE_IMPLEMENTED)
#define SANDBOXSET_ZYGOTE_IMPLEMENTED

#if !defined(__linux__) || !defined(__x86_64__)
#error "sandboxset_zygote.h is written for Linux on x86-64"
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* --- What is said: a header, then bytes that depend on the kind. --- */

#define SSZ_VERSION 1u

enum {
    /* From the keeper, on the descriptor that SANDBOXSET_FORK_FD names. */
    SSZ_JOIN = 1, /* join the sandbox behind these descriptors, and be ready to fork into it */
    SSZ_FORK = 2, /* fork; `number` is 1 if nobody waits for the child yet */
    /* To the keeper. */
    SSZ_STARTED = 3,
    SSZ_FAILED = 4, /* also to the init: `number` is an errno, the bytes say what failed */
    /* Between the joining process, then the child, and the init of the child's sandbox. */
    SSZ_JOINED = 16,
    SSZ_HARDEN = 17,
    SSZ_HARDENED = 18,
    SSZ_FORKED = 19,
    SSZ_BEGIN = 20
};

struct ssz_message {
    uint32_t version;
    uint32_t kind;
    uint64_t id;
    uint32_t number; /* an errno, a process id, how many arguments */
    uint32_t count;  /* how many variables */
};

#define SSZ_MAX_FDS 8
#define SSZ_MAX_FILTER 32768

/* --- The system, without the C library: errno and everything else in it are the server's. --- */

static long ssz_call(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define SSZ_CALL3(number, a, b, c) ssz_call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

/* Starts `run(argument)` as a process that shares our memory but nothing else, on a stack of its own. */
static long ssz_clone(unsigned long flags, char *stack_end, int *tid, void (*run)(void *), void *argument) {
    long result;
    register void *ctid __asm__("r10") = tid;
    register void (*entry)(void *) __asm__("r12") = run;
    register void *passed __asm__("r13") = argument;
    __asm__ volatile("xorl %%r8d, %%r8d\n\t"
                     "syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %%r13, %%rdi\n\t"
                     "callq *%%r12\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(flags), "S"(stack_end), "d"(0), "r"(ctid), "r"(entry), "r"(passed)
                     : "rcx", "r8", "r11", "memory");
    return result;
}

#define SSZ_CLONE_VM 0x00000100ul
#define SSZ_CLONE_CHILD_CLEARTID 0x00200000ul
#define SSZ_CLONE_CHILD_SETTID 0x01000000ul
/* Every namespace of a sandbox, all at once: the only form of setns that the filter of a parent lets pass. */
#define SSZ_NAMESPACES 0x7e020000

static void ssz_exit(void) {
    for (;;) SSZ_CALL3(SYS_exit_group, 0, 0, 0);
}

static void ssz_copy(void *to, const void *from, size_t length) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static void ssz_zero(void *at, size_t length) {
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(0) : "memory");
}

static long ssz_send(int fd, uint32_t kind, uint64_t id, uint32_t number, const char *text) {
    struct ssz_message message = {SSZ_VERSION, kind, id, number, 0};
    struct iovec parts[2] = {{&message, sizeof message}, {(void *)text, 0}};
    struct msghdr header;
    while (text && text[parts[1].iov_len]) parts[1].iov_len++;
    ssz_zero(&header, sizeof header);
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    return SSZ_CALL3(SYS_sendmsg, fd, &header, MSG_NOSIGNAL);
}

/* Receives one message; returns the length of what follows the header, or a negative error number. */
static long ssz_receive(int fd, struct ssz_message *message, void *body, size_t room, int *fds, int *fd_count) {
    struct iovec parts[2] = {{message, sizeof *message}, {body, room}};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(SSZ_MAX_FDS * sizeof(int))];
    } control;
    struct msghdr header;
    struct cmsghdr *part;
    long length;
    ssz_zero(&header, sizeof header);
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
    *fd_count = 0;
    do {
        length = SSZ_CALL3(SYS_recvmsg, fd, &header, MSG_CMSG_CLOEXEC);
    } while (length == -EINTR);
    if (length < 0) return length;
    part = header.msg_controllen >= sizeof *part ? &control.header : NULL;
    if (part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
        *fd_count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        ssz_copy(fds, CMSG_DATA(part), (size_t)*fd_count * sizeof(int));
    }
    if (length == 0) return -ECONNRESET;
    if ((size_t)length < sizeof *message || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) return -EBADMSG;
    if (message->version != SSZ_VERSION) return -EPROTO;
    return length - (long)sizeof *message;
}

/* --- The two processes that join: they share the memory of the server, and use only their own stacks. --- */

/*
 * The joiner enters the namespaces. Its own process id namespace stays the server's, so it starts the forker, which
 * is in all of them, and remains only as its parent. The forker gives up its rights, waits to be told, forks, and
 * ends; the child, whose parent has ended, becomes the child of the sandbox's init.
 */
struct ssz_slot {
    uint64_t id; /* of the fork; meaningful while `joiner` is not 0 */
    int joiner;  /* its process id until it ends, when the kernel writes 0 */
    int forker;
    int joiner_pid;
    int go;     /* written 1 when it is time to fork */
    int result; /* of the fork: a process id, or a negative error number */
    int fds[SSZ_MAX_FDS];
    int fd_count;
    char *memory; /* the two stacks */
};

#define SSZ_SLOTS 64
#define SSZ_JOINER_STACK 16384
#define SSZ_FORKER_STACK 131072
#define SSZ_STACKS (SSZ_JOINER_STACK + SSZ_FORKER_STACK)
/* The children's socket to their init, which is also where they say that they are ready. */
#define SSZ_READY_FD 3
#define SSZ_INNER_ID 1000

static struct ssz_slot ssz_slots[SSZ_SLOTS];
/* Where the server goes on, and where each child begins. */
static void *ssz_context[5];
/* The server's signal stack, which the forker does not have. */
static stack_t ssz_signal_stack;

/* Where the C library keeps what the kernel writes for restartable sequences, if it does. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static void ssz_wait_while(int *word, int value) {
    SSZ_CALL3(SYS_futex, word, 0 /* FUTEX_WAIT */, value);
}

static void ssz_give_up(int fd, uint64_t id, long error, const char *what) {
    ssz_send(fd, SSZ_FAILED, id, (uint32_t)-error, what);
    ssz_exit();
}

static void ssz_check(int fd, uint64_t id, long result, const char *what) {
    if (result < 0) ssz_give_up(fd, id, result, what);
}

/* Gives up what entering a user namespace gave. */
static void ssz_drop_rights(int fd, uint64_t id) {
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    uint32_t none[6] = {0, 0, 0, 0, 0, 0};
    long capability;
    ssz_check(fd, id, SSZ_CALL3(SYS_setresgid, SSZ_INNER_ID, SSZ_INNER_ID, SSZ_INNER_ID), "set the group id");
    ssz_check(fd, id, SSZ_CALL3(SYS_setresuid, SSZ_INNER_ID, SSZ_INNER_ID, SSZ_INNER_ID), "set the user id");
    for (capability = 0; capability < 64; capability++)
        if (SSZ_CALL3(SYS_prctl, 24 /* PR_CAPBSET_DROP */, capability, 0)) break;
    ssz_check(fd, id, SSZ_CALL3(SYS_capset, &header, none, 0), "drop the capabilities");
    ssz_check(fd, id, SSZ_CALL3(SYS_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0), "set no_new_privs");
}

/* Takes the filter and the Landlock rules that the init gives. */
static void ssz_harden(int fd, uint64_t id) {
    struct {
        unsigned short length;
        void *program;
    } filter;
    struct ssz_message message;
    char program[SSZ_MAX_FILTER];
    int fds[SSZ_MAX_FDS], fd_count;
    long length = ssz_receive(fd, &message, program, sizeof program, fds, &fd_count);
    ssz_check(fd, id, length, "hear the init");
    if (message.kind != SSZ_HARDEN) ssz_give_up(fd, id, -EPROTO, "hear the init");
    if (fd_count > 0) {
        ssz_check(fd, id, SSZ_CALL3(SYS_landlock_restrict_self, fds[0], 0, 0), "apply Landlock");
        SSZ_CALL3(SYS_close, fds[0], 0, 0);
    }
    if (length > 0) {
        filter.length = (unsigned short)(length / 8);
        filter.program = program;
        ssz_check(fd, id, SSZ_CALL3(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &filter), "install the filter");
    }
}

static void ssz_run_forker(void *argument) {
    struct ssz_slot *slot = argument;
    int fd = slot->fds[1], index;
    uint64_t id = slot->id;
    pid_t pid;
    /* Before anything else, so that what is done from here on is the child's. The files come open. */
    for (index = 2; index < slot->fd_count; index++)
        ssz_check(fd, id, SSZ_CALL3(SYS_write, slot->fds[index], "0", 1), "enter the cgroup");
    ssz_drop_rights(fd, id);
    ssz_check(fd, id, SSZ_CALL3(SYS_chdir, "/scratch", 0, 0), "enter /scratch");
    SSZ_CALL3(SYS_umask, 022, 0, 0);
    if (fd != SSZ_READY_FD) {
        ssz_check(fd, id, SSZ_CALL3(SYS_dup2, fd, SSZ_READY_FD, 0), "place the socket");
        fd = SSZ_READY_FD;
    }
    /* Nothing that the server has open is the child's. */
    SSZ_CALL3(SYS_close_range, 0, SSZ_READY_FD - 1, 0);
    ssz_check(fd, id, SSZ_CALL3(SYS_close_range, SSZ_READY_FD + 1, ~0u, 0), "close descriptors");
    ssz_send(fd, SSZ_JOINED, id, 0, NULL);
    ssz_harden(fd, id);
    ssz_send(fd, SSZ_HARDENED, id, 0, NULL);
    while (!__atomic_load_n(&slot->go, __ATOMIC_ACQUIRE)) ssz_wait_while(&slot->go, 0);
    /* The server waits in its own frame now, so the C library is ours for a moment. */
    pid = fork();
    if (pid == 0) __builtin_longjmp(ssz_context, 1);
    slot->result = pid > 0 ? pid : -errno;
    ssz_exit();
}

static void ssz_run_joiner(void *argument) {
    struct ssz_slot *slot = argument;
    /* What the kernel calls a sigaction: SIG_IGN, with which it reaps the forker by itself, whatever becomes of us. */
    uint64_t ignore[4] = {1, 0, 0, 0};
    long forker, result = SSZ_CALL3(SYS_setns, slot->fds[0], SSZ_NAMESPACES, 0);
    ssz_check(slot->fds[1], slot->id, result, "join the namespaces");
    ssz_call(SYS_rt_sigaction, SIGCHLD, (long)ignore, 0, sizeof(uint64_t), 0, 0);
    forker = ssz_clone(SSZ_CLONE_VM | SSZ_CLONE_CHILD_SETTID | SSZ_CLONE_CHILD_CLEARTID | SIGCHLD,
                       slot->memory + SSZ_STACKS, &slot->forker, ssz_run_forker, slot);
    ssz_check(slot->fds[1], slot->id, forker, "start the forking process");
    /* The init knows by the end of its socket that the forker ended, so it must be the only one to hold it. */
    SSZ_CALL3(SYS_close_range, 0, ~0u, 0);
    while (ssz_call(SYS_wait4, -1, 0, 0x40000000 /* __WALL */, 0, 0, 0) != -ECHILD) {}
    ssz_exit();
}

/* --- The server. --- */

/*
 * Has the kernel put what the server has prepared on huge pages, if it was asked to: a fork copies the page tables, and
 * these have a fraction of the entries. A child that writes to one copies only 4 KiB of it.
 */
static void ssz_collapse(void) {
    const unsigned long huge = 2ul << 20;
    const char *wanted = getenv("SANDBOXSET_ZYGOTE_HUGE_PAGES");
    char line[512];
    FILE *maps = wanted != NULL && !strcmp(wanted, "1") ? fopen("/proc/self/maps", "re") : NULL;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long start, end, inode;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &start, &end, rights, &inode) != 4) continue;
        if (strcmp(rights, "rw-p") || inode != 0) continue;
        /* Only what fills whole ones: the stack and small areas stay as they are. */
        start = (start + huge - 1) & ~(huge - 1);
        end &= ~(huge - 1);
        /* Refused by kernels before 6.1, and where memory is in pieces: then the fork takes longer. */
        if (start < end) madvise((void *)start, end - start, 25 /* MADV_COLLAPSE */);
    }
    if (maps != NULL) fclose(maps);
}

static void ssz_close_all(int *fds, int count) {
    while (count > 0) close(fds[--count]);
}

/* Lets go of the slots whose processes ended. */
static void ssz_release(void) {
    int index;
    for (index = 0; index < SSZ_SLOTS; index++) {
        struct ssz_slot *slot = &ssz_slots[index];
        if (slot->memory == NULL || __atomic_load_n(&slot->joiner, __ATOMIC_ACQUIRE) != 0) continue;
        while (waitpid(slot->joiner_pid, NULL, __WALL) < 0 && errno == EINTR) {}
        munmap(slot->memory, SSZ_STACKS);
        memset(slot, 0, sizeof *slot);
    }
}

static struct ssz_slot *ssz_find(uint64_t id, int used) {
    int index;
    for (index = 0; index < SSZ_SLOTS; index++) {
        struct ssz_slot *slot = &ssz_slots[index];
        if (used ? slot->memory != NULL && slot->id == id : slot->memory == NULL) return slot;
    }
    return NULL;
}

static void ssz_join(int control, uint64_t id, int *fds, int fd_count) {
    struct ssz_slot *slot = ssz_find(0, 0);
    void *memory = MAP_FAILED;
    long pid = -ENOMEM;
    if (fd_count >= 2 && slot != NULL)
        memory = mmap(NULL, SSZ_STACKS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
        slot->id = id;
        slot->memory = memory;
        memcpy(slot->fds, fds, sizeof slot->fds);
        slot->fd_count = fd_count;
        slot->joiner = -1;
        slot->forker = -1;
        pid = ssz_clone(SSZ_CLONE_VM | SSZ_CLONE_CHILD_CLEARTID, slot->memory + SSZ_JOINER_STACK, &slot->joiner,
                        ssz_run_joiner, slot);
        if (pid < 0) {
            munmap(slot->memory, SSZ_STACKS);
            memset(slot, 0, sizeof *slot);
        } else {
            slot->joiner_pid = (int)pid;
        }
    }
    if (pid < 0) ssz_send(control, SSZ_FAILED, id, (uint32_t)-pid, "start the joining process");
    ssz_close_all(fds, fd_count);
}

/* Returns in the server with what the fork gave, and in the child, on the same stack, with 0. */
static __attribute__((noinline)) int ssz_fork(struct ssz_slot *slot) {
    int forker;
    if (__builtin_setjmp(ssz_context)) return 0;
    sigaltstack(NULL, &ssz_signal_stack);
    slot->result = -ECHILD; /* unless the forker says otherwise before it ends */
    __atomic_store_n(&slot->go, 1, __ATOMIC_RELEASE);
    SSZ_CALL3(SYS_futex, &slot->go, 1 /* FUTEX_WAKE */, 1);
    while ((forker = __atomic_load_n(&slot->forker, __ATOMIC_ACQUIRE)) != 0) ssz_wait_while(&slot->forker, forker);
    return slot->result;
}

/* Splits `count` strings off the bytes at `*at`. */
static char **ssz_strings(char **at, char *end, uint32_t count) {
    char **strings = calloc((size_t)count + 1, sizeof *strings);
    uint32_t index;
    for (index = 0; strings && index < count; index++) {
        char *next = memchr(*at, 0, (size_t)(end - *at));
        if (next == NULL) return NULL;
        strings[index] = *at;
        *at = next + 1;
    }
    return strings;
}

/* Gives the child what the forker, as a process of its own, did not have of the server. */
static void ssz_restore_thread(void) {
    char *thread;
    sigaltstack(&ssz_signal_stack, NULL);
    if (&__rseq_size == NULL || __rseq_size == 0) return;
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    ssz_call(SYS_rseq, (long)(thread + __rseq_offset), __rseq_size > 32 ? __rseq_size : 32, 0, 0x53053053, 0, 0);
}

/* Where /proc shows the variables that the server was started with; the same in every child. */
static unsigned long ssz_environment, ssz_environment_end;

static void ssz_find_environment(void) {
    char stat[2048], *field;
    int number, fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
    if (fd >= 0) close(fd);
    if (length <= 0) return;
    stat[length] = 0;
    field = strrchr(stat, ')');
    for (number = 2; field != NULL && number < 50; number++) field = strchr(field + 1, ' ');
    if (field == NULL) return;
    ssz_environment = strtoul(field, &field, 10);
    ssz_environment_end = strtoul(field, NULL, 10);
}

/* Wipes those variables, which are not the child's. */
static void ssz_wipe_environment(void) {
    if (ssz_environment != 0 && ssz_environment < ssz_environment_end)
        memset((void *)ssz_environment, 0, ssz_environment_end - ssz_environment);
}

/*
 * Gives the child randomness of its own: the generators of the C library start from another seed, and the bytes that
 * the kernel gave the server at its start are others. The stack protector's value cannot be changed.
 */
static void ssz_reseed(void) {
    struct {
        unsigned int random;
        unsigned short words[3];
        unsigned char given[16];
    } fresh;
    unsigned char *given = (unsigned char *)getauxval(25 /* AT_RANDOM */);
    if (SSZ_CALL3(SYS_getrandom, &fresh, sizeof fresh, 0) != (long)sizeof fresh) _exit(111);
    srandom(fresh.random); /* also what rand() draws on */
    srand(fresh.random ^ fresh.words[0]);
    seed48(fresh.words);
    if (given != NULL) memcpy(given, fresh.given, sizeof fresh.given);
}

/* The child's first steps. Whatever fails ends it, and with it its sandbox. */
static void ssz_begin(const struct sandboxset_zygote_hooks *hooks, int control, int is_ahead,
                      struct sandboxset_zygote_child *child) {
    struct ssz_message message;
    int fds[SSZ_MAX_FDS], fd_count, number, index;
    char unused[8], *text, *at;
    off_t length;
    /* The init looks at a child that is waited for while that goes on; another has time. */
    if (!is_ahead) ssz_send(SSZ_READY_FD, SSZ_FORKED, 0, 0, NULL);
    for (index = 0; index < SSZ_SLOTS; index++)
        if (ssz_slots[index].memory) munmap(ssz_slots[index].memory, SSZ_STACKS);
    memset(ssz_slots, 0, sizeof ssz_slots);
    ssz_restore_thread();
    setsid();
    if (hooks == NULL || !hooks->keep_signals) {
        uint64_t standard[4] = {0, 0, 0, 0};
        sigset_t none;
        for (number = 1; number <= 64; number++)
            ssz_call(SYS_rt_sigaction, number, (long)standard, 0, sizeof(uint64_t), 0, 0);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
    }
    if (is_ahead) {
        if (hooks != NULL && hooks->ahead) hooks->ahead(hooks->user_data);
        ssz_send(SSZ_READY_FD, SSZ_FORKED, 0, 0, NULL);
    }
    if (ssz_receive(SSZ_READY_FD, &message, unused, sizeof unused, fds, &fd_count) < 0) _exit(111);
    if (message.kind != SSZ_BEGIN || fd_count < 3) _exit(111);
    /* Only now, so that nobody knew it before this child was wanted. */
    ssz_reseed();
    SSZ_CALL3(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0);
    /* First the strings, then what becomes the standard streams, then perhaps where to be asked for forks. */
    length = lseek(fds[0], 0, SEEK_END);
    text = length > 0 ? mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_PRIVATE, fds[0], 0) : NULL;
    if (text == MAP_FAILED) _exit(111);
    at = text;
    child->argc = (int)message.number;
    child->argv = ssz_strings(&at, text + length, message.number);
    child->envp = ssz_strings(&at, text + length, message.count);
    if (child->argv == NULL || child->envp == NULL) _exit(111);
    ssz_wipe_environment();
    environ = child->envp;
    /* The received descriptors are the lowest free numbers, which are the ones to be filled: out of the way first. */
    for (index = 0; index < fd_count; index++) {
        number = (int)SSZ_CALL3(SYS_fcntl, fds[index], 1030 /* F_DUPFD_CLOEXEC */, 64);
        if (number < 0) _exit(111);
        if (fds[index] != SSZ_READY_FD) close(fds[index]);
        fds[index] = number;
    }
    if (dup2(fds[1], 0) < 0 || dup2(fds[2], 1) < 0 || dup2(fds[2], 2) < 0) _exit(111);
    if (fd_count > 3 && dup2(fds[3], control) < 0) _exit(111);
    ssz_close_all(fds, fd_count);
}

static void ssz_serve_fork(const struct sandboxset_zygote_hooks *hooks, int control, uint64_t id, int *is_child) {
    struct ssz_slot *slot = ssz_find(id, 1);
    int result = -ESRCH;
    if (slot != NULL) {
        if (hooks && hooks->before) hooks->before(hooks->user_data);
        result = ssz_fork(slot);
        if (result == 0) {
            *is_child = 1;
            return;
        }
        if (hooks && hooks->after) hooks->after(hooks->user_data);
    }
    if (result < 0)
        ssz_send(control, SSZ_FAILED, id, (uint32_t)-result, "fork");
    else
        ssz_send(control, SSZ_STARTED, id, (uint32_t)result, NULL);
}

int sandboxset_zygote_ready(void) {
    static const char line[] = "READY\n";
    ssize_t written;
    do {
        written = write(SSZ_READY_FD, line, sizeof line - 1);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)(sizeof line - 1) ? 0 : -1;
}

int sandboxset_zygote_serve(const struct sandboxset_zygote_hooks *hooks, struct sandboxset_zygote_child *child) {
    const char *name = getenv("SANDBOXSET_FORK_FD");
    int control = name ? atoi(name) : 0, fds[SSZ_MAX_FDS], fd_count, is_child = 0;
    struct ssz_message message;
    char unused[64];
    long length;
    if (control <= SSZ_READY_FD) {
        errno = EBADF;
        return -1;
    }
    ssz_find_environment();
    ssz_collapse();
    for (;;) {
        length = ssz_receive(control, &message, unused, sizeof unused, fds, &fd_count);
        if (length == -ECONNRESET) return 0;
        if (length < 0) {
            errno = (int)-length;
            return -1;
        }
        /* Not when a fork is asked for that somebody waits for. */
        if (message.kind == SSZ_JOIN || message.number == 1) ssz_release();
        if (message.kind == SSZ_JOIN) {
            ssz_join(control, message.id, fds, fd_count);
            continue;
        }
        ssz_close_all(fds, fd_count);
        if (message.kind == SSZ_FORK) ssz_serve_fork(hooks, control, message.id, &is_child);
        if (is_child) {
            ssz_begin(hooks, control, message.number == 1, child);
            return 1;
        }
    }
}

#endif /* SANDBOXSET_ZYGOTE_IMPLEMENTATION */
