//! The inits that are being cloned below parents, and the creates that wait until it is their turn.
//!
//! Helpers clone them, beside the keeper, and have a deadline each; so there are never more at once than there are
//! processors for them.

use std::collections::VecDeque;
use std::time::Instant;

use super::below::HELP;

/// Which inits are being cloned, and who waits, with what is to be made.
pub(super) struct Births<T> {
    /// The numbers of their sandboxes, and when they must have been cloned.
    under_way: Vec<(u64, Instant)>,
    waiting: VecDeque<Waiting<T>>,
    most: usize,
}

/// A create that waits for its turn.
pub(super) struct Waiting<T> {
    pub(super) id: u64,
    pub(super) recipe: T,
    pub(super) deadline: Instant,
}

impl<T> Births<T> {
    pub(super) fn new() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        Births { under_way: Vec::new(), waiting: VecDeque::new(), most }
    }

    /// Whether one more may begin.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn begin(&mut self, serial: u64) {
        self.under_way.push((serial, Instant::now() + HELP));
    }

    pub(super) fn is_under_way(&self, serial: u64) -> bool {
        self.under_way.iter().any(|&(other, _)| other == serial)
    }

    /// It is over, however it ended.
    pub(super) fn end(&mut self, serial: u64) {
        self.under_way.retain(|&(other, _)| other != serial);
    }

    /// One that should be over.
    pub(super) fn late(&self, now: Instant) -> Option<u64> {
        self.under_way.iter().find(|(_, deadline)| *deadline <= now).map(|&(serial, _)| serial)
    }

    pub(super) fn wait(&mut self, waiting: Waiting<T>) {
        self.waiting.push_back(waiting);
    }

    /// Whose turn it is, if there is room.
    pub(super) fn next(&mut self) -> Option<Waiting<T>> {
        if self.has_room() { self.waiting.pop_front() } else { None }
    }

    /// A create that has waited too long.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<u64> {
        let at = self.waiting.iter().position(|waiting| waiting.deadline <= now)?;
        self.waiting.remove(at).map(|waiting| waiting.id)
    }

    /// Nobody wants this create any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// When something is late.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let under_way = self.under_way.iter().map(|&(_, deadline)| deadline);
        under_way.chain(self.waiting.iter().map(|waiting| waiting.deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn waiting(id: u64, deadline: Instant) -> Waiting<()> {
        Waiting { id, recipe: (), deadline }
    }

    #[test]
    fn creates_have_their_turns_in_order_and_never_too_many_at_once() {
        let mut births = Births { most: 2, ..Births::new() };
        let later = Instant::now() + Duration::from_secs(60);
        births.begin(1);
        assert!(births.has_room());
        births.begin(2);
        assert!(!births.has_room());
        for id in [11, 12, 13] {
            births.wait(waiting(id, later));
        }
        assert!(births.next().is_none(), "there is no room");
        births.end(1);
        assert_eq!(births.next().map(|next| next.id), Some(11));
        births.begin(3);
        births.forget(12);
        births.end(2);
        assert_eq!(births.next().map(|next| next.id), Some(13), "nobody wants the one before it any more");
        assert!(births.is_under_way(3) && !births.is_under_way(2));
    }

    #[test]
    fn who_is_late_is_told_once_and_nothing_is_due_when_nothing_is_left() {
        let mut births = Births { most: 1, ..Births::new() };
        assert_eq!(births.next_deadline(), None);
        let start = Instant::now();
        births.begin(1);
        births.wait(waiting(11, start + HELP / 2));
        assert_eq!(births.next_deadline(), Some(start + HELP / 2));
        assert_eq!(births.take_late(start), None);
        assert_eq!(births.take_late(start + HELP / 2), Some(11));
        assert_eq!(births.take_late(start + HELP / 2), None);
        assert_eq!(births.late(start), None);
        assert_eq!(births.late(start + 2 * HELP), Some(1));
        births.end(1);
        assert_eq!((births.late(start + 2 * HELP), births.next_deadline()), (None, None));
        assert!(births.is_empty());
    }
}
