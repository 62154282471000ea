//! Reading piece by piece from what blocks. A read that nobody awaits any more goes on, and its piece is the next
//! reader's: so a read can be cancelled, or time out, without losing anything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use sandboxset::{Result, Task};

/// What comes piece by piece, for one reader at a time.
pub(super) struct Pieces {
    fetch: Box<dyn Fn(usize) -> Task<Vec<u8>> + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    coming: Option<Task<Vec<u8>>>,
    /// What was fetched for somebody who is gone, and more than the next one asked for.
    rest: Vec<u8>,
    has_ended: bool,
}

/// Up to so many bytes; none is the end.
pub(super) struct NextPiece {
    pieces: Arc<Pieces>,
    max_bytes: usize,
}

impl Pieces {
    /// Reads by `fetch` up to so many bytes; none is the end. At most one fetch is under way, and only what is asked for is
    /// fetched.
    pub(super) fn new(fetch: impl Fn(usize) -> Task<Vec<u8>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Pieces { fetch: Box::new(fetch), state: Mutex::default() })
    }

    pub(super) fn next(self: &Arc<Self>, max_bytes: usize) -> NextPiece {
        NextPiece { pieces: Arc::clone(self), max_bytes }
    }
}

impl Future for NextPiece {
    type Output = Result<Vec<u8>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Vec<u8>>> {
        let mut state = self.pieces.state.lock();
        if state.rest.is_empty() && !state.has_ended {
            let coming = state.coming.get_or_insert_with(|| (self.pieces.fetch)(self.max_bytes));
            let fetched = ready!(Pin::new(coming).poll(context));
            state.coming = None;
            state.rest = fetched?;
            state.has_ended = state.rest.is_empty();
        }
        let length = self.max_bytes.min(state.rest.len());
        let later = state.rest.split_off(length);
        Poll::Ready(Ok(std::mem::replace(&mut state.rest, later)))
    }
}
