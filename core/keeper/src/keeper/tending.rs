//! Tending the stock of shells: one piece of work at a time, when requests leave time for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset_keeper::Create;

use super::Keeper;
use super::sandbox::Place;
use super::sources::Sources;
use super::stock::Task;

/// How long no request must have come before something is done about the stock of shells: longer than the pauses
/// within a burst, so that the stock is not refilled at its expense.
pub(super) const QUIET: Duration = Duration::from_millis(2);
/// How long a create that is under way keeps us from the stock: longer than what was prepared takes to become a sandbox,
/// whose last step would else find us at work; but a runtime that takes long to start does not keep others waiting.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(20);
/// How many times as long as a piece of such work took the keeper then leaves it alone, so that it is always there for
/// requests for the most part.
const REST: u32 = 2;

impl Keeper {
    pub(super) fn stay_away_for(&mut self, time: Duration) {
        self.quiet_at = self.quiet_at.max(Instant::now() + time);
    }

    /// Nothing is under way any more.
    pub(super) fn come_back_soon(&mut self) {
        self.quiet_at = self.quiet_at.min(Instant::now() + QUIET);
    }

    /// When requests and the last work leave time for more.
    pub(super) fn stock_at(&self) -> Instant {
        self.quiet_at.max(self.rested_at)
    }

    pub(super) fn stock_task(&self) -> Option<Task> {
        self.stock.task().filter(|task| match task {
            Task::Discard => true,
            Task::Fork(_) => !self.is_blocked && self.births.is_empty(),
            Task::Prepare | Task::Furnish(_) => !self.is_blocked,
        })
    }

    /// Does one piece of work for the stock, if it is time for one.
    pub(super) fn tend_stock(&mut self) {
        let start = Instant::now();
        self.stock.review(start);
        self.stock.expire(start);
        let Some(task) = self.stock_task().filter(|_| self.stock_at() <= start) else { return };
        match task {
            Task::Discard => {
                if let Some(shell) = self.stock.take_doomed() {
                    self.drop_shell(shell);
                }
            }
            Task::Prepare => match self.prepare(Place::default()) {
                Ok(shell) => self.stock.add_bare(shell),
                Err(_) => self.is_blocked = true,
            },
            Task::Furnish(recipe) => self.furnish(&recipe),
            Task::Fork(recipe) => self.fork_ahead(&recipe),
        }
        let now = Instant::now();
        self.rested_at = now + (now - start) * REST;
    }

    fn furnish(&mut self, recipe: &Arc<Create>) {
        let Some(mut shell) = self.stock.take_bare() else { return };
        // Looked at before they are copied: if they change in between, the shell is taken for an old one.
        let sources = Sources::of(recipe, &mut self.mounts);
        match shell.furnish(recipe) {
            Ok(()) => self.stock.add_furnished(recipe, shell, sources),
            Err(_) => {
                self.stock.block(recipe);
                self.drop_shell(shell);
            }
        }
    }

    /// Removes what waits below a parent that is to be removed.
    pub(super) fn drop_below(&mut self, parent: u64) {
        self.stock.take_all_below(parent).into_iter().for_each(|shell| self.drop_shell(shell));
    }
}
