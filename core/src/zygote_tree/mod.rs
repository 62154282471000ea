//! Which common sets of packages deserve a parent of their own: a proposal, made ahead of time from what functions
//! import and how often they run.
//!
//! A function can be forked from any parent that has loaded nothing but what the function imports anyway. The more
//! of that a parent has, the less is left to import on the request path, and the fewer functions can use the parent.
//! So parents form a tree: each one has what its own parent has, and more.
//!
//! The tree is grown greedily, one node at a time, as OpenLambda's Forklift does it (*Forklift: Fitting Zygote Trees
//! for Faster Package Initialization*, WoSC 2024): for every package that some functions at a node still lack, the
//! candidate is a child with that package, what it requires, and whatever else all of those functions import. Each
//! step takes the candidate that saves the most import time, weighted by how often the functions run.
//!
//! Where memory is limited, that rule alone can spend it all on one large node. So a second tree is grown by what
//! saves the most per byte, and the better of the two is answered, as is done for maximum coverage within a budget
//! (Khuller, Moss and Naor, *The budgeted maximum coverage problem*, 1999).

mod catalog;
mod grow;
#[cfg(test)]
mod tests;

use std::time::Duration;

use catalog::Catalog;
use grow::Rule;

use crate::Result;

/// A package that functions import.
#[derive(Clone, Debug)]
pub struct Package {
    /// What functions and other packages call it.
    pub name: String,
    /// How long importing it takes when all it requires is there already.
    pub import_time: Duration,
    /// How much memory it takes once it is imported, in bytes, without what it requires.
    pub memory_bytes: u64,
    /// The packages that are imported with it.
    pub requires: Vec<String>,
}

/// A function that is to be forked from a node of the tree.
#[derive(Clone, Debug)]
pub struct FunctionImports {
    /// What it is called.
    pub name: String,
    /// The packages it imports; what they require need not be listed.
    pub imports: Vec<String>,
    /// How often it is started, in whatever unit is the same for all; 0 for never.
    pub weight: f64,
}

/// How large a tree may become.
#[derive(Clone, Copy, Debug)]
pub struct TreeLimits {
    /// Nodes at most, the root included; default 16. At least 1.
    pub max_nodes: usize,
    /// What all nodes together may take, in bytes; default no limit. What a node has from its parent is shared and
    /// counts once.
    pub memory_bytes: u64,
    /// What a node takes beyond the packages it adds, in bytes; default 1 MiB, for the process and what is copied
    /// when the packages are used.
    pub node_bytes: u64,
}

/// The proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct ZygoteTree {
    /// The nodes; the first one is the root, and every other one comes after its parent.
    pub nodes: Vec<ZygoteNode>,
    /// For each function, in the order they were given, the node to fork it from.
    pub placements: Vec<usize>,
    /// Import time per unit of weight without any tree, and with this one.
    pub import_time: ImportTime,
}

/// A parent to preload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZygoteNode {
    /// Its own parent; `None` for the root.
    pub parent: Option<usize>,
    /// What it imports beyond what its parent has, in an order in which everything comes after what it requires.
    /// Empty for the root.
    pub preload: Vec<String>,
    /// What it takes beyond its parent, in bytes.
    pub memory_bytes: u64,
}

/// What is imported on the request path: over all functions, weight times seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImportTime {
    /// If every function starts from nothing.
    pub without: f64,
    /// If every function is forked from its node.
    pub with: f64,
}

impl Default for TreeLimits {
    fn default() -> Self {
        TreeLimits { max_nodes: 16, memory_bytes: u64::MAX, node_bytes: 1 << 20 }
    }
}

/// Proposes a tree of parents for these functions.
///
/// The answer depends on nothing but the arguments.
///
/// # Errors
///
/// `INVALID_ARGUMENT`, which names the field: a package or function that is listed twice or has no name, an import
/// that is not among the packages, a weight that is negative or no number, no node allowed, or less memory than the
/// root takes.
pub fn propose_tree(
    functions: &[FunctionImports],
    packages: &[Package],
    limits: &TreeLimits,
) -> Result<ZygoteTree> {
    let catalog = Catalog::new(functions, packages, limits)?;
    let by_gain = grow::grow(&catalog, limits, Rule::Gain);
    if limits.memory_bytes == u64::MAX {
        return Ok(catalog.name(by_gain));
    }
    let by_density = grow::grow(&catalog, limits, Rule::GainPerByte);
    let better = if by_density.saved > by_gain.saved { by_density } else { by_gain };
    Ok(catalog.name(better))
}
