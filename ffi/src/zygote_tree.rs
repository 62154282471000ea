//! `sandboxset_tree` and what it is proposed from.

use std::ffi::{CString, c_char};
use std::time::Duration;

use sandboxset::{Error, FunctionImports, Package, Result, TreeLimits, ZygoteNode, ZygoteTree};

use crate::boundary::Caller;
use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::options::{self, Plain};
use crate::text::{to_c_string, to_usize};

/// The parent of the root of a tree: there is none.
pub const SANDBOXSET_TREE_NO_PARENT: u64 = u64::MAX;

/// A package that functions import. Initialise it with sandboxset_package_init. Everything it points to is copied by
/// sandboxset_propose_tree.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_package {
    /// sizeof(sandboxset_package).
    pub struct_size: usize,
    /// What functions and other packages call it. Required.
    pub name: *const c_char,
    /// How long importing it takes when all it requires is there already, in nanoseconds; default 0.
    pub import_time_ns: u64,
    /// How much memory it takes once it is imported, in bytes, without what it requires; default 0.
    pub memory_bytes: u64,
    /// The names of the packages that are imported with it, and a final NULL. Default NULL: none.
    pub required: *const *const c_char,
}

/// A function that is to be forked from a node of the tree. Initialise it with sandboxset_function_imports_init.
/// Everything it points to is copied by sandboxset_propose_tree.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_function_imports {
    /// sizeof(sandboxset_function_imports).
    pub struct_size: usize,
    /// What it is called. Required.
    pub name: *const c_char,
    /// The names of the packages that it imports, and a final NULL; what they require need not be listed. Default
    /// NULL: none.
    pub imports: *const *const c_char,
    /// How often it is started, in whatever unit is the same for all; 0 is never. Default 1.
    pub weight: f64,
}

/// How large a tree may become. Initialise it with sandboxset_tree_limits_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_tree_limits {
    /// sizeof(sandboxset_tree_limits).
    pub struct_size: usize,
    /// Nodes at most, the root included; default 16. At least 1.
    pub max_nodes: u64,
    /// What all nodes together may take, in bytes; default UINT64_MAX, no limit. What a node has from its parent is
    /// shared and counts once.
    pub memory_bytes: u64,
    /// What a node takes beyond the packages it adds, in bytes; default 1 MiB, for the process and what is copied
    /// when the packages are used.
    pub node_bytes: u64,
}

/// A parent to preload. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_tree_node {
    /// sizeof(sandboxset_tree_node).
    pub struct_size: usize,
    /// The index of its own parent, which is smaller than its own; SANDBOXSET_TREE_NO_PARENT for the root.
    pub parent: u64,
    /// What it imports beyond what its parent has, in an order in which everything comes after what it requires, and
    /// a final NULL; empty for the root. Borrowed from the tree.
    pub preload: *const *const c_char,
    /// How many these are, without the final NULL.
    pub preload_length: u64,
    /// What it takes beyond its parent, in bytes.
    pub memory_bytes: u64,
}

/// A proposal which common sets of packages deserve a parent of their own. Immutable.
pub struct sandboxset_tree {
    _opaque: (),
}

/// A tree as C wants it.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    placements: Vec<usize>,
    without: f64,
    with: f64,
}

struct Node {
    parent: u64,
    memory_bytes: u64,
    /// The pointers below point into these.
    _names: Vec<CString>,
    preload: Pointers,
}

/// Pointers to the texts of one node, and a final NULL.
struct Pointers(Vec<*const c_char>);

// SAFETY: they point to texts on the heap that live as long as the node and never change.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

handle!(sandboxset_tree, Tree, b"ss_ztree");

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_package {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        sandboxset_package {
            struct_size: size_of::<Self>(),
            name: std::ptr::null(),
            import_time_ns: 0,
            memory_bytes: 0,
            required: std::ptr::null(),
        }
    }
}

// SAFETY: repr(C), size first, raw pointers and a float, no padding.
unsafe impl Plain for sandboxset_function_imports {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        sandboxset_function_imports {
            struct_size: size_of::<Self>(),
            name: std::ptr::null(),
            imports: std::ptr::null(),
            weight: 1.0,
        }
    }
}

// SAFETY: repr(C), size first, integers, no padding.
unsafe impl Plain for sandboxset_tree_limits {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        let limits = TreeLimits::default();
        sandboxset_tree_limits {
            struct_size: size_of::<Self>(),
            max_nodes: limits.max_nodes as u64,
            memory_bytes: limits.memory_bytes,
            node_bytes: limits.node_bytes,
        }
    }
}

// SAFETY: repr(C), size first, integers and a raw pointer, no padding.
unsafe impl Plain for sandboxset_tree_node {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        sandboxset_tree_node {
            struct_size: size_of::<Self>(),
            parent: SANDBOXSET_TREE_NO_PARENT,
            preload: std::ptr::null(),
            preload_length: 0,
            memory_bytes: 0,
        }
    }
}

/// Fills the package with its defaults. `struct_size` is sizeof(sandboxset_package).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_package_init(package: *mut sandboxset_package, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(package, struct_size) };
}

/// Fills the function with its defaults. `struct_size` is sizeof(sandboxset_function_imports).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_function_imports_init(
    function: *mut sandboxset_function_imports,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(function, struct_size) };
}

/// Fills the limits with their defaults. `struct_size` is sizeof(sandboxset_tree_limits).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_limits_init(
    limits: *mut sandboxset_tree_limits,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(limits, struct_size) };
}

/// Proposes a tree of parents for functions, from what they import and how often they are started. A function can be
/// forked from any parent that has loaded nothing but what the function imports anyway.
///
/// `functions` and `packages` are arrays of pointers, and may be NULL where their length is 0; `limits` may be NULL for
/// the defaults. The answer depends on nothing but the arguments.
///
/// SANDBOXSET_INVALID_ARGUMENT, with the field: a package or function that is listed twice or has no name, an import
/// that is not among the packages, a weight that is negative or no number, no node allowed, or less memory than the
/// root takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_propose_tree(
    functions: *const *const sandboxset_function_imports,
    functions_length: usize,
    packages: *const *const sandboxset_package,
    packages_length: usize,
    limits: *const sandboxset_tree_limits,
    out_tree: *mut *mut sandboxset_tree,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let functions = caller.pointers(functions, functions_length, "functions")?.into_iter();
        let functions: Vec<_> = functions.map(|from| read_function(caller, from)).collect::<Result<_>>()?;
        let packages = caller.pointers(packages, packages_length, "packages")?.into_iter();
        let packages: Vec<_> = packages.map(|from| read_package(caller, from)).collect::<Result<_>>()?;
        let from = caller.options(limits, "limits")?;
        let limits = TreeLimits {
            max_nodes: to_usize(from.max_nodes, "limits.max_nodes")?,
            memory_bytes: from.memory_bytes,
            node_bytes: from.node_bytes,
        };
        let out_tree = caller.out(out_tree, "out_tree")?;
        out_tree.write(into_raw(sandboxset::propose_tree(&functions, &packages, &limits)?));
        Ok(())
    })
}

/// Answers how many nodes there are, at least one. The first one is the root, and every other one comes after its
/// parent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_count(
    tree: *const sandboxset_tree,
    out_count: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let tree = caller.borrow(tree, "tree")?;
        caller.out(out_count, "out_count")?.write(tree.nodes.len());
        Ok(())
    })
}

/// Fills `node` with the node at `index`, counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_get_node(
    tree: *const sandboxset_tree,
    index: usize,
    node: *mut sandboxset_tree_node,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let nodes = &caller.borrow(tree, "tree")?.nodes;
        let Some(from) = nodes.get(index) else {
            return Err(Error::invalid("index", format_args!("{index} is not below {}", nodes.len())));
        };
        let value = sandboxset_tree_node {
            parent: from.parent,
            preload: from.preload.0.as_ptr(),
            preload_length: from.preload.0.len() as u64 - 1,
            memory_bytes: from.memory_bytes,
            ..Plain::defaults()
        };
        caller.fill(node, value, "node")
    })
}

/// Answers the index of the node to fork a function from. `function` is its index in the array that the tree was
/// proposed from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_placement(
    tree: *const sandboxset_tree,
    function: usize,
    out_node: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let placements = &caller.borrow(tree, "tree")?.placements;
        let Some(&node) = placements.get(function) else {
            let message = format_args!("{function} is not below {}", placements.len());
            return Err(Error::invalid("function", message));
        };
        caller.out(out_node, "out_node")?.write(node);
        Ok(())
    })
}

/// Answers what is imported on the request path, over all functions, weight times seconds: if every function starts
/// from nothing, and if every function is forked from its node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_import_time(
    tree: *const sandboxset_tree,
    out_without: *mut f64,
    out_with: *mut f64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let tree = caller.borrow(tree, "tree")?;
        let out_without = caller.out(out_without, "out_without")?;
        caller.out(out_with, "out_with")?.write(tree.with);
        out_without.write(tree.without);
        Ok(())
    })
}

/// Frees the tree and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tree_free(tree: *mut sandboxset_tree) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(tree, |_| {}) };
}

fn read_function(caller: &Caller, from: *const sandboxset_function_imports) -> Result<FunctionImports> {
    let from = caller.required_options(from, "functions")?;
    Ok(FunctionImports {
        name: caller.text(from.name, "functions.name")?.to_owned(),
        imports: names(caller, from.imports, "functions.imports")?,
        weight: from.weight,
    })
}

fn read_package(caller: &Caller, from: *const sandboxset_package) -> Result<Package> {
    let from = caller.required_options(from, "packages")?;
    Ok(Package {
        name: caller.text(from.name, "packages.name")?.to_owned(),
        import_time: Duration::from_nanos(from.import_time_ns),
        memory_bytes: from.memory_bytes,
        requires: names(caller, from.required, "packages.required")?,
    })
}

fn names(caller: &Caller, list: *const *const c_char, parameter: &'static str) -> Result<Vec<String>> {
    let text = |name: std::ffi::OsString| {
        name.into_string().map_err(|name| Error::invalid(parameter, format_args!("{name:?} is not UTF-8")))
    };
    caller.list(list, parameter)?.into_iter().map(text).collect()
}

/// Makes the object that C gets.
fn into_raw(tree: ZygoteTree) -> *mut sandboxset_tree {
    let convert = |node: ZygoteNode| {
        let names: Vec<CString> = node.preload.into_iter().map(to_c_string).collect();
        let preload = names.iter().map(|name| name.as_ptr()).chain([std::ptr::null()]).collect();
        Node {
            parent: node.parent.map_or(SANDBOXSET_TREE_NO_PARENT, |parent| parent as u64),
            memory_bytes: node.memory_bytes,
            _names: names,
            preload: Pointers(preload),
        }
    };
    handle::into_raw(Tree {
        nodes: tree.nodes.into_iter().map(convert).collect(),
        placements: tree.placements,
        without: tree.import_time.without,
        with: tree.import_time.with,
    })
}
