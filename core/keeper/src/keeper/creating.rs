//! Creates: from the host's request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sandboxset_keeper::{Create, Failure, FrameError, FromKeeper};

use super::Keeper;
use super::births::Waiting;
use super::sandbox::{Handover, Place, Refusal, Sandbox, Stage, Step, failure};

impl Keeper {
    pub(super) fn create(&mut self, create: Create) -> Result<(), FrameError> {
        let id = create.id;
        if self.sandboxes.contains_key(&id) {
            return self.fail(id, Failure { step: "use an id twice".into(), errno: 0 }.into());
        }
        if let Some(scratch) = &create.disk_scratch {
            self.remover.sweep_beside(scratch);
        }
        let deadline = Instant::now() + Duration::from_millis(create.deadline_ms);
        let has_changed = create.parent_changed;
        let recipe = Arc::new(create.into_recipe());
        if has_changed {
            self.stock.renew_below(recipe.parent);
        }
        self.begin(id, &recipe, deadline)
    }

    /// Makes a sandbox out of the best that there is.
    fn begin(&mut self, id: u64, recipe: &Arc<Create>, deadline: Instant) -> Result<(), FrameError> {
        let forks = recipe.runtime.as_ref().is_some_and(|runtime| runtime.forks);
        // Others that are being made already have the machine busy, and then who helps only takes it from them. A
        // scratch dir on disk is made when there is a sandbox to be removed with.
        let at_once = self.starting.is_empty() && recipe.disk_scratch.is_none();
        let place = Place { below: None, forks, recipe: Some(recipe).filter(|_| at_once) };
        let shell = match recipe.parent {
            Some(parent) => match self.take_below(recipe, parent) {
                Ok(Some(shell)) => Ok(shell),
                Ok(None) if !self.births.has_room() => {
                    self.births.wait(Waiting { id, recipe: Arc::clone(recipe), deadline });
                    return Ok(());
                }
                Ok(None) => self.prepare_below(recipe, parent),
                Err(refusal) => Err(refusal),
            },
            None if forks => self.prepare(place).map_err(Refusal::from),
            None => match self.stock.take(recipe, &mut self.mounts) {
                Some(shell) => Ok(shell),
                None => self.prepare(place).map_err(Refusal::from),
            },
        };
        self.start(id, shell, recipe, deadline)
    }

    /// Takes a sandbox that is to be made of this shell as far as it gets at once.
    pub(super) fn start(
        &mut self,
        id: u64,
        shell: Result<Sandbox, Refusal>,
        recipe: &Arc<Create>,
        deadline: Instant,
    ) -> Result<(), FrameError> {
        let mut sandbox = match shell {
            Ok(shell) => shell,
            Err(refusal) => return self.fail(id, refusal),
        };
        sandbox.claim(deadline);
        let furnished = match sandbox.stage {
            Stage::Bare => sandbox.furnish(recipe),
            _ => sandbox.assist(recipe, &self.watch).map_err(Refusal::from),
        };
        let advanced = furnished.and_then(|()| sandbox.advance());
        self.claims.insert(sandbox.serial, id);
        self.sandboxes.insert(id, sandbox);
        self.starting.push(id);
        self.advanced(id, advanced)
    }

    /// Does what the next step of a sandbox takes that the host waits for.
    pub(super) fn advanced(&mut self, id: u64, step: Result<Step, Refusal>) -> Result<(), FrameError> {
        let serial = self.sandboxes.get(&id).map_or(0, |sandbox| sandbox.serial);
        let done = match step {
            Ok(Step::None) => Ok(()),
            Ok(Step::Door(door)) => self.ask_to_join(serial, &door),
            Ok(Step::Joined) => self.ask_to_fork(serial),
            Ok(Step::Ready(Handover { name, cgroups, report, fds })) => {
                self.is_over(id);
                self.is_blocked = false;
                return self.answer(FromKeeper::Created { id, name, cgroups, report }, fds);
            }
            Err(refusal) => Err(refusal),
        };
        done.or_else(|refusal| self.abandon_or_retry(id, refusal))
    }

    pub(super) fn prepare(&mut self, place: Place<'_>) -> Result<Sandbox, Failure> {
        self.last_serial += 1;
        let shell = Sandbox::prepare(self.last_serial, &self.cgroups, &self.filters, &mut self.ids, place)?;
        self.adopted(shell, place.recipe)
    }

    /// Lets a new init go on, and waits for what it says, and for its end.
    pub(super) fn adopted(
        &mut self,
        mut shell: Sandbox,
        recipe: Option<&Arc<Create>>,
    ) -> Result<Sandbox, Failure> {
        let adopted = shell
            .adopt(recipe)
            .and_then(|()| self.watch.add_init(&shell).map_err(|errno| failure("watch the init", errno)));
        match adopted {
            Ok(()) => Ok(shell),
            Err(failure) => {
                self.drop_shell(shell);
                Err(failure)
            }
        }
    }

    /// A create is no longer under way.
    pub(super) fn is_over(&mut self, id: u64) {
        self.starting.retain(|&other| other != id);
        if self.starting.is_empty() {
            self.come_back_soon();
        }
    }

    /// Fails creates whose deadline passed.
    pub(super) fn expire(&mut self) -> Result<(), FrameError> {
        let now = Instant::now();
        while let Some(serial) = self.births.late(now) {
            self.take_init(serial)?;
        }
        while let Some(id) = self.births.take_late(now) {
            self.fail(id, out_of_time().into())?;
        }
        let is_late = |id: &u64| {
            let sandbox = self.sandboxes.get(id);
            sandbox.and_then(Sandbox::deadline).is_some_and(|deadline| deadline <= now)
        };
        let late: Vec<u64> = self.starting.iter().copied().filter(is_late).collect();
        for id in late {
            self.abandon(id, out_of_time().into())?;
        }
        self.report_late_endings(now)
    }

    /// A create failed half-way. One that was given a fork that had waited is given another: what became of that while
    /// it waited says nothing of its parent.
    pub(super) fn abandon_or_retry(&mut self, id: u64, refusal: Refusal) -> Result<(), FrameError> {
        let retry = self.sandboxes.get(&id).and_then(Sandbox::retry);
        match (refusal, retry) {
            (Refusal::Parent(_), Some((recipe, deadline))) => {
                self.take_out(id).into_iter().for_each(|failed| self.drop_shell(failed));
                self.begin(id, &recipe, deadline)
            }
            (refusal, _) => self.abandon(id, refusal),
        }
    }

    pub(super) fn fail(&mut self, id: u64, refusal: Refusal) -> Result<(), FrameError> {
        let message = match refusal {
            Refusal::Sandbox(failure) => FromKeeper::CreateFailed { id, failure },
            Refusal::Parent(failure) => FromKeeper::ForkFailed { id, failure },
        };
        self.answer(message, Vec::new())
    }
}

fn out_of_time() -> Failure {
    Failure { step: "finish before the deadline".into(), errno: Errno::TIMEDOUT.raw_os_error() }
}
