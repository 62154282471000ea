//! Control groups: where they may be made, and what the host does with those of a sandbox.

mod alone;
mod control;
mod counters;
mod freezer;
mod lane;
mod leftovers;
mod limits;
mod plan;
mod share;

pub(super) use control::SandboxCgroups;
pub(super) use lane::Lane;
pub(super) use leftovers::{owner_dirs, remove_group, remove_owner};
pub(super) use limits::Tightened;
pub(super) use plan::{World, detect, is_occupied, survey};
