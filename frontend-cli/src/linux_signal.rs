//! Signals of Linux, which are what guests know, whatever the host is: their names and numbers on x86_64 and arm64.

/// The names in the order of their numbers, from 1 on (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names for some.
const ALIASES: [(&str, u8); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// `TERM`, `SIGTERM`, `sigterm` or `15`: the number of a signal. Real-time signals, from 32 on, are not among them.
pub(crate) fn parse(text: &str) -> Result<u8, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number);
    let number =
        number.or_else(|| ALIASES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number));
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = || text.parse().ok().filter(|number| is_plain && is_known(*number));
    number
        .or_else(plain)
        .ok_or_else(|| "write the name of a signal, such as TERM, or a number from 1 to 31".to_owned())
}

/// Whether there is a signal of this number.
pub(crate) fn is_known(number: u8) -> bool {
    (1..=NAMES.len()).contains(&usize::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("HUP", 1),
            ("KILL", 9),
            ("SIGUSR1", 10),
            ("sigterm", 15),
            ("Cont", 18),
            ("SYS", 31),
            ("15", 15),
            ("SIGIOT", 6),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for wrong in [
            "",
            "SIG",
            "SIGSIGTERM",
            "0",
            "32",
            "-1",
            "+15",
            "RTMIN+3",
            "SIGRTMIN",
            "TERM ",
            "265",
            "TERMINATE",
        ] {
            let told = parse(wrong).unwrap_err();
            assert!(told.contains("1 to 31"), "{wrong}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn numbers_are_those_of_linux() {
        use rustix::process::Signal;
        for (name, signal) in [
            ("ABRT", Signal::ABORT),
            ("STKFLT", Signal::STKFLT),
            ("CHLD", Signal::CHILD),
            ("TSTP", Signal::TSTP),
            ("URG", Signal::URG),
            ("WINCH", Signal::WINCH),
            ("IO", Signal::IO),
            ("PWR", Signal::POWER),
        ] {
            assert_eq!(parse(name).map(i32::from), Ok(signal.as_raw()), "{name}");
        }
    }
}
