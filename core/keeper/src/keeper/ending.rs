//! What was killed and has yet to end. Nobody waits for it: its pidfds tell, and then the rest of it is removed.
//!
//! A process of a parent can keep what is below that from ending, by not reaping what it forked there; so can a
//! wait in the kernel that no signal reaches. Who asked for such a removal is told after a while that it is not over;
//! it goes on all the same, and a parent that has kept one waiting so long is asked for no more forks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sandboxset_keeper::{Failure, FrameError, FromKeeper};

use super::Keeper;
use super::sandbox::{Refusal, Sandbox, Stage};
use super::watch::Source;

/// How long a killed sandbox may take to be gone before whoever asked is told that it is not.
const DEATH: Duration = Duration::from_secs(2);

/// All that is ending, by its own numbers.
pub(super) struct Endings<T>(HashMap<u64, Ending<T>>);

struct Ending<T> {
    what: T,
    /// By which the host may ask for it again.
    id: Option<u64>,
    /// What the host is to be told when it is gone, or at this time.
    owed: Option<(Answer, Instant)>,
    /// When it should be gone, until then.
    late_at: Option<Instant>,
}

/// What the host waits for.
pub(super) enum Answer {
    Removed,
    Failed(Refusal),
}

/// What is due of one that is not gone.
struct Due {
    owed: Option<Answer>,
    is_late: bool,
}

impl<T> Endings<T> {
    pub(super) fn new() -> Self {
        Endings(HashMap::new())
    }

    fn begin(
        &mut self,
        serial: u64,
        what: T,
        id: Option<u64>,
        owed: Option<(Answer, Instant)>,
        now: Instant,
    ) {
        self.0.insert(serial, Ending { what, id, owed, late_at: Some(now + DEATH) });
    }

    pub(super) fn contains(&self, serial: u64) -> bool {
        self.0.contains_key(&serial)
    }

    /// The host asks for its removal again, or in place of what it waited for before. Answers its own number, too.
    fn ask(&mut self, id: u64, now: Instant) -> Option<(u64, &mut T)> {
        let (&serial, ending) = self.0.iter_mut().find(|(_, ending)| ending.id == Some(id))?;
        ending.owed = Some((Answer::Removed, now + DEATH));
        ending.late_at = Some(now + DEATH);
        Some((serial, &mut ending.what))
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().flat_map(Ending::times).min()
    }

    /// One of which something is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let is_due = |(_, ending): &(&u64, &Ending<T>)| ending.times().any(|time| time <= now);
        self.0.iter().find(is_due).map(|(&serial, _)| serial)
    }

    /// Takes what is due of it, which is then due no more.
    fn take_due(&mut self, serial: u64, now: Instant) -> Due {
        let Some(ending) = self.0.get_mut(&serial) else { return Due { owed: None, is_late: false } };
        let owed = ending.owed.take_if(|(_, by)| *by <= now).map(|(answer, _)| answer);
        Due { owed, is_late: ending.late_at.take_if(|late_at| *late_at <= now).is_some() }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|ending| &ending.what)
    }
}

impl<T> Ending<T> {
    fn times(&self) -> impl Iterator<Item = Instant> {
        self.owed.as_ref().map(|(_, by)| *by).into_iter().chain(self.late_at)
    }
}

impl Keeper {
    /// Kills a shell that nobody asked for, and has it removed when it has ended.
    pub(super) fn drop_shell(&mut self, shell: Sandbox) {
        // Nobody is told.
        let _ = self.end(shell, None, None);
    }

    /// Kills a sandbox that the host asked for, and has it removed when it has ended. The host is told then, or after
    /// its time.
    pub(super) fn remove(&mut self, id: u64) -> Result<(), FrameError> {
        let now = Instant::now();
        if let Some(sandbox) = self.take_out(id) {
            return self.end(sandbox, Some(id), Some((Answer::Removed, now + DEATH)));
        }
        match self.endings.ask(id, now) {
            Some((serial, sandbox)) => {
                sandbox.end();
                self.go_on_ending(serial)
            }
            None => self.tell(id, Answer::Removed, None),
        }
    }

    /// A create failed half-way: removes what is there, and says so when it is gone, or when the host no longer waits.
    pub(super) fn abandon(&mut self, id: u64, refusal: Refusal) -> Result<(), FrameError> {
        let Some(sandbox) = self.take_out(id) else { return self.fail(id, refusal) };
        let now = Instant::now();
        let by = sandbox.claimed_until().map_or(now, |deadline| deadline.min(now + DEATH));
        self.end(sandbox, Some(id), Some((Answer::Failed(refusal), by)))
    }

    /// Takes out a sandbox that is to be removed, with what waits below it.
    pub(super) fn take_out(&mut self, id: u64) -> Option<Sandbox> {
        self.is_over(id);
        self.drop_below(id);
        self.births.forget(id);
        let sandbox = self.sandboxes.remove(&id)?;
        self.claims.remove(&sandbox.serial);
        Some(sandbox)
    }

    fn end(
        &mut self,
        mut sandbox: Sandbox,
        id: Option<u64>,
        owed: Option<(Answer, Instant)>,
    ) -> Result<(), FrameError> {
        sandbox.end();
        let serial = sandbox.serial;
        self.endings.begin(serial, sandbox, id, owed, Instant::now());
        self.go_on_ending(serial)
    }

    /// Removes what is left of a sandbox, if all its processes have ended. Else their pidfds tell when they have.
    pub(super) fn go_on_ending(&mut self, serial: u64) -> Result<(), FrameError> {
        let Some(ending) = self.endings.0.get_mut(&serial) else { return Ok(()) };
        let sandbox = &mut ending.what;
        if !sandbox.is_born() {
            // Only what is there can be killed, and it will be there in a few milliseconds.
            if self.births.is_under_way(serial) && !sandbox.has_helped() {
                return Ok(());
            }
            self.births.end(serial);
            self.watch.remove(&sandbox.pidfd);
            let (born, parent) = (sandbox.be_born(), sandbox.fork_of);
            sandbox.end();
            // Without memory for it its end is seen when it is late.
            let _ = self.watch.add(&sandbox.pidfd, Source::InitProcess(serial));
            if let (Err(failure), Some(parent)) = (born, parent) {
                self.blame(parent, failure);
            }
        }
        let Some(ending) = self.endings.0.get_mut(&serial) else { return Ok(()) };
        let sandbox = &mut ending.what;
        if !sandbox.is_gone() {
            return Ok(());
        }
        self.watch.remove(&sandbox.pidfd);
        let left = sandbox.remove_rest().err();
        let (id, owed) = (ending.id, ending.owed.take());
        ending.late_at = None;
        // What cannot be removed of a shell goes with the owner's directories.
        if (left.is_none() || id.is_none())
            && let Some(Ending { what: sandbox, .. }) = self.endings.0.remove(&serial)
        {
            self.ids.release(sandbox.host_id);
            sandbox.disk_scratch.into_iter().for_each(|scratch| self.remover.remove(scratch));
        }
        match id.zip(owed) {
            Some((id, (answer, _))) => self.tell(id, answer, left),
            None => Ok(()),
        }
    }

    /// Says what is not gone although it should be.
    pub(super) fn report_late_endings(&mut self, now: Instant) -> Result<(), FrameError> {
        while let Some(serial) = self.endings.due(now) {
            self.go_on_ending(serial)?;
            let due = self.endings.take_due(serial, now);
            let Some(ending) = self.endings.0.get(&serial) else { continue };
            let parent = ending.what.fork_of.filter(|_| due.is_late && ending.what.stage != Stage::Dead);
            if let Some((id, answer)) = ending.id.zip(due.owed) {
                let left = ending.what.survivor().to_owned();
                self.tell(id, answer, Some(left))?;
            }
            if let Some(parent) = parent {
                let failure = Failure {
                    step: "fork the parent: it keeps what is below it from ending".into(),
                    errno: Errno::TIMEDOUT.raw_os_error(),
                };
                self.give_up_parent(parent, &failure)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, id: u64, answer: Answer, leftovers: Option<String>) -> Result<(), FrameError> {
        match answer {
            Answer::Removed => self.answer(FromKeeper::Removed { id, leftovers }, Vec::new()),
            Answer::Failed(refusal) => self.fail(id, refusal),
        }
    }

    /// Waits for what is ending, but not longer than this, and removes it. The host is gone.
    pub(super) fn finish_endings(&mut self, deadline: Instant) {
        let serials: Vec<u64> = self.endings.0.keys().copied().collect();
        for serial in serials {
            // Twice for one that has yet to be born.
            for _ in 0..2 {
                if let Some(ending) = self.endings.0.get(&serial) {
                    ending.what.await_end(deadline);
                    // Nobody is there to be told.
                    let _ = self.go_on_ending(serial);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_told_once_and_asked_for_again() {
        let mut endings = Endings::new();
        let start = Instant::now();
        endings.begin(1, (), Some(11), Some((Answer::Removed, start + DEATH)), start);
        assert_eq!((endings.due(start), endings.next_deadline()), (None, Some(start + DEATH)));
        let late = start + DEATH;
        assert_eq!(endings.due(late), Some(1));
        let due = endings.take_due(1, late);
        assert!(matches!(due.owed, Some(Answer::Removed)) && due.is_late);
        assert_eq!(
            (endings.due(late), endings.next_deadline()),
            (None, None),
            "nothing keeps the keeper awake"
        );
        assert_eq!(endings.ask(11, late), Some((1, &mut ())));
        assert_eq!(endings.next_deadline(), Some(late + DEATH));
        assert_eq!(endings.ask(12, late), None);
    }

    #[test]
    fn who_waits_for_a_create_is_told_in_time_though_what_failed_may_end_later() {
        let mut endings = Endings::new();
        let start = Instant::now();
        let refusal = Refusal::Sandbox(Failure { step: "step".into(), errno: 0 });
        endings.begin(1, (), Some(11), Some((Answer::Failed(refusal), start)), start);
        assert_eq!(endings.due(start), Some(1));
        let due = endings.take_due(1, start);
        assert!(matches!(due.owed, Some(Answer::Failed(_))) && !due.is_late);
        assert_eq!(endings.next_deadline(), Some(start + DEATH));
        let due = endings.take_due(1, start + DEATH);
        assert!(due.owed.is_none() && due.is_late);
    }
}
