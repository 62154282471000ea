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

impl Heard {
    /// What has been heard with this, if it can come now: after what was heard before, and with `begun` when the init
    /// was told to begin with its runtime.
    pub(super) fn then(self, news: &News, way: Way, begun: bool) -> Option<Self> {
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
            (Heard::Joined, News::Ready) => Heard::End,
            _ => return None,
        };
        begun.then_some(next)
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
            _ => News::Ready,
        }
    }

    /// What an honest init says.
    fn honest(way: Way) -> Vec<usize> {
        let said = [(0, true), (1, way.forks), (2, way.is_fork), (3, way.is_fork), (4, way.runtime)];
        said.into_iter()
            .filter(|(number, said)| *said && (*number == 0 || way.runtime))
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn only_what_an_honest_init_says_is_heard_and_only_in_its_order() {
        const LONGEST: u32 = 6;
        for bits in 0..8 {
            let way = Way { runtime: bits & 1 != 0, forks: bits & 2 != 0, is_fork: bits & 4 != 0 };
            let honest = honest(way);
            let mut accepted = 0;
            // Everything that can be said in so many messages.
            for sequence in 0..5usize.pow(LONGEST) {
                let said: Vec<usize> = (0..LONGEST).map(|at| sequence / 5usize.pow(at) % 5).collect();
                let mut heard = Heard::default();
                let count = said
                    .iter()
                    .take_while(|number| {
                        let next = heard.then(&any(**number), way, true);
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
        assert_eq!(Heard::Nothing.then(&any(0), way, false), Some(Heard::Furnished));
        for heard in [Heard::Nothing, Heard::Furnished, Heard::Forkable, Heard::Door, Heard::Joined] {
            assert!((1..5).all(|number| heard.then(&any(number), way, false).is_none()), "{heard:?}");
        }
    }
}
