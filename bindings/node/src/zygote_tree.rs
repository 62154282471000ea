//! A proposal which parents to preload.

use std::collections::HashMap;

use napi::Env;
use napi_derive::napi;
use sandboxset::TreeLimits;

use crate::errors::raise;
use crate::values::millis;

#[napi(object, object_to_js = false)]
pub struct Package {
    pub name: String,
    pub import_time: f64,
    pub memory_bytes: Option<f64>,
    pub requires: Option<Vec<String>>,
}

#[napi(object, object_to_js = false)]
pub struct FunctionImports {
    pub name: String,
    pub imports: Vec<String>,
    pub weight: Option<f64>,
}

#[napi(object, object_to_js = false)]
pub struct TreeOptions {
    pub max_nodes: Option<f64>,
    pub memory_bytes: Option<f64>,
    pub node_bytes: Option<f64>,
}

#[napi(object, object_from_js = false)]
pub struct ZygoteTree {
    pub nodes: Vec<ZygoteNode>,
    pub placements: HashMap<String, u32>,
    pub import_time_without_ms: f64,
    pub import_time_with_ms: f64,
}

#[napi(object, object_from_js = false)]
pub struct ZygoteNode {
    pub parent: Option<u32>,
    pub preload: Vec<String>,
    pub memory_bytes: f64,
}

#[napi(catch_unwind)]
pub fn propose_tree(
    env: Env,
    functions: Vec<FunctionImports>,
    packages: Vec<Package>,
    options: TreeOptions,
) -> napi::Result<ZygoteTree> {
    let function = |function: FunctionImports| sandboxset::FunctionImports {
        name: function.name,
        imports: function.imports,
        weight: function.weight.unwrap_or(1.0),
    };
    let package = |package: Package| sandboxset::Package {
        name: package.name,
        import_time: millis(package.import_time),
        memory_bytes: package.memory_bytes.unwrap_or_default() as u64,
        requires: package.requires.unwrap_or_default(),
    };
    let functions: Vec<_> = functions.into_iter().map(function).collect();
    let packages: Vec<_> = packages.into_iter().map(package).collect();
    let default = TreeLimits::default();
    let limits = TreeLimits {
        max_nodes: options.max_nodes.map_or(default.max_nodes, |nodes| nodes as usize),
        memory_bytes: options.memory_bytes.map_or(default.memory_bytes, |bytes| bytes as u64),
        node_bytes: options.node_bytes.map_or(default.node_bytes, |bytes| bytes as u64),
    };
    let tree =
        sandboxset::propose_tree(&functions, &packages, &limits).map_err(|error| raise(&env, &error))?;
    let placed = functions.into_iter().map(|function| function.name).zip(tree.placements);
    let node = |node: sandboxset::ZygoteNode| ZygoteNode {
        parent: node.parent.map(|parent| parent as u32),
        preload: node.preload,
        memory_bytes: node.memory_bytes as f64,
    };
    Ok(ZygoteTree {
        placements: placed.map(|(name, node)| (name, node as u32)).collect(),
        nodes: tree.nodes.into_iter().map(node).collect(),
        import_time_without_ms: seconds_to_millis(tree.import_time.without),
        import_time_with_ms: seconds_to_millis(tree.import_time.with),
    })
}

/// Weighted seconds, which no duration can hold.
fn seconds_to_millis(seconds: f64) -> f64 {
    seconds * 1000.0
}
