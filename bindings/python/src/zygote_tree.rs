//! A proposal which parents to preload.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sandboxset::{FunctionImports, ImportTime, Package, TreeLimits};

use crate::arguments::{Optional, integer, integer_or, items, number, seconds, text, wrong_type};
use crate::errors::raise;

/// A proposed tree of parents.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct ZygoteTree {
    nodes: Vec<sandboxset::ZygoteNode>,
    placements: BTreeMap<String, usize>,
    import_time: ImportTime,
}

/// A parent to preload.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct ZygoteNode {
    core: sandboxset::ZygoteNode,
}

/// Proposes a tree of parents for these functions. The answer depends on nothing but the arguments.
#[pyfunction]
#[pyo3(signature = (functions, packages, *, max_nodes = None, memory_bytes = None, node_bytes = None))]
pub(crate) fn propose_tree(
    py: Python<'_>,
    functions: &Bound<'_, PyAny>,
    packages: &Bound<'_, PyAny>,
    max_nodes: Optional<'_>,
    memory_bytes: Optional<'_>,
    node_bytes: Optional<'_>,
) -> PyResult<ZygoteTree> {
    let functions = read(functions, "functions", "FunctionImports", function)?;
    let packages = read(packages, "packages", "Package", package)?;
    let default = TreeLimits::default();
    let limits = TreeLimits {
        max_nodes: integer_or("max_nodes", &max_nodes, default.max_nodes)?,
        memory_bytes: integer_or("memory_bytes", &memory_bytes, default.memory_bytes)?,
        node_bytes: integer_or("node_bytes", &node_bytes, default.node_bytes)?,
    };
    let tree = py
        .detach(|| sandboxset::propose_tree(&functions, &packages, &limits))
        .map_err(|error| raise(py, error))?;
    let names = functions.into_iter().map(|function| function.name);
    Ok(ZygoteTree {
        nodes: tree.nodes,
        placements: names.zip(tree.placements).collect(),
        import_time: tree.import_time,
    })
}

/// The items of a list or tuple, all of one class.
fn read<'py, T>(
    value: &Bound<'py, PyAny>,
    field: &str,
    class: &str,
    one: impl Fn(&str, &Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let expected = value.py().import("sandboxset.zygote_tree")?.getattr(class)?;
    let what = format!("a {class}");
    let items = items(field, &format!("a list or tuple of {class}"), value)?;
    let read = |(index, item): (usize, &Bound<'py, PyAny>)| {
        let field = format!("{field}[{index}]");
        if !item.is_instance(&expected)? {
            return Err(wrong_type(&field, &what, item));
        }
        one(&field, item)
    };
    items.iter().enumerate().map(read).collect()
}

fn package(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Package> {
    Ok(Package {
        name: text(&format!("{field}.name"), &value.getattr("name")?)?,
        import_time: seconds(&format!("{field}.import_time"), &value.getattr("import_time")?)?,
        memory_bytes: integer(&format!("{field}.memory_bytes"), &value.getattr("memory_bytes")?)?,
        requires: names(&format!("{field}.requires"), &value.getattr("requires")?)?,
    })
}

fn function(field: &str, value: &Bound<'_, PyAny>) -> PyResult<FunctionImports> {
    Ok(FunctionImports {
        name: text(&format!("{field}.name"), &value.getattr("name")?)?,
        imports: names(&format!("{field}.imports"), &value.getattr("imports")?)?,
        weight: number(&format!("{field}.weight"), &value.getattr("weight")?)?,
    })
}

fn names(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let items = items(field, "a list or tuple of str", value)?;
    items.iter().enumerate().map(|(index, item)| text(&format!("{field}[{index}]"), item)).collect()
}

#[pymethods]
impl ZygoteTree {
    /// The nodes; the first one is the root, and every other one comes after its parent.
    #[getter]
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.nodes.iter().map(|node| ZygoteNode { core: node.clone() }))
    }

    /// The number of the node to fork each function from, by its name.
    #[getter]
    fn placements(&self) -> BTreeMap<String, usize> {
        self.placements.clone()
    }

    /// Seconds of imports on the request path if every function starts from nothing, each counted with its weight.
    #[getter]
    fn import_time_without(&self) -> f64 {
        self.import_time.without
    }

    /// The same if every function is forked from its node.
    #[getter]
    fn import_time_with(&self) -> f64 {
        self.import_time.with
    }

    fn __repr__(&self) -> String {
        format!(
            "<ZygoteTree of {} nodes, import time {:.6} instead of {:.6}>",
            self.nodes.len(),
            self.import_time.with,
            self.import_time.without
        )
    }
}

#[pymethods]
impl ZygoteNode {
    /// The number of its own parent; `None` for the root.
    #[getter]
    fn parent(&self) -> Option<usize> {
        self.core.parent
    }

    /// What it imports beyond what its parent has; everything comes after what it requires.
    #[getter]
    fn preload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.core.preload)
    }

    /// What it takes beyond its parent, in bytes.
    #[getter]
    fn memory_bytes(&self) -> u64 {
        self.core.memory_bytes
    }

    fn __repr__(&self) -> String {
        let parent = self.core.parent.map_or_else(|| "None".to_owned(), |parent| parent.to_string());
        format!(
            "ZygoteNode(parent={parent}, preload={:?}, memory_bytes={})",
            self.core.preload, self.core.memory_bytes
        )
    }
}
