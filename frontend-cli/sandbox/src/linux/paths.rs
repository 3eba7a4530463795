//! Landlock (`landlock(7)`): which paths can be opened, that no TCP port can be bound, and to whom signals and abstract sockets lead.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::{Access, Error, Network, Part, Place, Plan};

/// The newest version whose rights are handled. Connecting to a socket by its path (version 9) is left to seccomp.
const NEWEST: ABI = ABI::V6;

/// What version of Landlock brings what (`landlock(7)`, "VERSIONS").
const VERSIONS: [(ABI, &str); 4] = [
    (ABI::V1, "paths"),
    (ABI::V3, "truncation"),
    (ABI::V4, "TCP ports"),
    (ABI::V6, "signals and abstract sockets"),
];

/// Closes them for the calling thread and all that it makes.
pub(super) fn close(plan: &Plan) -> Result<(), Error> {
    restrict(plan).map_err(|error| Error::new("Landlock", error))
}

fn restrict(plan: &Plan) -> Result<(), RulesetError> {
    let ports = match plan.network {
        // No rule names a port, so none can be bound.
        Network::User | Network::UserAndSegment => AccessNet::BindTcp.into(),
        _ => AccessNet::from_all(NEWEST),
    };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(ports)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for Place { path, access } in &plan.places {
        // What is not there is not needed.
        let Ok(opened) = PathFd::new(path) else { continue };
        let is_folder = path.is_dir();
        rules = rules.add_rule(PathBeneath::new(opened, rights(*access, is_folder)))?;
    }
    let status = rules.restrict_self()?;
    tracing::debug!("Landlock: {:?}", status.ruleset);
    Ok(())
}

fn rights(access: Access, is_folder: bool) -> BitFlags<AccessFs> {
    let files = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    match (access, is_folder) {
        (Access::Read, true) => AccessFs::ReadFile | AccessFs::ReadDir,
        (Access::Read, false) => AccessFs::ReadFile.into(),
        (Access::Write, _) | (Access::Own, false) => files,
        (Access::Own, true) => {
            files
                | AccessFs::ReadDir
                | AccessFs::RemoveDir
                | AccessFs::RemoveFile
                | AccessFs::MakeReg
                | AccessFs::MakeSock
        }
        (Access::RemoveFolders, _) => AccessFs::RemoveDir.into(),
    }
}

pub(super) fn support() -> Part {
    let versions = VERSIONS.map(|(version, _)| version);
    describe(versions.into_iter().take_while(|version| has(*version)).last().unwrap_or(ABI::Unsupported))
}

/// Whether this kernel takes all that `version` has.
fn has(version: ABI) -> bool {
    let rules = || -> Result<_, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(version))?;
        if version >= ABI::V4 {
            rules = rules.handle_access(AccessNet::from_all(version))?;
        }
        if version >= ABI::V6 {
            rules = rules.scope(Scope::from_all(version))?;
        }
        rules.create()
    };
    rules().is_ok()
}

fn describe(abi: ABI) -> Part {
    let listed = |parts: Vec<&str>| parts.join(", ");
    let (has, lacks): (Vec<_>, Vec<_>) = VERSIONS.into_iter().partition(|(since, _)| *since <= abi);
    let names = |parts: Vec<(ABI, &'static str)>| listed(parts.into_iter().map(|(_, name)| name).collect());
    let lacks =
        (!lacks.is_empty()).then(|| format!("this kernel's Landlock does not restrict {}", names(lacks)));
    let has = if has.is_empty() { "nothing".to_owned() } else { format!("restricts {}", names(has)) };
    Part { name: "Landlock", has, lacks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let none = describe(ABI::Unsupported);
        assert_eq!(none.has, "nothing");
        assert!(none.lacks.unwrap().ends_with("paths, truncation, TCP ports, signals and abstract sockets"));
        let some = describe(ABI::V3);
        assert_eq!(some.has, "restricts paths, truncation");
        assert!(some.lacks.unwrap().contains("TCP ports"));
        assert_eq!(describe(ABI::V6).lacks, None);
    }
}
