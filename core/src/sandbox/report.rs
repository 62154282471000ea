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

impl IsolationReport {
    /// The layer of this name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}
