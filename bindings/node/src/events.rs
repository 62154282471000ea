//! What happened in a set, in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use napi::Env;
use napi_derive::napi;
use sandboxset::EventKind;

use crate::bridge::{Done, start};

#[napi]
pub struct EventStream {
    state: Rc<RefCell<State>>,
}

struct State {
    /// `None` once it was ended.
    core: Option<sandboxset::EventStream>,
    /// Of the call that waits, if one does.
    waker: Option<Waker>,
}

#[napi(object, object_from_js = false)]
pub struct Event {
    pub sequence: f64,
    pub sandbox_id: f64,
    pub kind: &'static str,
    pub reason: Option<String>,
    pub child_id: Option<f64>,
    pub lost: Option<f64>,
}

impl EventStream {
    pub(crate) fn new(core: sandboxset::EventStream) -> Self {
        EventStream { state: Rc::new(RefCell::new(State { core: Some(core), waker: None })) }
    }
}

#[napi]
impl EventStream {
    /// The next event; nothing at the end. One call at a time; the facade sees to that.
    #[napi(catch_unwind)]
    pub fn next(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let state = Rc::clone(&self.state);
        let next = std::future::poll_fn(move |context| {
            let mut state = state.borrow_mut();
            state.waker = Some(context.waker().clone());
            state.core.as_ref().map_or(Poll::Ready(None), |core| core.poll_next(context)).map(Ok)
        });
        start(&env, &done, next, |_, event| Ok(event.map(Event::from)))
    }

    /// Ends the subscription, and a call that waits.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.core = None;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl From<sandboxset::Event> for Event {
    fn from(core: sandboxset::Event) -> Self {
        let mut event = Event {
            sequence: core.sequence as f64,
            sandbox_id: core.sandbox_id.get() as f64,
            kind: core.kind.name(),
            reason: None,
            child_id: None,
            lost: None,
        };
        match core.kind {
            EventKind::Destroy(text) | EventKind::Fault(text) => event.reason = Some(text),
            EventKind::Reset(report) => event.reason = Some(report.to_string()),
            EventKind::Fork(child) => event.child_id = Some(child.get() as f64),
            EventKind::Lost(count) => event.lost = Some(count as f64),
            _ => {}
        }
        event
    }
}
