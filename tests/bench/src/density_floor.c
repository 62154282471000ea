/*
 * The floor of memory: processes that wait, each in namespaces and cgroups of its own as a sandbox is, and that have
 * nothing else but a root. One after the other is made when a byte comes; a byte tells when all are there; at the end of
 * the input they end, and their cgroups go.
 *
 * density_floor COUNT V2-DIRECTORY [V1-DIRECTORY]...
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 8, ID = 1000 };

static void check(long result, const char *step) {
    if (result < 0) {
        perror(step);
        exit(1);
    }
}

static void put(const char *path, const char *value) {
    int file = open(path, O_WRONLY);
    check(file, path);
    check(write(file, value, strlen(value)), path);
    close(file);
}

/* What it is, it becomes when its user has been mapped, which the end of `go` tells. */
static void child(int go, const int *entrances, int count) {
    char byte;
    struct ifreq lo = {.ifr_name = "lo"};
    check(prctl(PR_SET_PDEATHSIG, SIGKILL), "tie to the parent");
    check(read(go, &byte, 1), "wait");
    for (int i = 0; i < count; i++) check(write(entrances[i], "0", 1), "enter a v1 cgroup");
    check(unshare(CLONE_NEWCGROUP), "cgroup namespace");
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    check(ioctl(sock, SIOCGIFFLAGS, &lo), "look at lo");
    lo.ifr_flags |= IFF_UP;
    check(ioctl(sock, SIOCSIFFLAGS, &lo), "switch lo on");
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    check(mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,nr_inodes=4"), "mount the root");
    check(chdir("/tmp"), "enter the root");
    check(syscall(SYS_pivot_root, ".", "."), "pivot");
    check(umount2(".", MNT_DETACH), "leave the old root");
    check(syscall(SYS_close_range, 0, ~0u, 0), "close");
    for (;;) pause();
}

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[1]) : 0, dirs = argc - 2, made = 0;
    char **dir = argv + 2, path[4096], map[64], byte;
    pid_t *pids = calloc(count + 1, sizeof *pids);
    if (count < 1 || dirs > MOST || !pids) return 2;
    check(read(0, &byte, 1), "wait");
    for (; made < count; made++) {
        int entrances[MOST], go[2], own = -1;
        for (int i = 0; i < dirs; i++) {
            snprintf(path, sizeof path, "%s/%d", dir[i], made);
            check(mkdir(path, 0755), path);
            if (i > 0) strcat(path, "/tasks");
            int fd = open(path, i > 0 ? O_WRONLY : O_RDONLY | O_DIRECTORY);
            check(fd, path);
            if (i > 0) entrances[i - 1] = fd; else own = fd;
        }
        check(pipe(go), "pipe");
        struct clone_args args = {.exit_signal = SIGCHLD, .cgroup = own};
        args.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
        args.flags |= CLONE_INTO_CGROUP;
        pids[made] = syscall(SYS_clone3, &args, sizeof args);
        check(pids[made], "clone");
        if (pids[made] == 0) {
            close(go[1]);
            child(go[0], entrances, dirs - 1);
        }
        snprintf(path, sizeof path, "/proc/%d/setgroups", pids[made]);
        put(path, "deny");
        snprintf(path, sizeof path, "/proc/%d/uid_map", pids[made]);
        snprintf(map, sizeof map, "%d %d 1", ID, geteuid());
        put(path, map);
        snprintf(path, sizeof path, "/proc/%d/gid_map", pids[made]);
        snprintf(map, sizeof map, "%d %d 1", ID, getegid());
        put(path, map);
        close(go[0]), close(go[1]), close(own);
        for (int i = 0; i + 1 < dirs; i++) close(entrances[i]);
    }
    check(write(1, &byte, 1), "answer");
    while (read(0, &byte, 1) > 0) {}
    int ended = 0;
    for (int i = 0; i < made; i++) {
        /* One that could not become what it is to be has ended by itself. */
        ended += waitpid(pids[i], NULL, WNOHANG) != 0;
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    for (int i = 0; i < dirs * made; i++) {
        snprintf(path, sizeof path, "%s/%d", dir[i % dirs], i / dirs);
        rmdir(path);
    }
    return ended > 0;
}
