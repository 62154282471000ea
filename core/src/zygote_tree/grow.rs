//! Growing the tree, one node at a time.

use std::collections::BTreeMap;

use super::TreeLimits;
use super::catalog::{Catalog, Packages};

/// What makes one candidate better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It saves more time.
    Gain,
    /// It saves more time for each byte it takes.
    GainPerByte,
}

/// A tree by numbers.
pub(super) struct Grown {
    pub(super) nodes: Vec<Node>,
    pub(super) placements: Vec<usize>,
    /// Weight times seconds that need not be imported on the request path.
    pub(super) saved: f64,
}

pub(super) struct Node {
    pub(super) parent: Option<usize>,
    /// What it has beyond its parent.
    pub(super) added: Packages,
    pub(super) bytes: u64,
    /// All it has.
    loaded: Packages,
    /// The functions that are forked from it.
    functions: Vec<usize>,
}

/// A child that some node could get.
struct Candidate {
    parent: usize,
    added: Packages,
    functions: Vec<usize>,
    bytes: u64,
    gain: f64,
}

/// Adds the best candidate until there is none that saves anything and fits.
pub(super) fn grow(catalog: &Catalog<'_>, limits: &TreeLimits, rule: Rule) -> Grown {
    let everybody: Vec<usize> = (0..catalog.functions.len()).collect();
    let root = Node {
        parent: None,
        added: Packages::new(),
        bytes: limits.node_bytes,
        loaded: Packages::new(),
        functions: everybody,
    };
    let mut nodes = vec![root];
    // A node's best candidate changes only with the node, or when it no longer fits.
    let mut left = limits.memory_bytes - limits.node_bytes;
    let mut best = vec![best_candidate(catalog, limits, rule, &nodes, 0, left)];
    let mut saved = 0.0;
    while nodes.len() < limits.max_nodes {
        for (node, candidate) in best.iter_mut().enumerate() {
            if candidate.as_ref().is_some_and(|candidate| candidate.bytes > left) {
                *candidate = best_candidate(catalog, limits, rule, &nodes, node, left);
            }
        }
        let Some(chosen) = best_of(&mut best, rule) else { break };
        left -= chosen.bytes;
        saved += chosen.gain;
        let parent = chosen.parent;
        nodes[parent].functions.retain(|function| chosen.functions.binary_search(function).is_err());
        let loaded = nodes[parent].loaded.union(&chosen.added).copied().collect();
        nodes.push(Node {
            parent: Some(parent),
            added: chosen.added,
            bytes: chosen.bytes,
            loaded,
            functions: chosen.functions,
        });
        best[parent] = best_candidate(catalog, limits, rule, &nodes, parent, left);
        best.push(best_candidate(catalog, limits, rule, &nodes, nodes.len() - 1, left));
    }
    let mut placements = vec![0; catalog.functions.len()];
    for (number, node) in nodes.iter().enumerate() {
        node.functions.iter().for_each(|&function| placements[function] = number);
    }
    Grown { nodes, placements, saved }
}

fn best_of(best: &mut [Option<Candidate>], rule: Rule) -> Option<Candidate> {
    let (node, _) = best
        .iter()
        .enumerate()
        .filter_map(|(node, candidate)| Some((node, candidate.as_ref()?.score(rule))))
        // Of equals the first, so that the answer depends on nothing else.
        .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
    best[node].take()
}

/// The best child that a node could get within so many bytes.
fn best_candidate(
    catalog: &Catalog<'_>,
    limits: &TreeLimits,
    rule: Rule,
    nodes: &[Node],
    number: usize,
    left: u64,
) -> Option<Candidate> {
    let node = &nodes[number];
    let mut lacking: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &function in &node.functions {
        for &package in catalog.functions[function].imports.difference(&node.loaded) {
            lacking.entry(package).or_default().push(function);
        }
    }
    let candidates = lacking.into_iter().filter_map(|(package, functions)| {
        let mut common = catalog.functions[functions[0]].imports.clone();
        for &function in &functions[1..] {
            common.retain(|package| catalog.functions[function].imports.contains(package));
        }
        debug_assert!(common.is_superset(catalog.closure(package)), "an import brings what it requires");
        let added: Packages = common.difference(&node.loaded).copied().collect();
        let weight: f64 = functions.iter().map(|&function| catalog.functions[function].weight).sum();
        let gain = weight * catalog.seconds(&added);
        let bytes = catalog.bytes(&added).saturating_add(limits.node_bytes);
        (gain > 0.0 && bytes <= left).then_some(Candidate { parent: number, added, functions, bytes, gain })
    });
    candidates.reduce(|best, other| if other.score(rule) > best.score(rule) { other } else { best })
}

impl Candidate {
    fn score(&self, rule: Rule) -> f64 {
        match rule {
            Rule::Gain => self.gain,
            // A node may be said to take nothing.
            Rule::GainPerByte => self.gain / self.bytes.max(1) as f64,
        }
    }
}
