//! Threads of each kind that do what they may not, in child processes: what becomes of the process, and what it says.
//!
//! This program is the child, too: `attack MODE NETWORK THREAD ACT` closes the doors and does the act on a thread of the kind.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "an attack is a system call that nothing safe makes")
)]

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: attacks are on Linux");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, mode, network, thread, act] = words.as_slice()
        && word == "attack"
    {
        linux::attack(mode, network, thread, act);
        return std::process::ExitCode::SUCCESS;
    }
    linux::tests()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        fs, io,
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            fd::AsRawFd,
            unix::{
                net::{UnixListener, UnixStream},
                process::ExitStatusExt,
            },
        },
        path::Path,
        process::{Command, ExitCode, Output},
        thread,
        time::{Duration, Instant},
    };

    use hv_sandbox::{Access, Hypervisor, Mode, Network, Place, Plan, Sandbox, Thread};
    use libtest_mimic::{Arguments, Failed, Trial};
    use rustix::process::{Resource, getrlimit};

    /// The exit code of a violation here.
    const CODE: i32 = 99;
    const FOLDER: &str = "HV_SANDBOX_TEST_FOLDER";
    /// Puts a byte into the input of a terminal.
    const TIOCSTI: i64 = 0x5412;
    /// The abstract name that the parent listens on.
    const ABSTRACT: &str = "HV_SANDBOX_TEST_NAME";

    /// System calls that nobody needs, with arguments of zero.
    const CALLS: &[(&str, i64)] = &[
        ("execveat", libc::SYS_execveat),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("mount", libc::SYS_mount),
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("unshare", libc::SYS_unshare),
        ("kill", libc::SYS_kill),
        ("clone", libc::SYS_clone),
        ("memfd_create", libc::SYS_memfd_create),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("listen", libc::SYS_listen),
    ];

    fn plan(mode: Mode, network: Network) -> Plan {
        let folder = std::env::var_os(FOLDER).unwrap_or_default();
        let places = vec![Place::new(folder, Access::Own), Place::new("/proc/self", Access::Read)];
        let hypervisor = Hypervisor::Native;
        Plan { mode, hypervisor, memory: 64 << 20, network, places, code: CODE, last: || {} }
    }

    fn named<T: Copy>(all: &[(&str, T)], name: &str) -> T {
        all.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not known")).1
    }

    const MODES: [(&str, Mode); 3] = [("on", Mode::On), ("log", Mode::Log), ("off", Mode::Off)];
    const NETWORKS: [(&str, Network); 4] = [
        ("none", Network::None),
        ("user", Network::User),
        ("tap", Network::Tap),
        ("socket", Network::Socket),
    ];

    pub(crate) fn attack(mode: &str, network: &str, thread: &str, act: &str) {
        hv_sandbox::ready();
        let kind = Thread::ALL.into_iter().find(|kind| kind.to_string() == thread).expect("a kind of thread");
        let plan = plan(named(&MODES, mode), named(&NETWORKS, network));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = listener.local_addr().unwrap();
        let sandbox = Sandbox::close(&plan).unwrap();
        let act = act.to_owned();
        let body = move || {
            sandbox.begin(kind).unwrap();
            match perform(&act, near) {
                Ok(()) => println!("done"),
                Err(error) => println!("refused: {error}"),
            }
        };
        thread::Builder::new().name(thread.to_owned()).spawn(body).unwrap().join().unwrap();
    }

    fn perform(act: &str, near: std::net::SocketAddr) -> io::Result<()> {
        let own = std::env::var_os(FOLDER).unwrap_or_default();
        let own = Path::new(&own);
        match act {
            "passwd" => fs::read("/etc/passwd").map(drop),
            "own" => {
                fs::write(own.join("new"), "x")?;
                fs::rename(own.join("new"), own.join("old"))?;
                fs::remove_file(own.join("old"))
            }
            "outside" => fs::write("/tmp/hv-sandbox-escape", "x"),
            "execve" => {
                use std::os::unix::process::CommandExt;
                Err(Command::new("/bin/true").exec())
            }
            "packet" => {
                use rustix::net::{AddressFamily, SocketType, socket};
                Ok(socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)?)
            }
            "unix" => UnixStream::connect("/run/nobody.sock").map(drop),
            "abstract" => {
                use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
                let name = std::env::var(ABSTRACT).unwrap_or_default();
                UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
            }
            "tcp" => TcpStream::connect(near).map(drop),
            "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
            "bind" => TcpListener::bind("127.0.0.1:0").map(drop),
            "thread" => {
                thread::Builder::new().spawn(|| {})?.join().unwrap();
                Ok(())
            }
            "code" => result(unsafe_call(
                libc::SYS_mmap,
                [
                    0,
                    4096,
                    (libc::PROT_READ | libc::PROT_EXEC).into(),
                    (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(),
                    -1,
                ],
            )),
            "typing" => result(unsafe_call(libc::SYS_ioctl, [0, TIOCSTI, 0, 0, 0])),
            "usual" => usual(),
            "itself" => itself(),
            call => result(unsafe_call(named(CALLS, call), [0; 5])),
        }
    }

    /// What any thread does: memory, locks, time, waiting, a panic.
    fn usual() -> io::Result<()> {
        let blocks: Vec<Vec<u8>> = (0..64).map(|size| vec![1; size << 14]).collect();
        drop(blocks);
        let begin = Instant::now();
        thread::sleep(Duration::from_millis(1));
        assert!(begin.elapsed() >= Duration::from_millis(1));
        let (send, receive) = std::sync::mpsc::channel::<()>();
        assert!(receive.recv_timeout(Duration::from_millis(1)).is_err());
        drop(send);
        assert!(std::panic::catch_unwind(|| panic!("as meant")).is_err());
        let _ = std::collections::HashMap::<u8, u8>::new();
        Ok(())
    }

    fn result(returned: i64) -> io::Result<()> {
        if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn unsafe_call(number: i64, [a, b, c, d, e]: [i64; 5]) -> i64 {
        // SAFETY: an anonymous mapping, or zeros that no call takes for memory of this process.
        unsafe { libc::syscall(number, a, b, c, d, e, 0_i64) }
    }

    struct Child {
        folder: tempfile::TempDir,
    }

    impl Child {
        fn run(&self, words: [&str; 4]) -> Output {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("attack").args(words).env(FOLDER, self.folder.path());
            // A backtrace reads files.
            command.env_remove("RUST_BACKTRACE").env(ABSTRACT, abstract_name());
            command.output().unwrap()
        }
    }

    fn abstract_name() -> String {
        format!("hv-sandbox-test-{}", std::process::id())
    }

    fn child() -> Child {
        Child { folder: tempfile::tempdir().unwrap() }
    }

    /// The child ended for it, and said so in a line.
    fn ends(words: [&str; 4], call: &str) -> Result<(), Failed> {
        let output = child().run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        let [_, _, thread, _] = words;
        let named = format!("its thread `{thread}` called {call} (number ");
        if output.status.code() != Some(CODE) || !said.contains(&named) || said.trim().lines().count() != 1 {
            return Err(format!(
                "{words:?}: {:?}, {:?}: {said}",
                output.status.code(),
                output.status.signal()
            )
            .into());
        }
        Ok(())
    }

    /// The child went on; what it says of the act.
    fn goes_on(words: [&str; 4]) -> Result<String, Failed> {
        let output = child().run(words);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{words:?}: {:?}, {:?}: {said}",
                output.status.code(),
                output.status.signal()
            )
            .into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn refused(words: [&str; 4]) -> Result<(), Failed> {
        let said = goes_on(words)?;
        if said.starts_with("refused: Permission denied")
            || said.starts_with("refused: Operation not permitted")
        {
            return Ok(());
        }
        Err(format!("{words:?}: {said}").into())
    }

    fn done(words: [&str; 4]) -> Result<(), Failed> {
        let said = goes_on(words)?;
        if said == "done" { Ok(()) } else { Err(format!("{words:?}: {said}").into()) }
    }

    const THREADS: [&str; 5] = ["vCPU", "worker", "network", "sockets", "session"];

    fn calls_that_nobody_needs() -> Result<(), Failed> {
        for thread in THREADS {
            for (name, _) in CALLS {
                ends(["on", "user", thread, name], name)?;
            }
            ends(["on", "user", thread, "execve"], "execve")?;
            ends(["on", "user", thread, "code"], "mmap")?;
            ends(["on", "user", thread, "typing"], "ioctl")?;
        }
        Ok(())
    }

    fn files() -> Result<(), Failed> {
        for thread in ["vCPU", "worker", "sockets"] {
            ends(["on", "user", thread, "passwd"], "openat")?;
        }
        for network in ["none", "tap"] {
            ends(["on", network, "network", "passwd"], "openat")?;
        }
        if !has("paths") {
            println!("this kernel has no Landlock: what files a thread may open is not tested");
            return Ok(());
        }
        for act in ["passwd", "outside"] {
            refused(["on", "user", "session", act])?;
        }
        refused(["on", "user", "network", "passwd"])?;
        done(["on", "user", "session", "own"])
    }

    fn sockets() -> Result<(), Failed> {
        for thread in ["vCPU", "worker", "session"] {
            for act in ["packet", "unix", "abstract", "tcp", "bind", "udp"] {
                ends(["on", "user", thread, act], "socket")?;
            }
        }
        for act in ["packet", "unix", "abstract"] {
            ends(["on", "user", "network", act], "socket")?;
        }
        for act in ["packet", "tcp", "bind", "udp"] {
            ends(["on", "user", "sockets", act], "socket")?;
            ends(["on", "tap", "network", act], "socket")?;
        }
        for act in ["tcp", "udp"] {
            done(["on", "user", "network", act])?;
        }
        if has("TCP ports") {
            refused(["on", "user", "network", "bind"])?;
        }
        if has("abstract") {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(abstract_name())?)?;
            refused(["on", "user", "sockets", "abstract"])?;
        }
        Ok(())
    }

    fn has(what: &str) -> bool {
        hv_sandbox::support().iter().any(|part| part.has.contains(what))
    }

    fn threads() -> Result<(), Failed> {
        for thread in ["vCPU", "worker", "network", "sockets"] {
            let output = child().run(["on", "user", thread, "thread"]);
            let said = String::from_utf8_lossy(&output.stderr);
            // A thread is made with signals held back, the host's word of a violation among them.
            if output.status.signal() != Some(libc::SIGSYS) {
                return Err(format!("{thread}: {said}").into());
            }
        }
        done(["on", "user", "session", "thread"])
    }

    fn usual_things() -> Result<(), Failed> {
        THREADS.into_iter().try_for_each(|thread| done(["on", "none", thread, "usual"]))
    }

    fn log_ends_nothing() -> Result<(), Failed> {
        for mode in ["log", "off"] {
            for act in
                ["passwd", "packet", "unix", "tcp", "bind", "thread", "code", "typing", "keyctl", "usual"]
            {
                goes_on([mode, "none", "vCPU", act])?;
            }
        }
        Ok(())
    }

    /// Descriptors of whoever starts the process, and limits: what the child says of itself.
    fn the_process() -> Result<(), Failed> {
        let (left_open, _other) = UnixStream::pair()?;
        // A number that the child does not come to by itself.
        let left_open = rustix::io::fcntl_dupfd_cloexec(&left_open, 200)?;
        rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty())?;
        let said = goes_on(["on", "none", "session", "itself"])?;
        if said.contains(&format!("fd {}\n", left_open.as_raw_fd())) || !said.contains("core Some(0)") {
            return Err(said.into());
        }
        Ok(())
    }

    fn itself() -> io::Result<()> {
        for entry in fs::read_dir("/proc/self/fd")?.flatten() {
            println!("fd {}", entry.file_name().display());
        }
        println!("core {:?}", getrlimit(Resource::Core).maximum);
        let status = fs::read_to_string("/proc/thread-self/status")?;
        let no_new_privileges = status.lines().any(|line| line == "NoNewPrivs:\t1");
        if no_new_privileges { Ok(()) } else { Err(io::Error::other(status)) }
    }

    pub(crate) fn tests() -> ExitCode {
        let arguments = Arguments::from_args();
        let trials = vec![
            Trial::test("calls_that_nobody_needs_end_the_process_on_every_thread", calls_that_nobody_needs),
            Trial::test("files_are_for_those_that_need_them", files),
            Trial::test("sockets_are_for_those_that_need_them", sockets),
            Trial::test("threads_are_made_by_the_session_alone", threads),
            Trial::test("usual_things_go_on", usual_things),
            Trial::test("a_log_ends_nothing", log_ends_nothing),
            Trial::test("nothing_is_inherited_and_no_core_is_written", the_process),
        ];
        libtest_mimic::run(&arguments, trials).exit_code()
    }
}
