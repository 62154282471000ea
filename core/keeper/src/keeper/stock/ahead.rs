//! Forks ahead of demand: sandboxes below parents, each with a runtime that its parent's server has forked into it, and
//! that waits to be told what to be.
//!
//! What is left for the request is to tell it. What waits has its own share of memory, and while it is being made costs
//! its parent a process, which counts against the parent's own limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset_keeper::{Create, MAX_SHELLS};

use super::super::demand::Demand;
use super::super::sandbox::{Sandbox, Stage};
use super::super::sources::{MountTable, Sources};
use super::{Furnished, Stock};

/// The most that wait below one parent for forks of one recipe: a fork may have two MiB of its own, and the example
/// server has room to make 64 at once.
const MOST_AHEAD: usize = 16;
/// Which part of the processes that a parent may have can wait for forks of one recipe.
const SHARE: usize = 4;
/// How long a server may take to fork ahead of demand before it is left in peace until the next request: it may be
/// paused.
const FORK: Duration = Duration::from_secs(2);

/// How many may wait below a parent with this limit on its processes.
pub(in super::super) fn most_ahead(pids: u32) -> usize {
    (pids as usize / SHARE).min(MOST_AHEAD)
}

impl Stock {
    /// The best shell for a fork, and notes that one was wanted. Its runtime has been forked, or soon will be.
    pub(in super::super) fn take_below(
        &mut self,
        recipe: &Arc<Create>,
        most: usize,
        mounts: &mut MountTable,
    ) -> Option<Sandbox> {
        let fixed = recipe.shells.ready.map(|ready| (ready as usize).min(most));
        // A directory on disk belongs to one sandbox, so that no other fork is like this one.
        if fixed == Some(0) || recipe.disk_scratch.is_some() {
            return None;
        }
        self.take_furnished(recipe, || Demand::new(fixed, 0, most), mounts, Instant::now())
    }

    /// Adds a shell that its parent is to fork into.
    pub(in super::super) fn add_below(&mut self, recipe: &Arc<Create>, sandbox: Sandbox, sources: Sources) {
        self.add(recipe, Furnished { sandbox, sources, fork_by: Some(Instant::now() + FORK) });
    }

    /// The parents of the shells that have no runtime yet.
    pub(in super::super) fn forking(&self) -> impl Iterator<Item = u64> {
        self.unforked().filter_map(|shell| shell.sandbox.fork_of)
    }

    /// When [`Stock::expire`] has something to do.
    pub(in super::super) fn expires_at(&self) -> Option<Instant> {
        self.unforked().filter_map(|shell| shell.fork_by).min()
    }

    fn unforked(&self) -> impl Iterator<Item = &Furnished> {
        self.kinds.iter().flat_map(|kind| &kind.shells).filter(|shell| shell.is_unforked())
    }

    /// Lets go of shells that their parents do not fork into.
    pub(in super::super) fn expire(&mut self, now: Instant) {
        for kind in &mut self.kinds {
            let is_late =
                |shell: &Furnished| shell.is_unforked() && shell.fork_by.is_some_and(|by| by <= now);
            let shells = std::mem::take(&mut kind.shells);
            let (late, left): (VecDeque<_>, VecDeque<_>) = shells.into_iter().partition(is_late);
            kind.shells = left;
            kind.is_blocked |= !late.is_empty();
            self.doomed.extend(late.into_iter().map(|shell| shell.sandbox));
        }
    }

    /// Whether all waits below a parent that is to, or that can where no more shells can be prepared.
    pub(in super::super) fn is_settled(&self, parent: u64, is_blocked: bool) -> bool {
        let is_full = is_blocked || self.len() >= MAX_SHELLS;
        let mut kinds = self.kinds.iter().filter(|kind| kind.recipe.parent == Some(parent));
        kinds.all(|kind| (is_full || !kind.is_lacking()) && !kind.shells.iter().any(Furnished::is_unforked))
    }

    /// The shells below a parent.
    pub(in super::super) fn below(&mut self, parent: u64) -> impl Iterator<Item = &mut Sandbox> {
        let kinds = self.kinds.iter_mut().filter(move |kind| kind.recipe.parent == Some(parent));
        kinds.flat_map(|kind| &mut kind.shells).map(|shell| &mut shell.sandbox)
    }

    /// Lets go of what waits below a parent that is not what it was when that was forked, and which is still wanted.
    pub(in super::super) fn renew_below(&mut self, parent: Option<u64>) {
        for kind in self.kinds.iter_mut().filter(|kind| kind.recipe.parent == parent) {
            self.doomed.extend(kind.shells.drain(..).map(|shell| shell.sandbox));
        }
    }

    /// Lets go of what waits below a parent that cannot be forked any more.
    pub(in super::super) fn doom_below(&mut self, parent: u64) {
        let shells = self.take_all_below(parent);
        self.doomed.extend(shells);
    }

    /// Takes out the shells below a parent that ends, and forgets what was wanted of it.
    pub(in super::super) fn take_all_below(&mut self, parent: u64) -> Vec<Sandbox> {
        let kinds = self.kinds.extract_if(.., |kind| kind.recipe.parent == Some(parent));
        kinds.flat_map(|kind| kind.shells).map(|shell| shell.sandbox).collect()
    }
}

impl Furnished {
    pub(super) fn is_unforked(&self) -> bool {
        self.sandbox.fork_of.is_some() && self.sandbox.stage != Stage::Forked
    }
}
