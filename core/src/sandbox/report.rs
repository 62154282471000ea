//! What isolation a sandbox reached, layer by layer.

/// The layers of isolation of a backend and what was reached of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IsolationReport {
    /// One line per layer, in a fixed order.
    pub layers: Vec<Layer>,
}

/// One layer of isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its short name, for example `seccomp` or `cgroup.memory`.
    pub name: String,
    /// What was reached.
    pub status: LayerStatus,
    /// By what means, or why not.
    pub detail: String,
}

/// What a reset verified from outside. Only a sandbox of which all of it was found in order is reused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetReport {
    /// What was looked at, in the order of looking.
    pub checks: Vec<ResetCheck>,
    /// How long the whole reset took.
    pub duration: std::time::Duration,
}

/// One thing that was as it is in a fresh sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetCheck {
    /// Its short name, for example `processes` or `mounts`.
    pub name: &'static str,
    /// What was found, by what means.
    pub detail: String,
}

/// What was reached of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStatus {
    /// Fully in force.
    Active,
    /// A weaker means stands in for it.
    Degraded,
    /// Not in force.
    Missing,
}

impl LayerStatus {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            LayerStatus::Active => "active",
            LayerStatus::Degraded => "degraded",
            LayerStatus::Missing => "missing",
        }
    }
}

impl ResetReport {
    /// Adds what was found in order.
    pub fn add(&mut self, name: &'static str, detail: impl Into<String>) {
        self.checks.push(ResetCheck { name, detail: detail.into() });
    }
}

/// One line: every check with its detail.
impl std::fmt::Display for ResetReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, check) in self.checks.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", check.name, check.detail)?;
        }
        Ok(())
    }
}

impl IsolationReport {
    /// The layer of this name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}
