//! Programs that use up all they can get, for as long as they are let.

/// A program for the system's Python that never ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    source: &'static str,
}

/// The file that an attack makes when it begins.
pub const STARTED: &str = "/scratch/started";

/// One of each kind.
pub const ATTACKS: [Attack; 6] = [
    Attack {
        name: "fork_bomb",
        source: "
while True:
    try: os.fork()
    except OSError: pass
",
    },
    Attack {
        name: "memory_bomb",
        source: "
while True:
    if os.fork() == 0:
        blocks = []
        while True: blocks.append(b'x' * (1 << 20))
    os.wait()
",
    },
    // Orphans for the init to reap: ten thousand, and then again.
    Attack {
        name: "double_forks",
        source: "
while True:
    for _ in range(10_000):
        try: child = os.fork()
        except OSError: continue
        if child == 0:
            try: os.fork()
            except OSError: pass
            os._exit(0)
        os.waitpid(child, 0)
",
    },
    Attack {
        name: "output_flood",
        source: "
stream = 1 if os.fork() else 2
block = b'x' * (1 << 16)
while True: os.write(stream, block)
",
    },
    // A million attempts, of which the limit on inodes lets few succeed, and then again.
    Attack {
        name: "files",
        source: "
while True:
    for number in range(1_000_000):
        try: os.close(os.open(f'/scratch/{number}', os.O_CREAT | os.O_WRONLY))
        except OSError: pass
    for name in os.listdir('/scratch'): os.unlink(f'/scratch/{name}')
",
    },
    Attack {
        name: "spinners",
        source: "
for _ in range(5):
    try: os.fork()
    except OSError: pass
while True: pass
",
    },
];

impl Attack {
    /// The arguments of the command.
    pub fn args(&self) -> [String; 3] {
        let source = format!("import os\nopen('{STARTED}', 'w').close()\n{}", self.source);
        ["/usr/bin/python3".into(), "-c".into(), source]
    }
}
