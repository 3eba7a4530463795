//! Names of system calls, for messages.

/// Pairs of numbers and names.
macro_rules! named {
    ($($call:ident)*) => { &[$((libc::$call, stringify!($call))),*] };
}

/// The name of system call `number`, if it is one that was thought of here.
pub(super) fn of(number: i64) -> Option<&'static str> {
    let mut known = COMMON.iter().chain(HOST);
    known.find(|(other, _)| *other == number).map(|(_, name)| name.strip_prefix("SYS_").unwrap_or(name))
}

const COMMON: &[(i64, &str)] = named! {
    SYS_accept SYS_accept4 SYS_acct SYS_add_key SYS_adjtimex SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot
    SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_clock_settime SYS_clone SYS_clone3 SYS_close
    SYS_close_range SYS_connect SYS_copy_file_range SYS_delete_module SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl
    SYS_epoll_pwait SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_fadvise64 SYS_fallocate
    SYS_fanotify_init SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync
    SYS_finit_module SYS_flock SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_getcpu SYS_getcwd SYS_getdents64
    SYS_getegid SYS_geteuid SYS_getgid SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom
    SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid
    SYS_init_module SYS_inotify_add_watch SYS_inotify_init1 SYS_io_setup SYS_io_submit SYS_io_uring_enter SYS_io_uring_register
    SYS_io_uring_setup SYS_ioctl SYS_kcmp SYS_kexec_load SYS_keyctl SYS_kill SYS_linkat SYS_listen SYS_lseek SYS_madvise SYS_mbind
    SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mmap SYS_mount SYS_move_mount SYS_mprotect
    SYS_mremap SYS_msync SYS_munlock SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_open_by_handle_at
    SYS_open_tree SYS_openat SYS_openat2 SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_open
    SYS_pidfd_send_signal SYS_pipe2 SYS_pivot_root SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
    SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read
    SYS_readahead SYS_readlinkat SYS_readv SYS_reboot SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_renameat SYS_renameat2
    SYS_request_key SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_setscheduler SYS_sched_yield
    SYS_seccomp SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy SYS_set_robust_list SYS_set_tid_address
    SYS_setdomainname SYS_setfsuid SYS_setgid SYS_setgroups SYS_sethostname SYS_setns SYS_setpgid SYS_setpriority SYS_setresgid
    SYS_setresuid SYS_setrlimit SYS_setsid SYS_setsockopt SYS_settimeofday SYS_setuid SYS_shutdown SYS_sigaltstack SYS_signalfd4
    SYS_socket SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_swapoff SYS_swapon SYS_symlinkat SYS_sync SYS_sync_file_range
    SYS_sysinfo SYS_syslog SYS_tee SYS_tgkill SYS_timerfd_create SYS_timerfd_settime SYS_tkill SYS_truncate SYS_umask
    SYS_umount2 SYS_uname SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write
    SYS_writev
};

#[cfg(target_arch = "x86_64")]
const HOST: &[(i64, &str)] = named! {
    SYS_access SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_fork SYS_getpgrp
    SYS_ioperm SYS_iopl SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_stat SYS_symlink SYS_time SYS_unlink SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const HOST: &[(i64, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_names_of_the_manual() {
        assert_eq!(of(libc::SYS_execve), Some("execve"));
        assert_eq!(of(libc::SYS_open_by_handle_at), Some("open_by_handle_at"));
        assert_eq!(of(4000), None);
    }
}
