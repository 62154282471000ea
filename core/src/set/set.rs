//! The set itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use super::parents::check_parent;
use crate::{
    Backend, Config, Error, ErrorCode, EventStream, GetOptions, IsolationReport, Phase, Result, Reuse,
    SandboxRef, SandboxSpec, Stats, forked,
};

/// All sandboxes of one function. Thread-safe; clones share one set, which is closed when the last one is dropped.
///
/// Dropping the last one does not wait: idle sandboxes are destroyed in the background, held ones at their put.
#[derive(Clone, Debug)]
pub struct SandboxSet {
    handle: Arc<Handle>,
}

/// What a close left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Sandboxes that were destroyed during the close.
    pub destroyed: usize,
    /// Sandboxes that could not be destroyed in time, each with its state and the reason.
    pub survivors: Vec<String>,
}

/// Closes the set when the last clone of it goes. Refs and workers hold only what is inside.
struct Handle {
    inner: Arc<Inner>,
}

/// How long a close waits for teardowns that began at its deadline.
const TEARDOWN_GRACE: Duration = Duration::from_secs(5);

impl SandboxSet {
    /// A set of sandboxes made by `backend` from `spec`. Makes no sandbox yet, unless `min_idle` asks for it.
    ///
    /// Blocks while an image is unpacked, the first time that it is used, see [`crate::RootFs::OciLayout`].
    ///
    /// # With a parent
    ///
    /// `config.parent` is a set of the same backend, whose sandboxes are forked to make those of this set. One parent
    /// is shared by many children; while it is forked it is held, and so unpaused, and the parent set counts that as
    /// a get and a put. It grows when forks queue, within its `max_size`. A fork that the parent is to blame for is
    /// tried once more on another, and the parent is destroyed. A set with a parent creates in no other way: where no
    /// parent can be had in `create_timeout`, a create fails with `FORK_FAILED` and the cause.
    ///
    /// Children outlive what becomes of their parent set: a parent that is destroyed, by whatever rule, is torn down
    /// when its last child is gone, and until then counts as being destroyed. It gives up its place, so that up to
    /// `max_size` of them may exist besides. Once the parent set drains or is closed, creates fail with `CLOSED` as
    /// the cause. Its close waits for the children until its deadline, and then reports the parents as survivors.
    /// A parent that dies takes its children with it.
    ///
    /// A parent may have a parent. It is given here and never changes, so that there are no cycles.
    ///
    /// Errors: `INVALID_ARGUMENT` naming the field, what the backend says to the spec, `UNSUPPORTED` if it cannot do
    /// what the config wants, `FORKED_PROCESS`.
    pub fn new(backend: Arc<dyn Backend>, spec: SandboxSpec, config: Config) -> Result<Self> {
        forked::watch();
        forked::refuse_in_child(Phase::Configure)?;
        config.validate()?;
        spec.validate()?;
        backend.validate(&spec)?;
        if config.reuse == Reuse::Reset {
            check_reset(&*backend, &spec)?;
        }
        if let Some(parent) = &config.parent {
            check_parent(parent, &*backend)?;
        }
        let spec = backend.prepare(spec)?;
        let inner = Arc::new(Inner::new(backend, spec, config));
        inner.decide(|slots, effects| slots.allow_refill(effects));
        Ok(SandboxSet { handle: Arc::new(Handle { inner }) })
    }

    /// A running sandbox: the most recently used idle one, else a new one, else the first that comes free.
    ///
    /// It was unpaused and found alive before it is returned. Callers are served first come, first served. A caller
    /// that gives up leaves at once; a create that was started for it goes on, and its sandbox serves the next.
    ///
    /// Errors: `TIMEOUT` with the reason of the wait, `CANCELLED`, `CLOSED`, `EXHAUSTED`, `OVERLOADED`,
    /// `FORKED_PROCESS`, and whatever the create that was started for this caller failed with.
    pub fn get_or_create_unpaused(&self, options: &GetOptions) -> Result<SandboxRef> {
        forked::refuse_in_child(Phase::Wait)?;
        self.handle.inner.get(options)
    }

    /// Makes idle sandboxes until there are `count`, or until the set is full. Waits for them, at most `timeout`,
    /// and answers how many are idle then. If creates failed on the way, their error.
    pub fn prewarm(&self, count: usize, timeout: Duration) -> Result<usize> {
        forked::refuse_in_child(Phase::Create)?;
        let inner = &self.handle.inner;
        inner.check_open()?;
        if count > inner.config.max_size {
            return Err(Error::invalid(
                "count",
                format_args!("{count} exceeds max_size {}", inner.config.max_size),
            ));
        }
        let deadline = inner.config.clock.now().saturating_add(timeout);
        let failures = inner.decide(|slots, effects| {
            let failures = slots.create_failures();
            slots.prewarm(count, effects);
            failures
        });
        inner.watch(deadline, |slots| slots.idle() >= count || slots.coming() == 0);
        inner.ask(|slots| match slots.last_create_error() {
            Some(error) if slots.idle() < count && slots.create_failures() > failures => Err(error),
            _ => Ok(slots.idle()),
        })
    }

    /// Destroys idle sandboxes, least recently used first, until `keep` are left, or `min_idle` if that is more.
    /// Answers how many; does not wait for the teardown.
    pub fn shrink(&self, keep: usize) -> Result<usize> {
        forked::refuse_in_child(Phase::Destroy)?;
        Ok(self.handle.inner.decide(|slots, effects| slots.shrink(keep, effects)))
    }

    /// Stops admission and waits for holders. `TIMEOUT` if some are left; the set stays draining. Idempotent.
    ///
    /// Callers that wait already are still served; new ones are told `CLOSED`.
    pub fn drain(&self, deadline: Duration) -> Result<()> {
        forked::refuse_in_child(Phase::Close)?;
        let inner = &self.handle.inner;
        inner.decide(|slots, _| slots.drain());
        inner.stop_refill();
        let until = inner.config.clock.now().saturating_add(deadline);
        if inner.watch(until, |slots| slots.is_drained()) {
            return Ok(());
        }
        let stats = self.stats();
        Err(Error::new(
            ErrorCode::Timeout,
            Phase::Close,
            format!(
                "after {deadline:?} of draining {} sandboxes are still held and {} callers wait",
                stats.held + stats.resuming + stats.returning,
                stats.waiting
            ),
        ))
    }

    /// Fails waiters with `CLOSED`, destroys idle sandboxes at once and held ones at their put or at the deadline,
    /// waits for all of it and reports what survived. Idempotent.
    ///
    /// What could not be destroyed is tried again until the deadline. What begins only then gets up to 5 s more; so
    /// it returns at the latest then.
    pub fn close(&self, deadline: Duration) -> Result<CloseReport> {
        forked::refuse_in_child(Phase::Close)?;
        let inner = &self.handle.inner;
        let until = inner.config.clock.now().saturating_add(deadline);
        let before = inner.decide(|slots, effects| {
            slots.close(effects);
            slots.destroyed_count()
        });
        inner.stop_refill();
        inner.end_forks();
        // What could not be destroyed is tried again all the time; what begins at the deadline gets the grace.
        if !inner.watch(until, |slots| slots.is_empty()) {
            inner.decide(|slots, effects| slots.condemn_held(effects));
            let grace = until.saturating_add(TEARDOWN_GRACE);
            inner.watch(grace, |slots| slots.is_torn_down_but_for_parents());
        }
        inner.end_events_if_over();
        Ok(inner.ask(|slots| CloseReport {
            destroyed: (slots.destroyed_count() - before) as usize,
            survivors: slots.occupants().map(|(state, entry)| describe(state, entry.map(|e| &**e))).collect(),
        }))
    }

    /// A consistent snapshot of the counters. Works after close; all zero in a forked child.
    pub fn stats(&self) -> Stats {
        if forked::in_forked_child() {
            return Stats::default();
        }
        self.handle.inner.ask(|slots| slots.stats())
    }

    /// Subscribes to what happens from now on. At most `capacity` unread events are kept, between 1 and
    /// [`EventStream::MAX_CAPACITY`].
    pub fn events(&self, capacity: usize) -> Result<EventStream> {
        forked::refuse_in_child(Phase::Use)?;
        self.handle.inner.hub.subscribe(capacity)
    }

    /// What isolation the sandboxes of this set reach on this host. Empty in a forked child.
    pub fn isolation_report(&self) -> IsolationReport {
        if forked::in_forked_child() {
            return IsolationReport::default();
        }
        self.handle.inner.backend.isolation_report()
    }

    /// What makes its sandboxes.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.handle.inner.backend
    }

    /// How the set was configured.
    pub fn config(&self) -> &Config {
        &self.handle.inner.config
    }

    /// `CLOSED` if the set is draining or closed.
    pub fn check_open(&self) -> Result<()> {
        forked::refuse_in_child(Phase::Use)?;
        self.handle.inner.check_open()
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if forked::in_forked_child() {
            // Nothing here may be locked or dropped: it all belongs to the parent.
            std::mem::forget(Arc::clone(&self.inner));
            return;
        }
        self.inner.decide(|slots, effects| slots.close(effects));
        self.inner.stop_refill();
        self.inner.end_forks();
        self.inner.end_events_if_over();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("backend", &self.inner.backend.name()).finish_non_exhaustive()
    }
}

fn check_reset(backend: &dyn Backend, spec: &SandboxSpec) -> Result<()> {
    if spec.runtime.is_some() {
        return Err(Error::invalid("reuse", "a reset would kill the runtime of the sandboxes"));
    }
    let emptied = ["/scratch", "/tmp", "/dev/shm", "/dev/mqueue"];
    if let Some(bind) = spec.binds.iter().find(|bind| emptied.iter().any(|dir| bind.target.starts_with(dir)))
    {
        let target = bind.target.display();
        return Err(Error::invalid("reuse", format_args!("a reset would empty what is bound to {target}")));
    }
    if !backend.capabilities().reset {
        let message = format!("reuse: the {} backend cannot reset sandboxes here", backend.name());
        return Err(Error::new(ErrorCode::Unsupported, Phase::Configure, message));
    }
    Ok(())
}

fn describe(state: &str, entry: Option<&super::entry::Entry>) -> String {
    let Some(entry) = entry else { return format!("a sandbox: {state}") };
    match entry.guard.death() {
        Some(death) => format!("{}: {state} ({})", entry.guard.id(), death.reason),
        None => format!("{}: {state}", entry.guard.id()),
    }
}
