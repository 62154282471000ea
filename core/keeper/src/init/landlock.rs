//! Landlock, the second layer: what may be done with files, decided without regard to mounts.
//!
//! It restricts the init once and for all, and with it every command. It must come last: a restricted process can
//! neither mount nor change its root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use sandboxset_keeper::{Create, LayerReport, LayerStatus};

use super::layer;

/// The newest interface that this is written for (Linux 6.12). An older kernel enforces what it knows.
const INTERFACE: ABI = ABI::V6;
/// What every sandbox may write to. The mounts there say what exactly.
const WRITABLE: [&str; 3] = ["/scratch", "/tmp", "/dev"];

/// Restricts this process and all its descendants.
pub(super) fn restrict(create: &Create) -> LayerReport {
    if create.off.iter().any(|off| off == "landlock") {
        return layer("landlock", LayerStatus::Missing, "switched off");
    }
    match enforce(create) {
        Ok(RulesetStatus::FullyEnforced) => {
            layer("landlock", LayerStatus::Active, "files, sockets and signals")
        }
        Ok(RulesetStatus::PartiallyEnforced) => layer(
            "landlock",
            LayerStatus::Degraded,
            "the kernel has an older interface: what it knows is enforced",
        ),
        Ok(RulesetStatus::NotEnforced) => {
            layer("landlock", LayerStatus::Missing, "the kernel does not have it switched on")
        }
        Err(error) => layer("landlock", LayerStatus::Missing, &format!("refused: {error}")),
    }
}

fn enforce(create: &Create) -> Result<RulesetStatus, RulesetError> {
    let writable_binds =
        create.binds.iter().filter(|bind| bind.writable).map(|bind| OsStr::from_bytes(&bind.target));
    let writable = WRITABLE.into_iter().map(OsStr::new).chain(writable_binds);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(INTERFACE))?
        .scope(Scope::from_all(INTERFACE))?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(INTERFACE)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(INTERFACE)))?
        // Programs name their threads there; the settings of the kernel below it are mounted read-only.
        .add_rules(path_beneath_rules(["/proc"], AccessFs::from_read(INTERFACE) | AccessFs::WriteFile))?
        .restrict_self()?;
    Ok(status.ruleset)
}
