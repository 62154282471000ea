//! In which order an init may tell how far its set-up has come. Everything at most once, because from the start of its
//! runtime on it may be in the hands of that: one that could say a thing again and again could fill our memory, or have
//! the parent's server asked without end.

use crate::init::News;

/// The last that was heard of an init.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heard {
    #[default]
    Nothing,
    Furnished,
    Forkable,
    Door,
    Joined,
    Forked,
    /// There is nothing more to come.
    End,
}

/// What there is to be heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Whether it gets a runtime.
    pub(super) runtime: bool,
    /// Whether that is a fork server.
    pub(super) forks: bool,
    /// Whether it is forked itself.
    pub(super) is_fork: bool,
}

/// What an init was told of its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// To begin with it; if it is a fork, up to where it is forked.
    Begun,
    /// To let it run.
    Released,
}

impl Heard {
    /// What has been heard with this, if it can come now: after what was heard before, and after what it was told.
    pub(super) fn then(self, news: &News, way: Way, told: Told) -> Option<Self> {
        let next = match (self, news) {
            (Heard::End, _) => return None,
            (_, News::Failed(_) | News::NotForked(_)) => return Some(Heard::End),
            (Heard::Nothing, News::Furnished(_)) if way.runtime => return Some(Heard::Furnished),
            (Heard::Nothing, News::Furnished(_)) => return Some(Heard::End),
            (Heard::Furnished, News::Forkable) if way.forks => Heard::Forkable,
            (Heard::Furnished, News::Door) if way.is_fork && !way.forks => Heard::Door,
            (Heard::Forkable, News::Door) if way.is_fork => Heard::Door,
            (Heard::Door, News::Joined) => Heard::Joined,
            (Heard::Furnished, News::Ready) if !way.forks && !way.is_fork => Heard::End,
            (Heard::Forkable, News::Ready) if !way.is_fork => Heard::End,
            (Heard::Joined, News::Forked) => Heard::Forked,
            (Heard::Forked, News::Ready) if told == Told::Released => Heard::End,
            _ => return None,
        };
        (told != Told::Nothing).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(number: usize) -> News {
        match number {
            0 => News::Furnished(Vec::new()),
            1 => News::Forkable,
            2 => News::Door,
            3 => News::Joined,
            4 => News::Forked,
            _ => News::Ready,
        }
    }

    /// What an honest init says.
    fn honest(way: Way) -> Vec<usize> {
        let said = [
            (0, true),
            (1, way.forks),
            (2, way.is_fork),
            (3, way.is_fork),
            (4, way.is_fork),
            (5, way.runtime),
        ];
        said.into_iter()
            .filter(|(number, said)| *said && (*number == 0 || way.runtime))
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn only_what_an_honest_init_says_is_heard_and_only_in_its_order() {
        const LONGEST: u32 = 7;
        const KINDS: usize = 6;
        for bits in 0..8 {
            let way = Way { runtime: bits & 1 != 0, forks: bits & 2 != 0, is_fork: bits & 4 != 0 };
            let honest = honest(way);
            let mut accepted = 0;
            // Everything that can be said in so many messages.
            for sequence in 0..KINDS.pow(LONGEST) {
                let said: Vec<usize> = (0..LONGEST).map(|at| sequence / KINDS.pow(at) % KINDS).collect();
                let mut heard = Heard::default();
                let count = said
                    .iter()
                    .take_while(|number| {
                        let next = heard.then(&any(**number), way, Told::Released);
                        heard = next.unwrap_or(heard);
                        next.is_some()
                    })
                    .count();
                assert!(
                    count <= honest.len() && said[..count] == honest[..count],
                    "{way:?}: {said:?} {count}"
                );
                accepted = accepted.max(count);
            }
            // The control: the honest one is heard to its end.
            assert_eq!(accepted, honest.len(), "{way:?}");
        }
    }

    #[test]
    fn nothing_of_a_runtime_is_heard_before_it_may_begin() {
        let way = Way { runtime: true, forks: true, is_fork: true };
        assert_eq!(Heard::Nothing.then(&any(0), way, Told::Nothing), Some(Heard::Furnished));
        let all =
            [Heard::Nothing, Heard::Furnished, Heard::Forkable, Heard::Door, Heard::Joined, Heard::Forked];
        for heard in all {
            assert!((1..6).all(|number| heard.then(&any(number), way, Told::Nothing).is_none()), "{heard:?}");
        }
    }

    #[test]
    fn a_fork_that_waits_is_not_ready_before_it_is_released() {
        let way = Way { runtime: true, forks: false, is_fork: true };
        assert_eq!(Heard::Joined.then(&News::Forked, way, Told::Begun), Some(Heard::Forked));
        assert_eq!(Heard::Forked.then(&News::Ready, way, Told::Begun), None);
        assert_eq!(Heard::Forked.then(&News::Ready, way, Told::Released), Some(Heard::End));
        // What is no fork is released when it begins.
        let way = Way { is_fork: false, ..way };
        assert_eq!(Heard::Furnished.then(&News::Ready, way, Told::Begun), Some(Heard::End));
    }
}
