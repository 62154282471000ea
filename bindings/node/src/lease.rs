//! The native half of a ref: a place for one sandbox at a time. The facade uses a place again after a put, because to
//! make one costs more than a whole get.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use napi::Env;
use napi::bindgen_prelude::{Buffer, Function, Uint8Array};
use napi_derive::napi;
use sandboxset::{
    Acquire, Error, ErrorCode, FirstLook, GetFuture, GetOptions, Phase, SandboxRef, SandboxState, Task,
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
    place: Rc<Place>,
}

/// What a lease shares with its functions and its gets.
struct Place {
    /// Weak, so that a set which nobody has any more is closed although a sandbox of it is held.
    set: Weak<DropElsewhere<sandboxset::SandboxSet>>,
    pace: Pace,
    /// A get that found nothing at its first look.
    begun: RefCell<Option<Box<GetFuture>>>,
    held: RefCell<Option<SandboxRef>>,
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
        let place = Place { set, pace, begun: RefCell::default(), held: RefCell::default() };
        Lease { place: Rc::new(place) }
    }

    /// Asks the sandbox that is held, or begins a call of it. `ask` must not call JavaScript.
    fn ask<T>(&self, env: &Env, ask: impl FnOnce(&SandboxRef) -> T) -> napi::Result<T> {
        let answer = self.place.held.borrow().as_ref().map(ask);
        answer.ok_or_else(|| raise(env, &empty()))
    }
}

impl Place {
    fn set(&self, env: &Env) -> napi::Result<Rc<DropElsewhere<sandboxset::SandboxSet>>> {
        let closed = || raise(env, &Error::new(ErrorCode::Closed, Phase::Wait, "the set is closed"));
        self.set.upgrade().ok_or_else(closed)
    }

    fn hold(&self, core: SandboxRef) -> f64 {
        let id = core.id().get() as f64;
        self.held.replace(Some(core));
        id
    }

    fn take(&self, env: &Env) -> napi::Result<SandboxRef> {
        self.held.take().ok_or_else(|| raise(env, &empty()))
    }

    fn begin_get(&self, env: &Env) -> napi::Result<f64> {
        if !self.pace.gets_at_once() {
            return Ok(0.0);
        }
        match self.set(env)?.begin_get(GetOptions::default()) {
            Ok(FirstLook::Found(core)) => Ok(self.hold(core)),
            Ok(FirstLook::NotYet(rest)) => {
                self.begun.replace(Some(rest));
                Ok(0.0)
            }
            Err(error) => Err(raise(env, &error)),
        }
    }

    fn put(&self, env: &Env) -> napi::Result<f64> {
        if !self.pace.puts_at_once() {
            return Ok(0.0);
        }
        let core = self.take(env)?;
        core.put().map_err(|error| raise(env, &error))?;
        Ok(core.uses() as f64)
    }
}

/// What nearly every get and put does are functions, because a method costs more than the whole get: its wrapper has to
/// find out what it was called on, and keeps an account of who borrows it.
#[napi]
impl Lease {
    /// A function that begins a get without options. If a sandbox will do now its id is the answer, and the get is over;
    /// else it is 0, and `get` goes on with it.
    #[napi(catch_unwind)]
    pub fn begin_get_function<'env>(&self, env: &'env Env) -> napi::Result<Function<'env, (), f64>> {
        let place = Rc::clone(&self.place);
        env.create_function_from_closure("beginGet", move |call| place.begin_get(call.env))
    }

    /// A function that gives the sandbox back if that takes no time, and answers how often it was used; else 0, and
    /// `put_later` does it. The place is empty then.
    #[napi(catch_unwind)]
    pub fn put_function<'env>(&self, env: &'env Env) -> napi::Result<Function<'env, (), f64>> {
        let place = Rc::clone(&self.place);
        env.create_function_from_closure("put", move |call| place.put(call.env))
    }
}

#[napi]
impl Lease {
    /// Takes a sandbox as soon as one will do, and answers its id.
    #[napi(catch_unwind)]
    pub fn get(
        &self,
        env: Env,
        options: LeaseOptions,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let place = Rc::clone(&self.place);
        let hold = move |_: &Env, core: SandboxRef| Ok(place.hold(core));
        if let Some(get) = self.place.begun.take() {
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
        let set = sandboxset::SandboxSet::clone(&*self.place.set(&env)?);
        if self.place.pace.gets_at_once() {
            return start(&env, &done, set.get_or_create_unpaused_async(options), hold);
        }
        let cancel = options.cancel.take();
        let call = move |cancel: &sandboxset::CancelToken| {
            options.cancel = Some(cancel.clone());
            set.get_or_create_unpaused(&options)
        };
        start(&env, &done, Task::run(Phase::Wait, cancel.as_ref(), call), hold)
    }

    /// Gives the sandbox back, and answers how often it was used once it is idle. The place is empty at once.
    #[napi(catch_unwind)]
    pub fn put_later(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let core = self.place.take(&env)?;
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
        let core = self.place.take(&env)?;
        core.destroy(&reason).map_err(|error| raise(&env, &error))?;
        Ok(core.uses() as f64)
    }

    /// Destroys what nobody can put any more; its id, or 0 if there was nothing.
    #[napi(catch_unwind)]
    pub fn abandon(&self) -> f64 {
        match self.place.held.take() {
            Some(core) if core.destroy("collected without put or destroy").is_ok() => core.id().get() as f64,
            _ => 0.0,
        }
    }

    #[napi(catch_unwind)]
    pub fn taint(&self, env: Env, reason: String) -> napi::Result<()> {
        self.ask(&env, |core| core.taint(&reason))
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
        let task = self.ask(&env, |core| core.exec_async(command))?;
        start(&env, &done, task, |_, output| Ok(Output::from(output)))
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
        let task = self.ask(&env, |core| core.spawn_async(command))?;
        start(&env, &done, task, |_, core| Ok(Process::new(core)))
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
        let task = self.ask(&env, |core| core.connect_async(millis(timeout), cancel))?;
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
        let task = self.ask(&env, |core| core.call_async(request.to_vec(), millis(timeout), cancel))?;
        start(&env, &done, task, |_, answer| Ok(Buffer::from(answer)))
    }

    #[napi(catch_unwind)]
    pub fn read_file(&self, env: Env, path: Name, max_bytes: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.ask(&env, |core| core.read_file_async(os_string(path), max_bytes as u64))?;
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
        let task =
            self.ask(&env, |core| core.write_file_async(os_string(path), data.to_vec(), mode as u32))?;
        start(&env, &done, task, |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn list_dir(&self, env: Env, path: Name, max_entries: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.ask(&env, |core| core.list_dir_async(os_string(path), max_entries as usize))?;
        start(&env, &done, task, |_, entries| Ok(entries.into_iter().map(DirEntry::from).collect::<Vec<_>>()))
    }

    #[napi(catch_unwind)]
    pub fn remove(&self, env: Env, name: Name, done: Done<'_>) -> napi::Result<()> {
        let task = self.ask(&env, |core| core.remove_async(path(name)))?;
        start(&env, &done, task, |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn usage(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let task = self.ask(&env, SandboxRef::usage_async)?;
        start(&env, &done, task, |_, usage| Ok(Usage::from(usage)))
    }

    #[napi(catch_unwind)]
    pub fn log(&self, env: Env, max_bytes: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.ask(&env, |core| core.log_async(max_bytes as usize))?;
        start(&env, &done, task, |_, log| Ok(Buffer::from(log)))
    }

    #[napi(getter, catch_unwind)]
    pub fn scratch_dir(&self, env: Env) -> napi::Result<String> {
        self.ask(&env, |core| core.scratch_dir().to_string_lossy().into_owned())
    }

    #[napi(getter, catch_unwind)]
    pub fn host_scratch_dir(&self, env: Env) -> napi::Result<Option<String>> {
        self.ask(&env, |core| core.host_scratch_dir().map(|path| path.to_string_lossy().into_owned()))
    }

    #[napi(getter, catch_unwind)]
    pub fn state(&self) -> &'static str {
        let state = self.place.held.borrow().as_ref().map(SandboxRef::state);
        state.unwrap_or(SandboxState::Stale).name()
    }

    #[napi(getter, catch_unwind)]
    pub fn uses(&self, env: Env) -> napi::Result<f64> {
        self.ask(&env, |core| core.uses() as f64)
    }

    #[napi(getter, catch_unwind)]
    pub fn age_ms(&self, env: Env) -> napi::Result<f64> {
        self.ask(&env, |core| as_millis(core.age()))
    }
}

impl Drop for Lease {
    /// With its JavaScript environment; nobody can say in what state the sandbox was left.
    fn drop(&mut self) {
        if let Some(core) = self.place.held.take() {
            // One that was ended otherwise needs no end.
            let _ = core.destroy("its JavaScript environment ended");
        }
    }
}

/// The facade asks only places that hold a sandbox.
fn empty() -> Error {
    Error::new(ErrorCode::StaleRef, Phase::Use, "the ref was put or destroyed")
}
