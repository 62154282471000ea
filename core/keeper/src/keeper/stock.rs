//! The shells that wait for a create: bare ones for whoever comes, and furnished ones for creates like earlier ones.
//! A furnished one below a parent has its runtime as well, see `ahead`.

mod ahead;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use sandboxset_keeper::{Create, MAX_SHELLS};

pub(super) use self::ahead::most_ahead;
use super::demand::{AT_FIRST, Demand, MOST};
use super::sandbox::{Sandbox, Stage};
use super::sources::{MountTable, Sources};

/// All shells, and how many there should be.
pub(super) struct Stock {
    bare: VecDeque<Sandbox>,
    /// None before the first create that may take shells, so that a host that wants none has none.
    bare_demand: Option<Demand>,
    kinds: Vec<Kind>,
    /// Dead, outdated or too many; killed and removed when there is time.
    doomed: Vec<Sandbox>,
}

/// The shells for creates with one recipe.
struct Kind {
    recipe: Arc<Create>,
    demand: Demand,
    shells: VecDeque<Furnished>,
    /// The last one could not be furnished. Not tried again before a create has come.
    is_blocked: bool,
}

/// A shell that has its root, or is about to have it.
struct Furnished {
    sandbox: Sandbox,
    sources: Sources,
    /// By when its runtime must have been forked, if it is below a parent.
    fork_by: Option<Instant>,
}

/// What is to be done about the stock next.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Remove what is doomed.
    Discard,
    /// Prepare a bare shell.
    Prepare,
    /// Furnish a bare shell by this recipe.
    Furnish(Arc<Create>),
    /// Prepare a shell below a parent, furnish it by this recipe and have the parent fork into it.
    Fork(Arc<Create>),
}

impl Stock {
    pub(super) fn new() -> Self {
        Stock { bare: VecDeque::new(), bare_demand: None, kinds: Vec::new(), doomed: Vec::new() }
    }

    /// The best shell for a create, and notes that one was wanted.
    pub(super) fn take(&mut self, recipe: &Arc<Create>, mounts: &mut MountTable) -> Option<Sandbox> {
        let now = Instant::now();
        let fixed = recipe.shells.ready.map(|ready| ready as usize);
        if fixed == Some(0) {
            return None;
        }
        // A directory on disk belongs to one sandbox, so that no other create is like this one.
        if recipe.disk_scratch.is_none() {
            let demand = || Demand::new(fixed, 0, MOST);
            let furnished = self.take_furnished(recipe, demand, mounts, now);
            if furnished.is_some() {
                return furnished;
            }
        }
        let bare = self.take_bare();
        let demand = self.bare_demand.get_or_insert_with(|| Demand::new(None, AT_FIRST, MOST));
        // Those that furnished shells are made of are replaced without being asked for.
        if recipe.disk_scratch.is_some() {
            demand.asked(bare.is_some(), self.bare.len(), now);
        }
        bare
    }

    fn take_furnished(
        &mut self,
        recipe: &Arc<Create>,
        demand: impl FnOnce() -> Demand,
        mounts: &mut MountTable,
        now: Instant,
    ) -> Option<Sandbox> {
        let index = self.kinds.iter().position(|kind| kind.recipe == *recipe).unwrap_or_else(|| {
            self.kinds.push(Kind {
                recipe: Arc::clone(recipe),
                demand: demand(),
                shells: VecDeque::new(),
                is_blocked: false,
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[index];
        kind.is_blocked = false;
        let mut found = None;
        // The oldest first: it is the likeliest to be finished.
        while let Some(Furnished { sandbox, mut sources, .. }) = kind.shells.pop_front() {
            if !sandbox.has_ended() && sources.are_unchanged(mounts) {
                found = Some(sandbox);
                break;
            }
            self.doomed.push(sandbox);
        }
        // One that the parent has yet to fork into is better than a new one, but too late.
        let is_ready = |found: &Sandbox| found.fork_of.is_none() || found.stage == Stage::Forked;
        kind.demand.asked(found.as_ref().is_some_and(is_ready), kind.shells.len(), now);
        found
    }

    /// A bare shell that lives.
    pub(super) fn take_bare(&mut self) -> Option<Sandbox> {
        while let Some(shell) = self.bare.pop_front() {
            if !shell.has_ended() {
                return Some(shell);
            }
            self.doomed.push(shell);
        }
        None
    }

    pub(super) fn add_bare(&mut self, shell: Sandbox) {
        self.bare.push_back(shell);
    }

    /// Adds a shell that is being furnished.
    pub(super) fn add_furnished(&mut self, recipe: &Arc<Create>, sandbox: Sandbox, sources: Sources) {
        self.add(recipe, Furnished { sandbox, sources, fork_by: None });
    }

    fn add(&mut self, recipe: &Arc<Create>, shell: Furnished) {
        match self.kinds.iter_mut().find(|kind| Arc::ptr_eq(&kind.recipe, recipe)) {
            Some(kind) => kind.shells.push_back(shell),
            None => self.doomed.push(shell.sandbox),
        }
    }

    /// A shell of this recipe could not be furnished.
    pub(super) fn block(&mut self, recipe: &Arc<Create>) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| Arc::ptr_eq(&kind.recipe, recipe)) {
            kind.is_blocked = true;
        }
    }

    /// The shell of this number, which its init said something of.
    pub(super) fn find(&mut self, serial: u64) -> Option<&mut Sandbox> {
        self.kinds
            .iter_mut()
            .flat_map(|kind| &mut kind.shells)
            .map(|shell| &mut shell.sandbox)
            .find(|sandbox| sandbox.serial == serial)
    }

    /// Takes the shell of this number out, to be removed; false if it was out already.
    pub(super) fn doom(&mut self, serial: u64) -> bool {
        let mut found = None;
        for kind in &mut self.kinds {
            let is_it = |shell: &Furnished| shell.sandbox.serial == serial;
            if let Some(shell) = kind.shells.iter().position(is_it).and_then(|at| kind.shells.remove(at)) {
                kind.is_blocked = true;
                found = Some(shell.sandbox);
            }
        }
        if let Some(at) = self.bare.iter().position(|shell| shell.serial == serial) {
            found = self.bare.remove(at);
        }
        let was_in = found.is_some();
        self.doomed.extend(found);
        was_in
    }

    /// A backend is gone, and with it the use of its shells.
    pub(super) fn forget(&mut self, backend: u64) {
        let of_backend = |kind: &mut Kind| kind.recipe.shells.backend == backend;
        for kind in self.kinds.extract_if(.., of_backend) {
            self.doomed.extend(kind.shells.into_iter().map(|shell| shell.sandbox));
        }
    }

    /// Lets go of shells that nobody needed for long.
    pub(super) fn review(&mut self, now: Instant) {
        for kind in &mut self.kinds {
            kind.demand.review(now);
            while kind.shells.len() > kind.demand.wanted() {
                self.doomed.extend(kind.shells.pop_front().map(|shell| shell.sandbox));
            }
        }
        self.kinds.retain(|kind| !kind.demand.is_over());
        if let Some(demand) = &mut self.bare_demand {
            demand.review(now);
            while self.bare.len() > demand.wanted() {
                self.doomed.extend(self.bare.pop_front());
            }
        }
    }

    /// When [`Stock::review`] has something to do.
    pub(super) fn review_at(&self) -> Option<Instant> {
        self.demands().filter_map(Demand::review_at).min()
    }

    fn demands(&self) -> impl Iterator<Item = &Demand> {
        self.kinds.iter().map(|kind| &kind.demand).chain(&self.bare_demand)
    }

    /// What is to be done next, if anything is.
    pub(super) fn task(&self) -> Option<Task> {
        if !self.doomed.is_empty() {
            return Some(Task::Discard);
        }
        let room = self.len() < MAX_SHELLS;
        let lacking = self.kinds.iter().filter(|kind| kind.has_turn());
        match lacking.min_by_key(|kind| kind.shells.len()) {
            Some(kind) if kind.recipe.parent.is_some() => room.then(|| Task::Fork(Arc::clone(&kind.recipe))),
            Some(kind) if !self.bare.is_empty() => Some(Task::Furnish(Arc::clone(&kind.recipe))),
            Some(_) if room => Some(Task::Prepare),
            _ => {
                let wanted = self.bare_demand.as_ref().map_or(0, Demand::wanted);
                (room && self.bare.len() < wanted).then_some(Task::Prepare)
            }
        }
    }

    pub(super) fn take_doomed(&mut self) -> Option<Sandbox> {
        self.doomed.pop()
    }

    /// How many wait for creates of a backend, finished, and how many are bare.
    pub(super) fn count(&self, backend: u64) -> (usize, usize) {
        let of_backend = self.kinds.iter().filter(|kind| kind.recipe.shells.backend == backend);
        let is_finished =
            |shell: &&Furnished| matches!(shell.sandbox.stage, Stage::Furnished | Stage::Forked);
        (of_backend.flat_map(|kind| &kind.shells).filter(is_finished).count(), self.bare.len())
    }

    fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.shells.len()).sum::<usize>() + self.bare.len()
    }

    /// Every shell there is.
    pub(super) fn shells(&self) -> impl Iterator<Item = &Sandbox> {
        let furnished = self.kinds.iter().flat_map(|kind| &kind.shells).map(|shell| &shell.sandbox);
        furnished.chain(&self.bare).chain(&self.doomed)
    }

    /// Dooms every shell.
    pub(super) fn clear(&mut self) {
        for kind in self.kinds.drain(..) {
            self.doomed.extend(kind.shells.into_iter().map(|shell| shell.sandbox));
        }
        self.doomed.extend(self.bare.drain(..));
        self.bare_demand = None;
    }
}

impl Kind {
    fn is_lacking(&self) -> bool {
        !self.is_blocked && self.shells.len() < self.demand.wanted()
    }

    /// Whether there is to be one more now. A parent makes one fork after the other, so that they cost those who wait for
    /// something else no more than one at a time.
    fn has_turn(&self) -> bool {
        self.is_lacking() && !self.shells.iter().any(Furnished::is_unforked)
    }
}
