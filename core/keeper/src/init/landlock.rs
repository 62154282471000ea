//! Landlock, the second layer: what may be done with files, decided without regard to mounts.
//!
//! It restricts the init once and for all, and with it every command. It must come last: a restricted process can
//! neither mount nor change its root.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use sandboxset_keeper::{Create, LayerReport, LayerStatus};

use super::layer;

/// The newest interface that this is written for (Linux 6.12). An older kernel enforces what it knows.
const INTERFACE: ABI = ABI::V6;
/// What every sandbox may write to. The mounts there say what exactly. Message queues are opened through a mount of the
/// kernel's own, which is not below `/dev`.
const WRITABLE: [&str; 4] = ["/scratch", "/tmp", "/dev", "/dev/mqueue"];

/// Restricts this process and all its descendants. Answers the rules too if a process that is to be restricted by them
/// comes from elsewhere: the runtime of a forked sandbox.
pub(super) fn restrict(create: &Create) -> (LayerReport, Option<OwnedFd>) {
    if create.off.iter().any(|off| off == "landlock") {
        return (layer("landlock", LayerStatus::Missing, "switched off"), None);
    }
    if create.runtime.as_ref().is_some_and(|runtime| runtime.forks) {
        let why = "a sandbox that can be forked is without it: a restricted process can join no other";
        return (layer("landlock", LayerStatus::Missing, why), None);
    }
    let is_forked = create.parent.is_some();
    let result = ruleset(create).and_then(|ruleset| {
        let rules = if is_forked { ruleset.try_clone().ok().and_then(Option::from) } else { None };
        Ok((ruleset.restrict_self()?.ruleset, rules))
    });
    match result {
        Ok((status, rules)) => (reached(Ok(status), is_forked), rules),
        Err(error) => (reached(Err(error), is_forked), None),
    }
}

fn reached(result: Result<RulesetStatus, RulesetError>, is_forked: bool) -> LayerReport {
    match result {
        Ok(RulesetStatus::FullyEnforced) if is_forked => {
            layer("landlock", LayerStatus::Active, "files; sockets and signals by the namespaces")
        }
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

fn ruleset(create: &Create) -> Result<RulesetCreated, RulesetError> {
    let writable_binds =
        create.binds.iter().filter(|bind| bind.writable).map(|bind| OsStr::from_bytes(&bind.target));
    let writable = WRITABLE.into_iter().map(OsStr::new).chain(writable_binds);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(INTERFACE))?;
    // The runtime of a forked sandbox is in a domain of its own, as nobody can join one. Scopes would keep the init, and
    // the commands, from its processes.
    if create.parent.is_none() {
        ruleset = ruleset.scope(Scope::from_all(INTERFACE))?;
    }
    ruleset
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(INTERFACE)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(INTERFACE)))?
        // Programs name their threads there; the settings of the kernel below it are mounted read-only.
        .add_rules(path_beneath_rules(["/proc"], AccessFs::from_read(INTERFACE) | AccessFs::WriteFile))
}
