//! What isolation is reached on this host, and whether that is enough.

use sandboxset_keeper::{CgroupPlan, Controller, LayerReport, LayerStatus as WireStatus, OPTIONAL_LAYERS};

use crate::{Error, ErrorCode, IsolationReport, Layer, LayerPolicy, LayerStatus, Phase, Result, SandboxSpec};

/// Every layer of a Linux sandbox, in the order in which they are reported.
const LAYERS: [&str; 22] = [
    "namespace.user",
    "namespace.mount",
    "namespace.pid",
    "namespace.ipc",
    "namespace.uts",
    "namespace.cgroup",
    "namespace.net",
    "root",
    "root.overlay",
    "proc",
    "proc.masks",
    "nested_user_namespaces",
    "inotify",
    "capabilities",
    "no_new_privs",
    "seccomp",
    "landlock",
    "cgroup.freeze",
    "cgroup.kill",
    "memory",
    "pids",
    "cpu",
];

/// Whether the spec asks for layers that there are, and switches off only what can be.
pub(super) fn validate(spec: &SandboxSpec) -> Result<()> {
    for (name, policy) in &spec.layers {
        if !LAYERS.contains(&name.as_str()) {
            return Err(Error::invalid(
                "layers",
                format_args!("there is no layer {name:?}; there are {}", LAYERS.join(", ")),
            ));
        }
        if *policy == LayerPolicy::Off && !OPTIONAL_LAYERS.contains(&name.as_str()) {
            return Err(Error::invalid(
                "layers",
                format_args!("{name} cannot be off; {} can", OPTIONAL_LAYERS.join(", ")),
            ));
        }
    }
    Ok(())
}

/// Whether a sandbox with this report has what the spec requires.
pub(super) fn satisfies(spec: &SandboxSpec, report: &IsolationReport) -> Result<()> {
    for (name, _) in spec.layers.iter().filter(|(_, policy)| *policy == LayerPolicy::Required) {
        let (status, detail) = match report.layer(name) {
            Some(layer) if layer.status == LayerStatus::Active => continue,
            Some(layer) => (layer.status.name(), layer.detail.as_str()),
            None => (LayerStatus::Missing.name(), "not reported"),
        };
        let message = format!("the layer {name} is required, but {status} on this host: {detail}");
        return Err(Error::new(ErrorCode::Unsupported, Phase::Create, message));
    }
    Ok(())
}

/// The report of the last sandbox made, with what the keeper could not use.
pub(super) fn reached(report: &[LayerReport], faults: &[String]) -> IsolationReport {
    let mut layers: Vec<Layer> = report
        .iter()
        .map(|layer| Layer {
            name: layer.name.clone(),
            status: match layer.status {
                WireStatus::Active => LayerStatus::Active,
                WireStatus::Degraded => LayerStatus::Degraded,
                WireStatus::Missing => LayerStatus::Missing,
            },
            detail: layer.detail.clone(),
        })
        .collect();
    for fault in faults {
        // A fault begins with what it is about.
        let about = fault.split(':').next().unwrap_or_default();
        if let Some(layer) =
            layers.iter_mut().find(|layer| layer.name == about && layer.status != LayerStatus::Active)
        {
            layer.detail = format!("{}; {fault}", layer.detail);
        }
    }
    layers.sort_by_key(|layer| LAYERS.iter().position(|name| *name == layer.name));
    IsolationReport { layers }
}

/// What is to be expected before the first sandbox was made: what the host offers, without having tried it.
pub(super) fn expected(plan: &CgroupPlan) -> IsolationReport {
    let mut layers = Vec::new();
    let mut add = |name: &str, status, detail: &str| {
        layers.push(Layer { name: name.into(), status, detail: detail.into() });
    };
    for (name, file) in [
        ("namespace.user", "user"),
        ("namespace.mount", "mnt"),
        ("namespace.pid", "pid"),
        ("namespace.ipc", "ipc"),
        ("namespace.uts", "uts"),
        ("namespace.cgroup", "cgroup"),
        ("namespace.net", "net"),
    ] {
        match std::fs::symlink_metadata(format!("/proc/self/ns/{file}")) {
            Ok(_) => add(name, LayerStatus::Active, "the kernel has this namespace; not tried yet"),
            Err(_) => add(name, LayerStatus::Missing, "the kernel lacks this namespace"),
        }
    }
    for name in [
        "root",
        "root.overlay",
        "proc",
        "proc.masks",
        "nested_user_namespaces",
        "inotify",
        "capabilities",
        "no_new_privs",
    ] {
        add(name, LayerStatus::Active, "not tried yet");
    }
    match std::fs::metadata("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(_) => add("seccomp", LayerStatus::Active, "the kernel has it; not tried yet"),
        Err(_) => add("seccomp", LayerStatus::Missing, "the kernel lacks it"),
    }
    add("landlock", LayerStatus::Active, "not tried yet");
    for name in ["cgroup.freeze", "cgroup.kill"] {
        let freezer = plan.v1.iter().any(|(controller, _)| *controller == Controller::Freezer);
        match plan.unified {
            Some(_) => add(name, LayerStatus::Active, "cgroup v2; not tried yet"),
            None if freezer && name == "cgroup.freeze" => {
                add(name, LayerStatus::Active, "cgroup v1; not tried yet");
            }
            None => add(name, LayerStatus::Degraded, "no writable cgroup v2 tree: by signals"),
        }
    }
    for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
        let by_v1 = plan.v1.iter().any(|(other, _)| *other == controller);
        match (plan.unified_controllers.contains(&controller), by_v1, controller) {
            (true, ..) => add(controller.name(), LayerStatus::Active, "cgroup v2; not tried yet"),
            (_, true, _) => add(controller.name(), LayerStatus::Active, "cgroup v1; not tried yet"),
            (_, _, Controller::Cpu) => add(controller.name(), LayerStatus::Missing, "no writable cpu cgroup"),
            _ => add(
                controller.name(),
                LayerStatus::Degraded,
                "no writable cgroup: limits of each process only",
            ),
        }
    }
    IsolationReport { layers }
}
