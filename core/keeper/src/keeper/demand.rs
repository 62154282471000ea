//! How many shells of one kind are to be ready.

use std::time::{Duration, Instant};

/// Follows how many were asked for lately: up by one with every create that found none, so that the next burst of the
/// same size finds enough; down by half of what nobody needed.
#[derive(Debug)]
pub(super) struct Demand {
    /// The host's own number.
    fixed: Option<usize>,
    floor: usize,
    most: usize,
    wanted: usize,
    /// The fewest that were ready since the last review.
    least: usize,
    review_at: Option<Instant>,
}

/// How many a first create calls for. One covers a get that finds nothing idle; the other one that comes while the
/// first is replaced.
pub(super) const AT_FIRST: usize = 2;
/// The most that demand alone calls for: a burst of a hundred is served, and 128 idle shells hold some 80 MiB.
pub(super) const MOST: usize = 128;
/// How long a number is kept that nobody needed: as long as a sandbox of an unused set stays idle.
const REVIEW: Duration = Duration::from_secs(30);

impl Demand {
    /// `fixed` is the host's own number; else never less than `floor`, nor more than `most`.
    pub(super) fn new(fixed: Option<usize>, floor: usize, most: usize) -> Self {
        Demand { fixed, floor, most, wanted: fixed.unwrap_or(floor), least: usize::MAX, review_at: None }
    }

    /// How many are to be ready.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// A create came, which found one or not, and left so many.
    pub(super) fn asked(&mut self, found: bool, left: usize, now: Instant) {
        if self.fixed.is_some() {
            return;
        }
        if !found {
            self.wanted = (self.wanted + 1).max(AT_FIRST).min(self.most);
        }
        self.least = self.least.min(left);
        self.review_at.get_or_insert(now + REVIEW);
    }

    /// When [`Demand::review`] is due; never, once nothing can change any more without a create.
    pub(super) fn review_at(&self) -> Option<Instant> {
        self.review_at
    }

    /// Gives up half of what was not needed since the last review, if one is due.
    pub(super) fn review(&mut self, now: Instant) {
        if self.review_at.is_none_or(|at| at > now) {
            return;
        }
        let unused = self.least.min(self.wanted);
        self.wanted = (self.wanted - unused.div_ceil(2)).max(self.floor);
        self.least = usize::MAX;
        self.review_at = (self.wanted > self.floor).then(|| now + REVIEW);
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_over(&self) -> bool {
        self.wanted == 0 && self.review_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a burst find what is ready, then refills; answers how many found none.
    fn burst(demand: &mut Demand, creates: usize, now: Instant) -> usize {
        let mut ready = demand.wanted();
        let mut missed = 0;
        for _ in 0..creates {
            let found = ready > 0;
            ready = ready.saturating_sub(1);
            missed += usize::from(!found);
            demand.asked(found, ready, now);
        }
        missed
    }

    #[test]
    fn the_second_burst_finds_what_the_first_one_missed() {
        let mut demand = Demand::new(None, 0, MOST);
        let now = Instant::now();
        assert_eq!(burst(&mut demand, 1, now), 1);
        assert_eq!(demand.wanted(), AT_FIRST);
        assert_eq!(burst(&mut demand, 100, now), 98);
        assert_eq!(burst(&mut demand, 100, now), 0);
        assert_eq!(demand.wanted(), 100);
        burst(&mut demand, 1000, now);
        assert_eq!(demand.wanted(), MOST);
    }

    #[test]
    fn what_nobody_needs_goes_in_a_bounded_number_of_reviews_and_then_there_are_none() {
        for floor in [0, 2] {
            let mut demand = Demand::new(None, floor, MOST);
            let mut now = Instant::now();
            burst(&mut demand, 1000, now);
            let mut reviews = 0;
            while let Some(at) = demand.review_at() {
                assert!(at > now);
                demand.review(at - Duration::from_millis(1));
                assert_eq!(demand.review_at(), Some(at), "it was not due");
                now = at;
                demand.review(now);
                reviews += 1;
                assert!(reviews < 12, "{demand:?}");
            }
            assert_eq!(demand.wanted(), floor);
            assert_eq!(demand.is_over(), floor == 0);
        }
    }

    #[test]
    fn a_steady_demand_keeps_its_number() {
        let mut demand = Demand::new(None, 0, MOST);
        let mut now = Instant::now();
        for _ in 0..20 {
            burst(&mut demand, 40, now);
            now = demand.review_at().unwrap();
            demand.review(now);
        }
        // Every period needed all of them.
        assert_eq!(demand.wanted(), 40);
    }

    #[test]
    fn there_are_never_more_than_there_may_be() {
        for most in [0, 1, 3] {
            let mut demand = Demand::new(None, 0, most);
            burst(&mut demand, 100, Instant::now());
            assert_eq!(demand.wanted(), most);
        }
    }

    #[test]
    fn a_number_of_the_hosts_own_does_not_change() {
        let mut demand = Demand::new(Some(7), 0, MOST);
        burst(&mut demand, 100, Instant::now());
        assert_eq!((demand.wanted(), demand.review_at()), (7, None));
    }
}
