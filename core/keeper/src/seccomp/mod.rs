//! The system call filter of the commands in a sandbox.
//!
//! [`policy`] says what is allowed; here that becomes a program for the kernel. The program is a binary search over
//! ranges of numbers, because the kernel runs it once for every number when it is installed, and it is installed
//! for every command: the linear program of a general compiler took 0.7 ms for that, longer than the command.

mod policy;

use seccompiler::{BpfProgram, sock_filter};

use self::policy::{Condition, LAST_KNOWN, Verdict, verdict};

/// A compiled filter. Compiled once by the keeper and inherited by every init.
pub(crate) struct Filter(BpfProgram);

/// The filters of all that runs in sandboxes.
pub(crate) struct Filters {
    /// Of every command and every runtime that is no fork server.
    pub(crate) strict: Filter,
    pub(crate) fork_server: Filter,
}

impl Filters {
    pub(crate) fn compile() -> Self {
        Filters { strict: Filter::compile(), fork_server: Filter::compile_for(true) }
    }
}

/// Numbers from `first` up to the next range's first, with one verdict.
struct Range {
    first: u32,
    verdict: Verdict,
}

// The machine that the program runs on is described in linux/filter.h and linux/bpf_common.h.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

// Offsets in struct seccomp_data. The low half of an argument comes first on the machines that we know.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// Ends who knows nothing better by SIGSYS, and the call is not made. To kill instead, the kernel would write a line to
/// its log, and to that of audit, for each one.
const TRAP: u32 = libc::SECCOMP_RET_TRAP;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

impl Filter {
    /// Compiles the policy.
    pub(crate) fn compile() -> Self {
        Self::compile_for(false)
    }

    fn compile_for(fork_server: bool) -> Self {
        let mut program = vec![
            instruction(LOAD, OFFSET_ARCH),
            // A 32-bit call on a 64-bit kernel has other numbers, and no business here.
            jump(JUMP_IF_EQUAL, AUDIT_ARCH, 1, 0),
            instruction(RETURN, TRAP),
            instruction(LOAD, OFFSET_NUMBER),
        ];
        program.extend(search(&ranges(fork_server)));
        Filter(program)
    }

    /// The program as the kernel reads it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let instruction = |i: &sock_filter| {
            let [c0, c1] = i.code.to_le_bytes();
            let [k0, k1, k2, k3] = i.k.to_le_bytes();
            [c0, c1, i.jt, i.jf, k0, k1, k2, k3]
        };
        self.0.iter().flat_map(instruction).collect()
    }

    /// Installs the filter for this process and all its descendants. Sets no_new_privs.
    pub(crate) fn install(&self) -> Result<(), seccompiler::Error> {
        seccompiler::apply_filter(&self.0)
    }
}

/// The policy as ranges of equal verdicts. The last one has no end, so the numbers of the x32 calls, which all have
/// bit 30 set, are absent with the unknown ones.
fn ranges(fork_server: bool) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for number in 0..=LAST_KNOWN + 1 {
        let verdict = verdict(number, fork_server);
        if ranges.last().is_none_or(|last| last.verdict != verdict) {
            ranges.push(Range { first: number, verdict });
        }
    }
    ranges
}

/// Decides between ranges by halves.
fn search(ranges: &[Range]) -> BpfProgram {
    if let [range] = ranges {
        return decide(range.verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low, high_first, high) = (search(low), high[0].first, search(high));
    // A jump reaches 255 instructions; a longer way takes an unconditional one, which reaches any distance.
    let mut program = match u8::try_from(low.len()) {
        Ok(distance) => vec![jump(JUMP_IF_AT_LEAST, high_first, distance, 0)],
        Err(_) => vec![
            jump(JUMP_IF_AT_LEAST, high_first, 0, 1),
            instruction((libc::BPF_JMP | libc::BPF_JA) as u16, low.len() as u32),
        ],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn decide(verdict: Verdict) -> BpfProgram {
    match verdict {
        Verdict::Allow => vec![instruction(RETURN, ALLOW)],
        Verdict::Deny => vec![instruction(RETURN, DENY)],
        Verdict::Absent => vec![instruction(RETURN, ABSENT)],
        Verdict::If(Condition::OneOf(index, values)) => among(index, values, ALLOW, DENY),
        Verdict::If(Condition::NoneOf(index, values)) => among(index, values, DENY, ALLOW),
        Verdict::If(Condition::Without(index, bits)) => vec![
            instruction(LOAD, OFFSET_ARGS + 8 * index),
            jump(JUMP_IF_ANY_BIT, bits, 0, 1),
            instruction(RETURN, DENY),
            instruction(RETURN, ALLOW),
        ],
    }
}

fn among(index: u32, values: &[u32], matched: u32, otherwise: u32) -> BpfProgram {
    let mut program = vec![instruction(LOAD, OFFSET_ARGS + 8 * index)];
    for &value in values {
        program.push(jump(JUMP_IF_EQUAL, value, 0, 1));
        program.push(instruction(RETURN, matched));
    }
    program.push(instruction(RETURN, otherwise));
    program
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { code, jt: then, jf: otherwise, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let step = &filter.0[at];
            at += 1;
            let taken = match step.code {
                LOAD => {
                    accumulator = match step.k {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCH => arch,
                        offset => args[(offset - OFFSET_ARGS) as usize / 8] as u32,
                    };
                    continue;
                }
                RETURN => return step.k,
                JUMP_IF_EQUAL => accumulator == step.k,
                JUMP_IF_AT_LEAST => accumulator >= step.k,
                JUMP_IF_ANY_BIT => accumulator & step.k != 0,
                code => panic!("instruction {code:#x}"),
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    fn call(number: libc::c_long, args: [u64; 6]) -> u32 {
        run(&Filter::compile(), AUDIT_ARCH, number as u32, args)
    }

    #[test]
    fn every_number_gets_the_verdict_of_the_policy() {
        let filter = Filter::compile();
        assert!(filter.0.len() <= 4096);
        let mut allowed = 0;
        for number in (0..2048).chain((0..2048).map(|number| number | 0x4000_0000)) {
            let expected = match verdict(number, false) {
                Verdict::Allow => ALLOW,
                Verdict::Deny => DENY,
                Verdict::Absent => ABSENT,
                Verdict::If(_) => continue,
            };
            allowed += usize::from(expected == ALLOW);
            assert_eq!(run(&filter, AUDIT_ARCH, number, [0; 6]), expected, "call {number}");
        }
        assert!(allowed > 200, "{allowed}");
    }

    #[test]
    fn another_architecture_is_trapped() {
        assert_eq!(run(&Filter::compile(), 0x4000_0003, libc::SYS_getpid as u32, [0; 6]), TRAP);
    }

    #[test]
    fn only_unix_sockets_of_all_families() {
        for family in 0..64u64 {
            let expected = if family == libc::AF_UNIX as u64 { ALLOW } else { DENY };
            // The kernel looks at the low half only, so the high half must not change the answer.
            for high in [0, 1 << 32, u64::MAX << 32] {
                assert_eq!(
                    call(libc::SYS_socket, [family | high, 1, 0, 0, 0, 0]),
                    expected,
                    "family {family}"
                );
                assert_eq!(
                    call(libc::SYS_socketpair, [family | high, 1, 0, 0, 0, 0]),
                    expected,
                    "family {family}"
                );
            }
        }
    }

    #[test]
    fn no_namespaces_by_clone_and_none_by_the_others() {
        for bit in 0..32 {
            let expected = if 0x7e02_0000u32 & (1 << bit) == 0 { ALLOW } else { DENY };
            assert_eq!(call(libc::SYS_clone, [1 << bit, 0, 0, 0, 0, 0]), expected, "bit {bit}");
        }
        assert_eq!(call(libc::SYS_unshare, [0; 6]), DENY);
        assert_eq!(call(libc::SYS_setns, [0; 6]), DENY);
        assert_eq!(call(libc::SYS_clone3, [0; 6]), ABSENT);
    }

    #[test]
    fn a_fork_server_joins_all_namespaces_at_once_and_may_do_nothing_else_more() {
        let Filters { strict, fork_server } = Filters::compile();
        for number in 0..=LAST_KNOWN {
            for args in [[0; 6], [u64::MAX; 6], [0, 0x1000_0000, 0, 0, 0, 0], [3, 0x7e02_0000, 0, 0, 0, 0]] {
                let (usual, server) =
                    (run(&strict, AUDIT_ARCH, number, args), run(&fork_server, AUDIT_ARCH, number, args));
                let joins = libc::c_long::from(number) == libc::SYS_setns && args[1] == 0x7e02_0000;
                assert_eq!(server, if joins { ALLOW } else { usual }, "call {number} {args:x?}");
                assert!(!joins || usual == DENY);
            }
        }
    }

    #[test]
    fn typing_into_a_terminal_is_denied_whatever_the_high_half_says() {
        for high in [0, 1 << 32, u64::MAX << 32] {
            assert_eq!(call(libc::SYS_ioctl, [0, libc::TIOCSTI | high, 0, 0, 0, 0]), DENY);
            assert_eq!(call(libc::SYS_ioctl, [0, libc::TIOCLINUX | high, 0, 0, 0, 0]), DENY);
            assert_eq!(call(libc::SYS_ioctl, [0, libc::TIOCGWINSZ | high, 0, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn fifos_can_be_made_and_devices_cannot() {
        for (kind, expected) in [
            (libc::S_IFIFO, ALLOW),
            (libc::S_IFREG, ALLOW),
            (libc::S_IFSOCK, ALLOW),
            (libc::S_IFCHR, DENY),
            (libc::S_IFBLK, DENY),
        ] {
            let mode = u64::from(kind | 0o644);
            assert_eq!(call(libc::SYS_mknodat, [0, 0, mode, 0, 0, 0]), expected, "kind {kind:o}");
            #[cfg(target_arch = "x86_64")]
            assert_eq!(call(libc::SYS_mknod, [0, mode, 0, 0, 0, 0]), expected, "kind {kind:o}");
        }
    }

    #[test]
    fn the_doors_that_must_stay_shut_are() {
        for number in [
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_keyctl,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_open_by_handle_at,
            libc::SYS_name_to_handle_at,
            libc::SYS_settimeofday,
        ] {
            assert_eq!(call(number, [0; 6]), DENY, "call {number}");
        }
    }
}
