//! The sandbox profile of a guest's process on macOS, as text in the profile language (SBPL): a pure function, tested on every host.

use std::{fmt::Write, path::Path};

use crate::{Access, Hypervisor, Network, Place, Plan};

/// The profile for `plan`. `log` allows all and reports what the profile would refuse.
pub fn text(plan: &Plan, log: bool) -> String {
    let mut text = String::from("(version 1)\n");
    // A violation is an error of the call, as macOS has no way to end the process for it.
    text.push_str(if log { "(allow default (with report))\n" } else { "(deny default)\n" });
    text.push_str(ALWAYS);
    if plan.hypervisor == Hypervisor::Emulator {
        text.push_str("(allow dynamic-code-generation)\n");
    }
    text.push_str(match plan.network {
        Network::None | Network::Tap => "",
        Network::User => USER,
        Network::UserAndSegment => USER_AND_SEGMENT,
        Network::Socket => "(allow network-outbound (remote unix-socket))\n",
        Network::Vmnet => VMNET,
    });
    for Place { path, access } in &plan.places {
        let (quoted, resolved) = (quote(path), path.canonicalize().ok().filter(|other| other != path));
        let mut paths = vec![quoted];
        // The kernel compares paths without links: /tmp and /etc are links on macOS.
        paths.extend(resolved.map(|path| quote(&path)));
        for path in paths {
            // Writing to a string cannot fail.
            let _ = match access {
                Access::Read => writeln!(text, "(allow file-read* (subpath {path}))"),
                Access::Write => writeln!(text, "(allow file-read* file-write-data (literal {path}))"),
                Access::Own => writeln!(
                    text,
                    "(allow file-read* file-write* (subpath {path}))\n(allow network* (subpath {path}))"
                ),
                Access::RemoveFolders => writeln!(
                    text,
                    "(allow file-read* (literal {path}))\n(allow file-write-unlink (subpath {path}))"
                ),
            };
        }
    }
    text
}

/// What every guest's process needs: its own memory and threads, signals to itself, the hypervisor, the terminal that it has.
const ALWAYS: &str = r#"(allow signal (target self))
(allow process-info* (target self))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (literal "/dev/urandom") (literal "/dev/random"))
(allow file-read* file-write-data file-ioctl (literal "/dev/null") (literal "/dev/tty") (regex #"^/dev/ttys[0-9]+$"))
(allow file-read* (subpath "/usr/lib") (subpath "/System/Library"))
(allow iokit-open (iokit-user-client-class "AppleHVClient"))
(allow system-fsctl)
(allow system-socket)
(allow network-inbound (local unix-socket))
"#;

/// Connections to anywhere, and the forwards that listen already.
const USER: &str = r#"(allow network-outbound (remote ip))
(allow network-inbound (local ip))
(allow network-bind (local udp))
"#;
const USER_AND_SEGMENT: &str = r#"(allow network-outbound (remote ip))
(allow network-inbound (local ip))
(allow network-bind (local udp))
(allow network-outbound (remote unix-socket))
"#;
/// vmnet's interface is another process's, spoken with by XPC.
const VMNET: &str = r#"(allow mach-lookup (global-name "com.apple.NetworkSharing"))
"#;

/// A path as a string of the profile language.
fn quote(path: &Path) -> String {
    let mut quoted = String::from("\"");
    for letter in path.to_string_lossy().chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    fn plan(network: Network) -> Plan {
        Plan {
            mode: Mode::On,
            hypervisor: Hypervisor::Native,
            network,
            memory: 0,
            places: Vec::new(),
            code: 1,
            last: || {},
        }
    }

    /// Every parenthesis outside of strings is closed.
    fn is_balanced(text: &str) -> bool {
        let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
        for letter in text.chars() {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                return false;
            }
        }
        depth == 0 && !quoted
    }

    #[test]
    fn what_is_not_allowed_is_denied() {
        for network in
            [Network::None, Network::User, Network::UserAndSegment, Network::Socket, Network::Vmnet]
        {
            let text = text(&plan(network), false);
            assert!(text.starts_with("(version 1)\n(deny default)\n"), "{text}");
            assert!(is_balanced(&text), "{text}");
            for never in [
                "process-exec",
                "process-fork",
                "(allow default",
                "mach-lookup (global-name-regex",
                "file-write* (subpath \"/\")",
            ] {
                assert!(!text.contains(never), "{never} in {text}");
            }
        }
    }

    #[test]
    fn connections_are_for_guests_with_the_network_of_this_process() {
        let may_connect =
            |network| text(&plan(network), false).contains("(allow network-outbound (remote ip))");
        assert!(may_connect(Network::User) && may_connect(Network::UserAndSegment));
        assert!(!may_connect(Network::None) && !may_connect(Network::Socket) && !may_connect(Network::Vmnet));
        assert!(
            !text(&plan(Network::User), false).contains("tcp"),
            "no port is bound once the doors are closed"
        );
    }

    #[test]
    fn code_is_made_by_the_emulator_alone() {
        let emulated = Plan { hypervisor: Hypervisor::Emulator, ..plan(Network::None) };
        assert!(text(&emulated, false).contains("dynamic-code-generation"));
        assert!(!text(&plan(Network::None), false).contains("dynamic-code-generation"));
    }

    #[test]
    fn paths_cannot_end_their_string() {
        let place = Place::new("/a \"b\\\") (allow default", Access::Own);
        let text = text(&Plan { places: vec![place], ..plan(Network::None) }, false);
        assert!(text.contains(r#"(subpath "/a \"b\\\") (allow default")"#), "{text}");
        assert!(is_balanced(&text), "{text}");
    }

    #[test]
    fn a_log_refuses_nothing() {
        let text = text(&plan(Network::None), true);
        assert!(text.contains("(allow default (with report))") && !text.contains("deny"), "{text}");
    }
}
