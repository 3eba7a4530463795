//! The agent in a guest, as `hv` carries it and speaks to it; `docs/agent.md` describes it.

pub(crate) mod control;
pub(crate) mod session;

/// The agent's executable for guests with x86_64 processors; empty where `hv` runs none.
pub(crate) const X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hv-init-x86_64"));

/// The agent's executable for guests with arm64 processors; empty where `hv` runs none.
pub(crate) const AARCH64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hv-init-aarch64"));

/// The most characters of what the agent says that are shown.
const MOST_TEXT: usize = 400;

/// What the agent says, as part of one line.
fn shown(text: &str) -> String {
    text.chars().take(MOST_TEXT).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_small_and_there_for_the_guests_of_this_host() {
        let own = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };
        assert!(own.starts_with(b"\x7fELF"));
        for agent in [X86_64, AARCH64] {
            assert!(agent.len() <= 700 << 10, "{} bytes", agent.len());
        }
    }
}
