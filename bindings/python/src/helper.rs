//! The threads that wait in the place of Python's main thread. The only module here that starts any.
//!
//! Starting a thread costs more than many a call, so the last one that became free stays for a while.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;

/// What a helper thread does. It must not panic, and must not touch Python.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// How long a helper thread without work stays.
const STAY: Duration = Duration::from_secs(5);

/// The helper thread that waits for work, if one does. Whoever takes it out gives it exactly one job.
static IDLE: Mutex<Option<Helper>> = Mutex::new(None);

/// A helper thread, by the way to give it work.
#[derive(Clone)]
struct Helper {
    id: ThreadId,
    jobs: Sender<Job>,
}

/// Runs a job on a helper thread: on the idle one, else on a new one.
pub(crate) fn run(job: Job) -> std::io::Result<()> {
    let idle = IDLE.lock().take();
    let job = match idle {
        None => job,
        Some(helper) => match helper.jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent.0,
        },
    };
    std::thread::Builder::new().name("sandboxset-wait".into()).spawn(move || work(job)).map(drop)
}

fn work(first: Job) {
    first();
    let (sender, jobs) = channel();
    let me = Helper { id: std::thread::current().id(), jobs: sender };
    while me.stay() {
        match me.next(&jobs) {
            Some(job) => job(),
            None => return,
        }
    }
}

impl Helper {
    /// Becomes the idle helper, unless there is one already.
    fn stay(&self) -> bool {
        let mut idle = IDLE.lock();
        if idle.is_some() {
            return false;
        }
        *idle = Some(self.clone());
        true
    }

    /// The next job; `None` if none came for a while.
    fn next(&self, jobs: &Receiver<Job>) -> Option<Job> {
        if let Ok(job) = jobs.recv_timeout(STAY) {
            return Some(job);
        }
        let mut idle = IDLE.lock();
        if idle.as_ref().is_some_and(|helper| helper.id == self.id) {
            *idle = None;
            return None;
        }
        // Somebody took this helper just now and is about to send.
        drop(idle);
        jobs.recv().ok()
    }
}
