//! Which system calls each kind of thread may make: tables, and what is asked of arguments.
//!
//! What is in no table ends the process. The tables are wide where a call leads nowhere (time, locks, a thread's own memory) and narrow
//! where it leads out of the process: files, sockets, devices, other processes, code.

#[cfg(test)]
mod tests;

use seccompiler::{SeccompCmpArgLen as Width, SeccompCmpOp as Compare, SeccompCondition, SeccompRule};

use super::filter::Rules;
use crate::{Hypervisor, Network, Plan, Thread};

/// For every thread: memory, locks, time, signals to this process, its end, and what is done with descriptors that are open.
const EVERY: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_dup,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// For disks and what else workers hold.
const WORKER: &[i64] = &[
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
];

/// For sockets that are there.
const OPEN_SOCKETS: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// For sockets that are made; what kind of them [`socket`] says.
const NEW_SOCKETS: &[i64] = &[libc::SYS_connect, libc::SYS_bind];

/// For files by their paths, which Landlock restricts.
const FILES: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// For files that come and go: logs, records, sockets by their paths, a guest's folder.
const CHANGED_FILES: &[i64] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_flock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];

/// For the session: its terminal, its own session and standard descriptors, threads, what it is asked of itself.
const SESSION: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_getpgid,
    libc::SYS_getppid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_setsid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_fchmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
];

/// The type of KVM's ioctls (`linux/kvm.h`).
const KVM: u64 = 0xae;
/// Those with which interrupts are raised and doorbells watched: `KVM_SIGNAL_MSI`, `KVM_IRQ_LINE`, `KVM_IRQ_LINE_STATUS`,
/// `KVM_IOEVENTFD`.
const KVM_OF_DEVICES: &[u64] = &[0x4020_aea5, 0x4008_ae61, 0xc008_ae67, 0x4040_ae79];
/// `KVM_SET_DEVICE_ATTR`, by which arm64's interrupt controller is spoken with.
#[cfg(target_arch = "aarch64")]
const KVM_SET_DEVICE_ATTR: u64 = 0x4018_aee1;
/// Of any descriptor: `FIONBIO`, `FIOCLEX`.
const OF_DESCRIPTORS: &[u64] = &[0x5421, 0x5451];
/// Of a terminal: `TCGETS`, `TCGETS2`, `TIOCGPGRP`, `TIOCGWINSZ`.
const OF_TERMINALS: &[u64] = &[0x5401, 0x802c_542a, 0x540f, 0x5413];
/// The modes of a terminal: `TCSETS`, `TCSETSW`, `TCSETSF` and the same of `termios2`.
const MODES: &[u64] = &[0x5402, 0x5403, 0x5404, 0x402c_542b, 0x402c_542c, 0x402c_542d];
/// Of a tap: `TUNSETOFFLOAD`, `TUNSETQUEUE`, and `SIOCGIFMTU` of a socket.
const OF_TAPS: &[u64] = &[0x4004_54d0, 0x4004_54d9, 0x8921];
/// The index of an interface by its name, `SIOCGIFINDEX`, for addresses that are of one.
const OF_INTERFACES: &[u64] = &[0x8933];

/// Of `prctl`: names of threads and of mappings (`PR_SET_NAME`, `PR_GET_NAME`, `PR_SET_VMA`), and for the filters of a thread that
/// begins `PR_SET_NO_NEW_PRIVS`.
const OF_PROCESS: &[u64] = &[15, 16, 0x5356_4d41];
const NO_NEW_PRIVS: u64 = 38;

/// Of `fcntl`: `F_DUPFD_CLOEXEC`, `F_GETFD`, `F_SETFD`, `F_GETFL`, `F_SETFL`.
const OF_OPEN_FILES: &[u64] = &[1030, 1, 2, 3, 4];

const UNIX: u64 = 1;
const INTERNET: [u64; 2] = [2, 10];

/// Flags of a thread: its memory and signals are those of the process. Namespaces are none of a thread's.
const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND).cast_unsigned() as u64;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP)
    .cast_unsigned() as u64;

/// What `thread` may call.
pub(super) fn of(thread: Thread, plan: &Plan) -> Rules {
    let mut rules = Table::default();
    rules.every(plan);
    match thread {
        Thread::Core => {
            if plan.hypervisor == Hypervisor::Native {
                rules.first(libc::SYS_ioctl, vec![(1, Test::Bits(0xff00, KVM << 8))]);
            }
        }
        Thread::Worker => {
            rules.always(WORKER);
            rules.interrupts(plan);
        }
        Thread::Network => {
            rules.always(OPEN_SOCKETS);
            rules.always(WORKER);
            rules.interrupts(plan);
            rules.network(plan.network);
        }
        Thread::Sockets => {
            rules.always(OPEN_SOCKETS);
            rules.always(NEW_SOCKETS);
            rules.interrupts(plan);
            rules.when(libc::SYS_socket, 0, &[UNIX]);
            rules.when(libc::SYS_socketpair, 0, &[UNIX]);
        }
        Thread::Session => {
            rules.always(WORKER);
            rules.always(OPEN_SOCKETS);
            rules.always(FILES);
            rules.always(CHANGED_FILES);
            rules.always(SESSION);
            rules.when(libc::SYS_socketpair, 0, &[UNIX]);
            rules.threads();
            rules.when(libc::SYS_ioctl, 1, &[OF_TERMINALS, MODES].concat());
            // Reads limits, of itself, and sets none.
            rules.add(libc::SYS_prlimit64, vec![(0, Test::Is(0)), (2, Test::IsNothing)]);
            if plan.hypervisor == Hypervisor::Native {
                rules.first(libc::SYS_ioctl, vec![(1, Test::Bits(0xff00, KVM << 8))]);
            }
        }
    }
    rules.0
}

/// What any thread may call, and what one needs to put on its own filter.
pub(super) fn of_any(plan: &Plan) -> Rules {
    let mut any = Table::default();
    any.when(libc::SYS_prctl, 0, &[NO_NEW_PRIVS]);
    any.always(&[libc::SYS_seccomp]);
    for thread in Thread::ALL {
        for (call, rules) in of(thread, plan) {
            match any.0.get_mut(&call) {
                Some(known) if known.is_empty() || rules.is_empty() => known.clear(),
                Some(known) => {
                    known.extend(rules.into_iter().filter(|rule| !known.contains(rule)).collect::<Vec<_>>());
                }
                None => drop(any.0.insert(call, rules)),
            }
        }
    }
    any.0
}

/// What is asked of an argument.
#[derive(Debug, Clone, Copy)]
enum Test {
    /// Its low 32 bits are this.
    Is(u64),
    /// It is zero, all of it.
    IsNothing,
    /// The bits of the first number that it has are those of the second.
    Bits(u64, u64),
}

#[derive(Debug, Default)]
struct Table(Rules);

impl Table {
    fn every(&mut self, plan: &Plan) {
        self.always(EVERY);
        // Code is made by a translator alone.
        if plan.hypervisor == Hypervisor::Emulator {
            self.always(&[libc::SYS_mmap, libc::SYS_mprotect]);
        } else {
            let executable = libc::PROT_EXEC.cast_unsigned().into();
            self.add(libc::SYS_mmap, vec![(2, Test::Bits(executable, 0))]);
            self.add(libc::SYS_mprotect, vec![(2, Test::Bits(executable, 0))]);
        }
        self.when(libc::SYS_ioctl, 1, OF_DESCRIPTORS);
        // A panic on any thread gives the terminal back.
        for mode in MODES {
            self.add(libc::SYS_ioctl, vec![(0, Test::Is(0)), (1, Test::Is(*mode))]);
        }
        self.when(libc::SYS_fcntl, 1, OF_OPEN_FILES);
        self.when(libc::SYS_prctl, 0, OF_PROCESS);
        // A signal's handler runs on whichever thread the kernel takes, and tells of it by `send` to a socket that is connected: no
        // more than `write` can.
        self.add(libc::SYS_sendto, vec![(4, Test::IsNothing)]);
        // Signals are for threads of this process: kicks of vCPUs, and the ways in which it ends or stops itself.
        self.when(libc::SYS_tgkill, 0, &[std::process::id().into()]);
    }

    fn interrupts(&mut self, plan: &Plan) {
        if plan.hypervisor == Hypervisor::Native {
            self.when(libc::SYS_ioctl, 1, KVM_OF_DEVICES);
            #[cfg(target_arch = "aarch64")]
            self.when(libc::SYS_ioctl, 1, &[KVM_SET_DEVICE_ATTR]);
        }
    }

    fn network(&mut self, network: Network) {
        let mut families = Vec::new();
        match network {
            Network::None | Network::Vmnet => return,
            Network::Tap => return self.when(libc::SYS_ioctl, 1, OF_TAPS),
            Network::User => families.extend(INTERNET),
            Network::UserAndSegment => families.extend(INTERNET.into_iter().chain([UNIX])),
            Network::Socket => families.push(UNIX),
        }
        self.always(NEW_SOCKETS);
        self.when(libc::SYS_socket, 0, &families);
        if matches!(network, Network::User | Network::UserAndSegment) {
            // The host's list of name servers, which may change.
            self.always(FILES);
            self.when(libc::SYS_ioctl, 1, OF_INTERFACES);
        }
        if matches!(network, Network::Socket | Network::UserAndSegment) {
            // Sockets by their paths.
            self.always(FILES);
            self.always(CHANGED_FILES);
        }
    }

    fn threads(&mut self) {
        self.add(libc::SYS_clone, vec![(0, Test::Bits(THREAD | NAMESPACES, THREAD))]);
    }

    fn always(&mut self, calls: &[i64]) {
        for call in calls {
            self.0.insert(*call, Vec::new());
        }
    }

    /// Allows `call` where the argument at `index` is one of `values`.
    fn when(&mut self, call: i64, index: u8, values: &[u64]) {
        for value in values {
            self.add(call, vec![(index, Test::Is(*value))]);
        }
    }

    /// Allows `call` where all of `tests` hold, too.
    fn add(&mut self, call: i64, tests: Vec<(u8, Test)>) {
        let Some(rule) = rule(tests) else { return };
        match self.0.get_mut(&call) {
            // Allowed in any case.
            Some(rules) if rules.is_empty() => {}
            Some(rules) => rules.push(rule),
            None => drop(self.0.insert(call, vec![rule])),
        }
    }

    /// As [`add`](Self::add), to be looked at before the others.
    fn first(&mut self, call: i64, tests: Vec<(u8, Test)>) {
        let Some(rule) = rule(tests) else { return };
        self.0.entry(call).or_default().insert(0, rule);
    }
}

/// Nothing if it is not a rule, which no table has: then what it would allow is refused.
fn rule(tests: Vec<(u8, Test)>) -> Option<SeccompRule> {
    let conditions = tests.into_iter().map(|(index, test)| match test {
        Test::Is(value) => SeccompCondition::new(index, Width::Dword, Compare::Eq, value),
        Test::IsNothing => SeccompCondition::new(index, Width::Qword, Compare::Eq, 0),
        Test::Bits(mask, value) => SeccompCondition::new(index, Width::Qword, Compare::MaskedEq(mask), value),
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>().ok()?).ok()
}
