"""Tries to read what only the host should see, directly and around corners; prints whatever it gets."""

import glob
import os
import sys

canary, neighbour, host_pid = sys.argv[1:]
PATHS = [
    canary,
    f"/scratch/../../../..{canary}",
    f"/proc/1/root{canary}",
    f"/proc/self/root/..{canary}",
    f"/proc/1/cwd/..{canary}",
    f"/proc/{host_pid}/root{canary}",
    f"/proc/{host_pid}/environ",
    f"/proc/{neighbour}/cmdline",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssh/ssh_host_ed25519_key",
    "/root/.bashrc",
    "/root/.profile",
    "/root/.ssh/id_rsa",
    "/root/.bash_history",
    "/var/log/dpkg.log",
    "/var/lib/dpkg/status",
    "/boot/grub/grub.cfg",
    "/proc/kcore",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/sda",
    "/dev/vda",
    "/dev/nvme0n1",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/sys/kernel/notes",
]
PATHS += [path + canary for path in glob.glob("/proc/*/root")] + [path + canary for path in glob.glob("/proc/*/cwd")]

got = 0
for path in PATHS:
    try:
        # Not blocking, because some of these answer only when they have something to say.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            content = file.read(300)
    except OSError:
        continue
    if content:
        got += 1
        print("read", path, content)
for folder in ("/root", "/home", "/boot", "/var/lib/docker", "/srv", "/mnt", "/media", os.path.dirname(canary)):
    try:
        names = os.listdir(folder)
    except OSError:
        continue
    for name in names:
        got += 1
        print("listed", folder, name)
print(f"attempts={len(PATHS)} got={got}")
