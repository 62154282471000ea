//! Packages and functions by number, checked, with everything that an import brings along.

use std::collections::{BTreeSet, HashMap};

use super::grow::Grown;
use super::{FunctionImports, ImportTime, Package, TreeLimits, ZygoteNode, ZygoteTree};
use crate::{Error, Result};

/// A set of packages by number.
pub(super) type Packages = BTreeSet<usize>;

/// A function: all it imports, and how often.
pub(super) struct Function {
    pub(super) imports: Packages,
    pub(super) weight: f64,
}

/// What there is to choose from.
pub(super) struct Catalog<'a> {
    packages: &'a [Package],
    /// For each package itself and all it requires, directly or not.
    closures: Vec<Packages>,
    pub(super) functions: Vec<Function>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(
        functions: &[FunctionImports],
        packages: &'a [Package],
        limits: &TreeLimits,
    ) -> Result<Self> {
        check_limits(limits)?;
        let numbers = number("packages", packages.iter().map(|package| package.name.as_str()))?;
        number("functions", functions.iter().map(|function| function.name.as_str()))?;
        let find = |field: String, name: &str| {
            let known = numbers.get(name).copied();
            known.ok_or_else(|| Error::invalid(field, format_args!("{name:?} is not among the packages")))
        };
        let mut required = Vec::with_capacity(packages.len());
        for (index, package) in packages.iter().enumerate() {
            let field = || format!("packages[{index}].requires");
            let direct: Result<Vec<usize>> =
                package.requires.iter().map(|name| find(field(), name)).collect();
            required.push(direct?);
        }
        let closures: Vec<Packages> =
            (0..packages.len()).map(|package| closure(package, &required)).collect();
        let mut known = Vec::with_capacity(functions.len());
        for (index, function) in functions.iter().enumerate() {
            if !(function.weight >= 0.0 && function.weight.is_finite()) {
                let field = format!("functions[{index}].weight");
                return Err(Error::invalid(
                    field,
                    format_args!("{} is no number of 0 or more", function.weight),
                ));
            }
            let mut imports = Packages::new();
            for name in &function.imports {
                imports.extend(&closures[find(format!("functions[{index}].imports"), name)?]);
            }
            known.push(Function { imports, weight: function.weight });
        }
        Ok(Catalog { packages, closures, functions: known })
    }

    /// Itself and all it requires.
    pub(super) fn closure(&self, package: usize) -> &Packages {
        &self.closures[package]
    }

    /// How long these take to import, in seconds.
    pub(super) fn seconds<'p>(&self, packages: impl IntoIterator<Item = &'p usize>) -> f64 {
        packages.into_iter().map(|&package| self.packages[package].import_time.as_secs_f64()).sum()
    }

    /// How much memory these take; more than there are bytes is no more than that.
    pub(super) fn bytes<'p>(&self, packages: impl IntoIterator<Item = &'p usize>) -> u64 {
        packages
            .into_iter()
            .fold(0u64, |sum, &package| sum.saturating_add(self.packages[package].memory_bytes))
    }

    /// The tree in the words of the caller.
    pub(super) fn name(&self, grown: Grown) -> ZygoteTree {
        let without: f64 =
            self.functions.iter().map(|function| function.weight * self.seconds(&function.imports)).sum();
        let nodes = grown.nodes.into_iter().map(|node| ZygoteNode {
            parent: node.parent,
            preload: self.in_order(&node.added),
            memory_bytes: node.bytes,
        });
        ZygoteTree {
            nodes: nodes.collect(),
            placements: grown.placements,
            import_time: ImportTime { without, with: (without - grown.saved).max(0.0) },
        }
    }

    /// The names of packages, each after those it requires. Those that require each other are in the order in which
    /// they were given.
    fn in_order(&self, packages: &Packages) -> Vec<String> {
        let mut order: Vec<usize> = packages.iter().copied().collect();
        // Whoever requires another one has the larger closure, because it has the other's and itself.
        order.sort_by_key(|&package| (self.closures[package].len(), package));
        order.into_iter().map(|package| self.packages[package].name.clone()).collect()
    }
}

fn check_limits(limits: &TreeLimits) -> Result<()> {
    if limits.max_nodes == 0 {
        return Err(Error::invalid("limits.max_nodes", "0 leaves no room for the root"));
    }
    if limits.node_bytes > limits.memory_bytes {
        return Err(Error::invalid(
            "limits.memory_bytes",
            format_args!("{} is less than the root takes, {}", limits.memory_bytes, limits.node_bytes),
        ));
    }
    Ok(())
}

/// The names by number; each must be there, and only once.
fn number<'n>(field: &str, names: impl Iterator<Item = &'n str>) -> Result<HashMap<&'n str, usize>> {
    let mut numbers = HashMap::new();
    for (index, name) in names.enumerate() {
        let field = || format!("{field}[{index}].name");
        if name.is_empty() {
            return Err(Error::invalid(field(), "is empty"));
        }
        if numbers.insert(name, index).is_some() {
            return Err(Error::invalid(field(), format_args!("{name:?} is there twice")));
        }
    }
    Ok(numbers)
}

/// Packages may require each other in a circle.
fn closure(package: usize, required: &[Vec<usize>]) -> Packages {
    let mut reached = Packages::from([package]);
    let mut left = vec![package];
    while let Some(next) = left.pop() {
        left.extend(required[next].iter().copied().filter(|&other| reached.insert(other)));
    }
    reached
}
