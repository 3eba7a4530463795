//! What a kernel said last, and what that tells of its end.

/// So much of it is shown when the guest has crashed.
const LINES: usize = 8;

/// How Linux begins to tell of a panic (kernel/panic.c), and of a restart that somebody asked for (kernel/reboot.c). Both are of its
/// most urgent level, which `quiet` lets through.
const PANIC: &str = "Kernel panic - not syncing";
const RESTART: &str = "reboot: Restarting system";

/// The kernel's word for what follows a panic: without it Linux stands still for ever, and nobody would know.
pub(super) const RESTART_AT_PANIC: &str = "panic=-1";

/// Whether a kernel's command line says what follows a panic.
pub(super) fn chooses_panic(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| word.starts_with("panic="))
}

/// Whether a reset after these words is the end of a panic, and nobody asked for it.
pub(super) fn tell_of_panic(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let Some(panic) = text.rfind(PANIC) else { return false };
    text.rfind(RESTART).is_none_or(|restart| restart < panic)
}

/// The lines that matter: from the panic on, or the last ones.
pub(super) fn excerpt(said: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let panic = lines.iter().rposition(|line| line.contains(PANIC));
    let from = panic.unwrap_or(lines.len().saturating_sub(LINES));
    lines.into_iter().skip(from).take(LINES).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: &str = "[    0.9] VFS: Cannot open root device\r\n[    1.0] Kernel panic - not syncing: VFS: Unable to mount\r\n\
        [    1.0] CPU: 0 PID: 1\r\n";

    #[test]
    fn a_panic_is_told_from_a_restart() {
        let asked = "[    9.0] reboot: Restarting system\r\n";
        assert!(tell_of_panic(CRASH.as_bytes()));
        assert!(tell_of_panic(format!("{asked}{CRASH}").as_bytes()));
        // What somebody reads out of an old log.
        assert!(!tell_of_panic(format!("{CRASH}{asked}").as_bytes()));
        assert!(!tell_of_panic(asked.as_bytes()));
        assert!(!tell_of_panic(b"\xff"));
    }

    #[test]
    fn what_is_shown_begins_at_the_panic_or_is_the_end() {
        let shown = excerpt(CRASH.as_bytes());
        assert_eq!(
            shown,
            ["[    1.0] Kernel panic - not syncing: VFS: Unable to mount", "[    1.0] CPU: 0 PID: 1"]
        );
        let many = (0..20).map(|number| format!("line {number}\n\n")).collect::<String>();
        assert_eq!(excerpt(many.as_bytes()).first().map(String::as_str), Some("line 12"));
    }

    #[test]
    fn a_word_of_the_users_own_is_seen() {
        assert!(chooses_panic("ro panic=10 quiet"));
        assert!(!chooses_panic("ro oops=panic quiet"));
    }
}
