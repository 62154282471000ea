//! What this host offers to sandboxes, what it does not, and how to change that.
//!
//! Everything is found out by trying, as far as that can be done without changing anything: namespaces by a child
//! that lives in them for a moment, the rest by a real sandbox that is made, used and destroyed.

mod cgroups;
mod host;
mod kernel;
mod namespaces;
mod render;
mod trial;

pub(super) use namespaces::missing_feature;

/// What [`doctor`] found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// One per feature, in a fixed order.
    pub checks: Vec<Check>,
}

/// One feature of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its short name, for example `namespace.user`. Names do not change.
    pub name: &'static str,
    /// Whether it can be used.
    pub status: CheckStatus,
    /// By what means, or why not.
    pub detail: String,
    /// What to do about it; empty if there is nothing to do.
    pub fix: String,
}

/// Whether a feature can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// Fully.
    Works,
    /// Sandboxes do without it, or with a weaker means.
    Degraded,
    /// Not at all.
    Missing,
}

impl CheckStatus {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            CheckStatus::Works => "works",
            CheckStatus::Degraded => "degraded",
            CheckStatus::Missing => "missing",
        }
    }
}

impl Diagnosis {
    /// Whether a sandbox was made, used and destroyed.
    pub fn can_make_sandboxes(&self) -> bool {
        self.check("sandbox").is_some_and(|check| check.status != CheckStatus::Missing)
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

impl Check {
    fn works(name: &'static str, detail: impl Into<String>) -> Self {
        Check { name, status: CheckStatus::Works, detail: detail.into(), fix: String::new() }
    }

    fn degraded(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Check { name, status: CheckStatus::Degraded, detail: detail.into(), fix: fix.into() }
    }

    fn missing(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Check { name, status: CheckStatus::Missing, detail: detail.into(), fix: fix.into() }
    }
}

/// Examines this host for the Linux backend, as the calling user and from inside whatever the process is in.
///
/// Makes one sandbox and destroys it; nothing stays and nothing of the host is changed. Takes tens of milliseconds
/// where all is well, and at most about a minute. May be called from any thread, as any user.
pub fn doctor() -> Diagnosis {
    let mut checks = Vec::new();
    checks.push(kernel::version());
    checks.extend(namespaces::checks());
    checks.extend(kernel::checks());
    let trial = trial::run();
    checks.push(kernel::overlay(&trial.report));
    checks.extend(cgroups::checks(&trial.report));
    checks.extend(host::checks());
    checks.push(trial.check);
    Diagnosis { checks }
}
