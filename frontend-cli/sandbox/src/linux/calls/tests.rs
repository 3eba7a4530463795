//! The tables as data.

use std::collections::BTreeSet;

use super::{
    super::{filter, names},
    *,
};
use crate::Mode;

fn plan(hypervisor: Hypervisor, network: Network) -> Plan {
    Plan { mode: Mode::On, hypervisor, network, memory: 0, places: Vec::new(), code: 1, last: || {} }
}

const NETWORKS: [Network; 5] =
    [Network::None, Network::User, Network::UserAndSegment, Network::Tap, Network::Socket];
const HYPERVISORS: [Hypervisor; 2] = [Hypervisor::Native, Hypervisor::Emulator];

fn plans() -> impl Iterator<Item = Plan> {
    HYPERVISORS.into_iter().flat_map(|hypervisor| NETWORKS.map(|network| plan(hypervisor, network)))
}

#[test]
fn nobody_leaves_the_process() {
    let never = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_open_by_handle_at,
        libc::SYS_openat2,
        libc::SYS_userfaultfd,
        libc::SYS_memfd_create,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_mknodat,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_capset,
        libc::SYS_personality,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_listen,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ];
    for plan in plans() {
        let any = of_any(&plan);
        for call in never {
            assert!(!any.contains_key(&call), "{:?} for {plan:?}", names::of(call));
        }
    }
}

#[test]
fn the_doors_of_all_leave_what_each_needs() {
    for plan in plans() {
        let any = of_any(&plan);
        for thread in Thread::ALL {
            for (call, rules) in of(thread, &plan) {
                let all = &any[&call];
                assert!(all.is_empty() || rules.iter().all(|rule| all.contains(rule)), "{call} of {thread}");
                assert!(!rules.is_empty() || all.is_empty(), "{call} of {thread}");
            }
        }
    }
}

#[test]
fn a_vcpu_has_neither_files_nor_sockets_nor_threads() {
    for plan in plans() {
        let core: BTreeSet<i64> = of(Thread::Core, &plan).into_keys().collect();
        for call in FILES.iter().chain(CHANGED_FILES).chain(OPEN_SOCKETS).chain(NEW_SOCKETS).chain(WORKER) {
            assert!(!core.contains(call) || *call == libc::SYS_sendto, "{:?}", names::of(*call));
        }
        for call in
            [libc::SYS_socket, libc::SYS_socketpair, libc::SYS_clone, libc::SYS_clone3, libc::SYS_seccomp]
        {
            assert!(!core.contains(&call), "{:?}", names::of(call));
        }
    }
}

#[test]
fn the_handler_of_a_signal_may_run_on_any_thread_and_addresses_nobody() {
    let connected = rule(vec![(4, Test::IsNothing)]).unwrap();
    for plan in plans() {
        for thread in [Thread::Core, Thread::Worker] {
            assert_eq!(of(thread, &plan)[&libc::SYS_sendto], std::slice::from_ref(&connected), "{thread}");
        }
        for thread in [Thread::Network, Thread::Sockets, Thread::Session] {
            assert!(of(thread, &plan)[&libc::SYS_sendto].is_empty(), "{thread}");
        }
    }
}

#[test]
fn sockets_are_made_where_a_network_needs_them() {
    for network in NETWORKS {
        let rules = of(Thread::Network, &plan(Hypervisor::Native, network));
        let families = rules.get(&libc::SYS_socket).map_or(0, Vec::len);
        let expected = match network {
            Network::None | Network::Tap | Network::Vmnet => 0,
            Network::User => 2,
            Network::UserAndSegment => 3,
            Network::Socket => 1,
        };
        assert_eq!(families, expected, "{network:?}");
        assert_eq!(rules.contains_key(&libc::SYS_connect), expected > 0);
    }
    for thread in [Thread::Core, Thread::Worker, Thread::Session] {
        let rules = of(thread, &plan(Hypervisor::Native, Network::User));
        assert!(
            !rules.contains_key(&libc::SYS_socket) && !rules.contains_key(&libc::SYS_connect),
            "{thread}"
        );
    }
}

#[test]
fn code_is_made_in_emulation_alone() {
    for thread in Thread::ALL {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert_eq!(of(thread, &plan(Hypervisor::Native, Network::User))[&call].len(), 1, "{thread}");
            assert!(of(thread, &plan(Hypervisor::Emulator, Network::User))[&call].is_empty(), "{thread}");
        }
    }
}

#[test]
fn an_emulated_guest_has_no_kvm() {
    for thread in Thread::ALL {
        let native = of(thread, &plan(Hypervisor::Native, Network::Tap))[&libc::SYS_ioctl].len();
        let emulated = of(thread, &plan(Hypervisor::Emulator, Network::Tap))[&libc::SYS_ioctl].len();
        assert!(emulated < native, "{thread}");
    }
}

#[test]
fn filters_are_short() {
    for plan in plans() {
        let any = filter::compile(of_any(&plan), Mode::On).unwrap();
        assert!(any.len() < 900, "{} instructions", any.len());
        for thread in Thread::ALL {
            filter::compile(of(thread, &plan), Mode::Log).unwrap();
        }
    }
}
