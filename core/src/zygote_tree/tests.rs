#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ErrorCode;

fn package(name: &str, milliseconds: u64, mebibytes: u64, requires: &[&str]) -> Package {
    Package {
        name: name.into(),
        import_time: Duration::from_millis(milliseconds),
        memory_bytes: mebibytes << 20,
        requires: requires.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn function(name: &str, weight: f64, imports: &[&str]) -> FunctionImports {
    FunctionImports {
        name: name.into(),
        imports: imports.iter().map(|name| (*name).to_owned()).collect(),
        weight,
    }
}

/// Everything a node has loaded.
fn loaded(tree: &ZygoteTree, node: usize) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = tree.nodes[node].preload.iter().cloned().collect();
    if let Some(parent) = tree.nodes[node].parent {
        all.extend(loaded(tree, parent));
    }
    all
}

#[test]
fn what_many_have_in_common_becomes_a_node_and_what_some_have_beyond_it_its_child() {
    let packages = [
        package("numpy", 100, 20, &[]),
        package("pandas", 400, 50, &["numpy"]),
        package("requests", 80, 10, &["urllib3"]),
        package("urllib3", 20, 2, &[]),
    ];
    let functions = [
        function("plot", 10.0, &["numpy"]),
        function("report", 5.0, &["pandas"]),
        function("fetch", 3.0, &["requests"]),
        function("nothing", 100.0, &[]),
    ];
    let tree = propose_tree(&functions, &packages, &TreeLimits::default()).unwrap();
    let preloads: Vec<(Option<usize>, Vec<&str>)> = tree
        .nodes
        .iter()
        .map(|node| (node.parent, node.preload.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        preloads,
        [
            (None, vec![]),
            // Half a second five times is more than a tenth fifteen times: what only some need is a node at once …
            (Some(0), vec!["numpy", "pandas"]),
            // … and those who need less get one beside it.
            (Some(0), vec!["numpy"]),
            (Some(0), vec!["urllib3", "requests"]),
        ]
    );
    assert_eq!(tree.placements, [2, 1, 3, 0]);
    assert!((tree.import_time.without - (1.0 + 2.5 + 0.3)).abs() < 1e-9, "{:?}", tree.import_time);
    assert!(tree.import_time.with.abs() < 1e-9, "{:?}", tree.import_time);

    // With less on top, what all have in common comes first.
    let mut light = packages.clone();
    light[1].import_time = Duration::from_millis(150);
    let tree = propose_tree(&functions, &light, &TreeLimits::default()).unwrap();
    assert_eq!(
        (tree.nodes[1].parent, tree.nodes[1].preload.as_slice()),
        (Some(0), &["numpy".to_owned()][..])
    );
    assert_eq!(
        (tree.nodes[2].parent, tree.nodes[2].preload.as_slice()),
        (Some(1), &["pandas".to_owned()][..])
    );
}

#[test]
fn limits_are_kept_and_memory_goes_where_it_saves_most() {
    let packages = [package("huge", 300, 1000, &[]), package("a", 100, 10, &[]), package("b", 100, 10, &[])];
    let functions = [function("h", 2.0, &["huge"]), function("a", 2.0, &["a"]), function("b", 2.0, &["b"])];
    let limits = |max_nodes, mebibytes: u64| TreeLimits {
        max_nodes,
        memory_bytes: mebibytes << 20,
        ..TreeLimits::default()
    };
    let names = |limits| -> Vec<String> {
        let tree = propose_tree(&functions, &packages, &limits).unwrap();
        tree.nodes.iter().flat_map(|node| node.preload.clone()).collect()
    };
    assert!(names(limits(1, 5000)).is_empty());
    assert_eq!(names(limits(2, 5000)), ["huge"]);
    assert_eq!(
        names(limits(9, 1003)),
        ["huge"],
        "it saves more than the two small ones, which fit no longer"
    );
    assert_eq!(names(limits(9, 1002)), ["huge"]);
    assert_eq!(names(limits(9, 1001)), ["a", "b"]);
    assert_eq!(names(limits(9, 12)), ["a"]);
    assert!(names(limits(9, 11)).is_empty());
}

#[test]
fn bad_input_is_named() {
    let packages = [package("a", 1, 1, &["b"]), package("b", 1, 1, &["a"])];
    let good = [function("f", 1.0, &["a"])];
    let limits = TreeLimits::default();
    // A circle of requirements is no mistake of the caller's.
    let tree = propose_tree(&good, &packages, &limits).unwrap();
    assert_eq!(tree.nodes[1].preload, ["a", "b"]);

    let refused = |functions: &[FunctionImports], packages: &[Package], limits: TreeLimits| {
        let error = propose_tree(functions, packages, &limits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        error.field().unwrap().to_owned()
    };
    let twice = [packages[0].clone(), packages[0].clone()];
    assert_eq!(refused(&good, &twice, limits), "packages[1].name");
    assert_eq!(refused(&good, &packages[..1], limits), "packages[0].requires");
    assert_eq!(refused(&[function("f", 1.0, &["c"])], &packages, limits), "functions[0].imports");
    assert_eq!(refused(&[function("", 1.0, &[])], &packages, limits), "functions[0].name");
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(&[function("f", weight, &[])], &packages, limits), "functions[0].weight");
    }
    assert_eq!(refused(&good, &packages, TreeLimits { max_nodes: 0, ..limits }), "limits.max_nodes");
    assert_eq!(refused(&good, &packages, TreeLimits { memory_bytes: 1, ..limits }), "limits.memory_bytes");
}

/// Packages that require only earlier ones, and functions that import some: `(packages, functions)`.
fn workload() -> impl Strategy<Value = (Vec<Package>, Vec<FunctionImports>)> {
    let packages =
        prop::collection::vec((0u64..500, 0u64..50, prop::collection::vec(0usize..12, 0..3)), 1..12);
    let functions = prop::collection::vec((0.0f64..10.0, prop::collection::vec(0usize..12, 0..4)), 0..12);
    (packages, functions).prop_map(|(packages, functions)| {
        let count = packages.len();
        let name = |index: usize| format!("p{index}");
        let packages = packages.into_iter().enumerate().map(|(index, (time, memory, requires))| Package {
            name: name(index),
            import_time: Duration::from_millis(time),
            memory_bytes: memory << 20,
            requires: requires.into_iter().filter(|&other| other < index).map(name).collect(),
        });
        let functions = functions.into_iter().enumerate().map(|(index, (weight, imports))| FunctionImports {
            name: format!("f{index}"),
            imports: imports.into_iter().map(|import| name(import % count)).collect(),
            weight,
        });
        (packages.collect(), functions.collect())
    })
}

proptest! {
    #[test]
    fn every_tree_is_sound((packages, functions) in workload(), max_nodes in 1usize..9, mebibytes in 1u64..300) {
        let limits = TreeLimits { max_nodes, memory_bytes: mebibytes << 20, node_bytes: 1 << 20 };
        let tree = propose_tree(&functions, &packages, &limits).unwrap();
        let find = |name: &str| packages.iter().find(|package| package.name == name).unwrap();

        prop_assert!(tree.nodes.len() <= max_nodes);
        prop_assert!(tree.nodes.iter().map(|node| node.memory_bytes).sum::<u64>() <= limits.memory_bytes);
        prop_assert_eq!(tree.placements.len(), functions.len());
        for (number, node) in tree.nodes.iter().enumerate() {
            prop_assert_eq!(node.parent.is_none(), number == 0);
            prop_assert!(node.parent.is_none_or(|parent| parent < number));
            let bytes: u64 = node.preload.iter().map(|name| find(name).memory_bytes).sum();
            prop_assert_eq!(node.memory_bytes, bytes + limits.node_bytes);
            // Everything comes after what it requires, and nothing twice.
            let mut there = node.parent.map(|parent| loaded(&tree, parent)).unwrap_or_default();
            for name in &node.preload {
                prop_assert!(find(name).requires.iter().all(|required| there.contains(required)));
                prop_assert!(there.insert(name.clone()));
            }
        }
        // No function is forked from a node that has loaded more than the function imports, and the time is right.
        let mut with = 0.0;
        for (function, &node) in functions.iter().zip(&tree.placements) {
            let mut imports = BTreeSet::new();
            let mut left: Vec<&String> = function.imports.iter().collect();
            while let Some(name) = left.pop() {
                if imports.insert(name.clone()) {
                    left.extend(&find(name).requires);
                }
            }
            let loaded = loaded(&tree, node);
            prop_assert!(loaded.is_subset(&imports));
            let rest = imports.difference(&loaded).map(|name| find(name).import_time.as_secs_f64()).sum::<f64>();
            with += function.weight * rest;
        }
        prop_assert!((with - tree.import_time.with).abs() < 1e-6, "{with} {:?}", tree.import_time);
        prop_assert!(tree.import_time.with <= tree.import_time.without + 1e-9);
    }

    #[test]
    fn more_nodes_never_save_less((packages, functions) in workload(), max_nodes in 1usize..9) {
        let of = |max_nodes| {
            let limits = TreeLimits { max_nodes, ..TreeLimits::default() };
            propose_tree(&functions, &packages, &limits).unwrap().import_time.with
        };
        prop_assert!(of(max_nodes + 1) <= of(max_nodes) + 1e-9);
    }
}

/// A small generator of numbers, always the same ones.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's linear congruential generator (MMIX).
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Small numbers are drawn most: the number n about once for every n times that 1 is (Zipf's law).
    fn popular(&mut self, limit: usize) -> usize {
        let share = self.below(1_000_000) as f64 / 1e6;
        ((limit as f64).powf(share) as usize - 1).min(limit - 1)
    }
}

/// 300 packages, some of them popular and with many requirements, and 2,000 functions, some of them busy.
fn realistic() -> (Vec<Package>, Vec<FunctionImports>) {
    let mut numbers = Numbers(42);
    let name = |index: usize| format!("package-{index}");
    let packages = (0..300)
        .map(|index| Package {
            name: name(index),
            import_time: Duration::from_millis(1 + numbers.below(120)),
            memory_bytes: (1 + numbers.below(15)) << 20,
            // Popular packages come first and are what others require.
            requires: (0..numbers.below(4))
                .map(|_| numbers.popular(index + 1))
                .filter(|&other| other < index)
                .map(name)
                .collect(),
        })
        .collect();
    let functions = (0..2000)
        .map(|index| FunctionImports {
            name: format!("function-{index}"),
            imports: (0..1 + numbers.below(5)).map(|_| name(numbers.popular(300))).collect(),
            weight: 1000.0 / (1.0 + numbers.popular(2000) as f64),
        })
        .collect();
    (packages, functions)
}

#[test]
fn a_realistic_workload_saves_more_with_every_step_and_keeps_to_its_memory() {
    let (packages, functions) = realistic();
    let share = |max_nodes, memory_bytes| {
        let limits = TreeLimits { max_nodes, memory_bytes, ..TreeLimits::default() };
        let tree = propose_tree(&functions, &packages, &limits).unwrap();
        let memory: u64 = tree.nodes.iter().map(|node| node.memory_bytes).sum();
        assert!(memory <= memory_bytes);
        (tree.import_time.with / tree.import_time.without, memory >> 20)
    };
    let steps = [1, 10, 40, 160, 640].map(|nodes| share(nodes, u64::MAX));
    let bounded = share(640, 1 << 30);
    println!(
        "left to import, and MiB: 1, 10, 40, 160, 640 nodes {steps:.2?}; 640 within 1 GiB {bounded:.2?}"
    );
    assert!(steps.windows(2).all(|pair| pair[1].0 < pair[0].0), "{steps:?}");
    assert!((steps[0].0 - 1.0).abs() < 1e-9);
    assert!(bounded.0 < steps[1].0, "a gibibyte is worth more than ten nodes: {bounded:?} {steps:?}");
}
