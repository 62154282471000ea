//! The native half of a ref: a place for one sandbox at a time. The facade uses a place again after a put, because to
//! make one costs more than a whole get.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use napi::Env;
use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi_derive::napi;
use sandboxset::{
    Acquire, Error, ErrorCode, GetFuture, GetOptions, Phase, Result, SandboxRef, SandboxState, Task,
};
use tokio::sync::oneshot;

use crate::backend::Pace;
use crate::bridge::{Done, start};
use crate::cancel::CancelToken;
use crate::command::CommandOptions;
use crate::connection::Connection;
use crate::elsewhere::DropElsewhere;
use crate::errors::raise;
use crate::output::{Output, Usage};
use crate::process::Process;
use crate::reports::DirEntry;
use crate::spec::BindingOptions;
use crate::values::{Name, as_millis, millis, os_string, path};

#[napi]
pub struct Lease {
    /// Weak, so that a set which nobody has any more is closed although a sandbox of it is held.
    set: Weak<DropElsewhere<sandboxset::SandboxSet>>,
    pace: Pace,
    /// A get that found nothing at its first look.
    begun: RefCell<Option<Pin<Box<GetFuture>>>>,
    held: Rc<RefCell<Option<Arc<SandboxRef>>>>,
}

#[napi(object, object_to_js = false)]
pub struct LeaseOptions {
    pub timeout: Option<f64>,
    pub no_wait: Option<bool>,
    pub acquire: Option<u32>,
    pub binding: Option<BindingOptions>,
}

impl Lease {
    pub(crate) fn new(set: Weak<DropElsewhere<sandboxset::SandboxSet>>, pace: Pace) -> Self {
        Lease { set, pace, begun: RefCell::default(), held: Rc::default() }
    }

    fn set(&self, env: &Env) -> napi::Result<sandboxset::SandboxSet> {
        match self.set.upgrade() {
            Some(set) => Ok(sandboxset::SandboxSet::clone(&set)),
            None => Err(raise(env, &Error::new(ErrorCode::Closed, Phase::Wait, "the set is closed"))),
        }
    }

    fn held(&self, env: &Env) -> napi::Result<Arc<SandboxRef>> {
        self.held.borrow().clone().ok_or_else(|| raise(env, &empty()))
    }

    /// Runs a call that waits, on a worker.
    fn run<T: Send + 'static>(
        &self,
        env: &Env,
        phase: Phase,
        call: impl FnOnce(&SandboxRef) -> Result<T> + Send + 'static,
    ) -> napi::Result<Task<T>> {
        let held = self.held(env)?;
        Ok(Task::run(phase, None, move |_| call(&held)))
    }
}

#[napi]
impl Lease {
    /// Begins a get without options. If a sandbox will do now its id is the answer, and the get is over; else it is 0,
    /// and `get` goes on with it.
    #[napi(catch_unwind)]
    pub fn begin_get(&self, env: Env) -> napi::Result<f64> {
        if !self.pace.gets_at_once() {
            return Ok(0.0);
        }
        let mut get = Box::pin(self.set(&env)?.get_or_create_unpaused_async(GetOptions::default()));
        match get.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(core)) => {
                let id = core.id().get() as f64;
                self.held.replace(Some(Arc::new(core)));
                Ok(id)
            }
            Poll::Ready(Err(error)) => Err(raise(&env, &error)),
            Poll::Pending => {
                self.begun.replace(Some(get));
                Ok(0.0)
            }
        }
    }

    /// Takes a sandbox as soon as one will do, and answers its id.
    #[napi(catch_unwind)]
    pub fn get(
        &self,
        env: Env,
        options: LeaseOptions,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let held = Rc::clone(&self.held);
        let hold = move |_: &Env, core: SandboxRef| {
            let id = core.id().get() as f64;
            held.replace(Some(Arc::new(core)));
            Ok(id)
        };
        if let Some(get) = self.begun.take() {
            return start(&env, &done, get, hold);
        }
        let mut options = GetOptions {
            timeout: options.timeout.map(millis),
            no_wait: options.no_wait.unwrap_or_default(),
            acquire: match options.acquire {
                Some(1) => Acquire::ReuseOnly,
                Some(2) => Acquire::FreshOnly,
                _ => Acquire::Any,
            },
            cancel: cancel.map(|token| token.core.clone()),
            binding: options.binding.map(BindingOptions::read),
        };
        let set = self.set(&env)?;
        if self.pace.gets_at_once() {
            return start(&env, &done, set.get_or_create_unpaused_async(options), hold);
        }
        let cancel = options.cancel.take();
        let call = move |cancel: &sandboxset::CancelToken| {
            options.cancel = Some(cancel.clone());
            set.get_or_create_unpaused(&options)
        };
        start(&env, &done, Task::run(Phase::Wait, cancel.as_ref(), call), hold)
    }

    /// Gives the sandbox back if that takes no time, and answers how often it was used; else 0, and `put_later` does it.
    /// The place is empty then.
    #[napi(catch_unwind)]
    pub fn put(&self, env: Env) -> napi::Result<f64> {
        if !self.pace.puts_at_once() {
            return Ok(0.0);
        }
        let Some(core) = self.held.take() else { return Err(raise(&env, &empty())) };
        core.put().map_err(|error| raise(&env, &error))?;
        Ok(core.uses() as f64)
    }

    /// Gives the sandbox back, and answers how often it was used once it is idle. The place is empty at once.
    #[napi(catch_unwind)]
    pub fn put_later(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let Some(core) = self.held.take() else { return Err(raise(&env, &empty())) };
        let (sender, receiver) = oneshot::channel();
        let told = move |result| {
            // Whoever is gone wants no answer.
            let _ = sender.send(result);
        };
        let put = core.put_then(told);
        let uses = core.uses() as f64;
        let put = async move {
            let lost = |_| Err(Error::new(ErrorCode::Internal, Phase::Pause, "the put panicked"));
            match put {
                Ok(()) => receiver.await.unwrap_or_else(lost),
                // Without a thread to do it, the only way not to lose the place is to wait after all.
                Err(_) => core.put(),
            }
        };
        start(&env, &done, put, move |_, ()| Ok(uses))
    }

    /// Ends the sandbox, never waits, and answers how often it was used. The place is empty then.
    #[napi(catch_unwind)]
    pub fn destroy(&self, env: Env, reason: String) -> napi::Result<f64> {
        let Some(core) = self.held.take() else { return Err(raise(&env, &empty())) };
        core.destroy(&reason).map_err(|error| raise(&env, &error))?;
        Ok(core.uses() as f64)
    }

    /// Destroys what nobody can put any more; its id, or 0 if there was nothing.
    #[napi(catch_unwind)]
    pub fn abandon(&self) -> f64 {
        match self.held.take() {
            Some(core) if core.destroy("collected without put or destroy").is_ok() => core.id().get() as f64,
            _ => 0.0,
        }
    }

    #[napi(catch_unwind)]
    pub fn taint(&self, env: Env, reason: String) -> napi::Result<()> {
        self.held(&env)?.taint(&reason);
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn exec(
        &self,
        env: Env,
        command: CommandOptions,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let command = command.read(&env, cancel)?;
        start(&env, &done, self.held(&env)?.exec_async(command), |_, output| Ok(Output::from(output)))
    }

    #[napi(catch_unwind)]
    pub fn spawn(
        &self,
        env: Env,
        command: CommandOptions,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let command = command.read(&env, cancel)?;
        start(&env, &done, self.held(&env)?.spawn_async(command), |_, core| Ok(Process::new(core)))
    }

    #[napi(catch_unwind)]
    pub fn connect(
        &self,
        env: Env,
        timeout: f64,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let cancel = cancel.map(|token| &token.core);
        let task = self.held(&env)?.connect_async(millis(timeout), cancel);
        start(&env, &done, task, |env, core| Connection::new(core).map_err(|error| raise(env, &error)))
    }

    #[napi(catch_unwind)]
    pub fn call(
        &self,
        env: Env,
        request: Uint8Array,
        timeout: f64,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let cancel = cancel.map(|token| &token.core);
        let task = self.held(&env)?.call_async(request.to_vec(), millis(timeout), cancel);
        start(&env, &done, task, |_, answer| Ok(Buffer::from(answer)))
    }

    #[napi(catch_unwind)]
    pub fn read_file(&self, env: Env, path: Name, max_bytes: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.held(&env)?.read_file_async(os_string(path), max_bytes as u64);
        start(&env, &done, task, |_, bytes| Ok(Buffer::from(bytes)))
    }

    #[napi(catch_unwind)]
    pub fn write_file(
        &self,
        env: Env,
        path: Name,
        data: Uint8Array,
        mode: f64,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let task = self.held(&env)?.write_file_async(os_string(path), data.to_vec(), mode as u32);
        start(&env, &done, task, |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn list_dir(&self, env: Env, path: Name, max_entries: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.held(&env)?.list_dir_async(os_string(path), max_entries as usize);
        start(&env, &done, task, |_, entries| Ok(entries.into_iter().map(DirEntry::from).collect::<Vec<_>>()))
    }

    #[napi(catch_unwind)]
    pub fn remove(&self, env: Env, name: Name, done: Done<'_>) -> napi::Result<()> {
        start(&env, &done, self.held(&env)?.remove_async(path(name)), |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn usage(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let task = self.run(&env, Phase::Use, SandboxRef::usage)?;
        start(&env, &done, task, |_, usage| Ok(Usage::from(usage)))
    }

    #[napi(catch_unwind)]
    pub fn log(&self, env: Env, max_bytes: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.run(&env, Phase::Use, move |core| core.log(max_bytes as usize))?;
        start(&env, &done, task, |_, log| Ok(Buffer::from(log)))
    }

    #[napi(getter, catch_unwind)]
    pub fn scratch_dir(&self, env: Env) -> napi::Result<String> {
        Ok(self.held(&env)?.scratch_dir().to_string_lossy().into_owned())
    }

    #[napi(getter, catch_unwind)]
    pub fn host_scratch_dir(&self, env: Env) -> napi::Result<Option<String>> {
        Ok(self.held(&env)?.host_scratch_dir().map(|path| path.to_string_lossy().into_owned()))
    }

    #[napi(getter, catch_unwind)]
    pub fn state(&self) -> &'static str {
        let state = self.held.borrow().as_ref().map(|core| core.state());
        state.unwrap_or(SandboxState::Stale).name()
    }

    #[napi(getter, catch_unwind)]
    pub fn uses(&self, env: Env) -> napi::Result<f64> {
        Ok(self.held(&env)?.uses() as f64)
    }

    #[napi(getter, catch_unwind)]
    pub fn age_ms(&self, env: Env) -> napi::Result<f64> {
        Ok(as_millis(self.held(&env)?.age()))
    }
}

impl Drop for Lease {
    /// With its JavaScript environment; nobody can say in what state the sandbox was left.
    fn drop(&mut self) {
        if let Some(core) = self.held.take() {
            // One that was ended otherwise needs no end.
            let _ = core.destroy("its JavaScript environment ended");
        }
    }
}

/// The facade asks only places that hold a sandbox.
fn empty() -> Error {
    Error::new(ErrorCode::StaleRef, Phase::Use, "the ref was put or destroyed")
}
