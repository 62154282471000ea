//! What the driver gave names to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sandboxset::backend::mock::MockBackend;
use sandboxset::{
    Backend, CancelToken, Connection, EventStream, ManualClock, Process, SandboxRef, SandboxSet,
};
use serde_json::Value;

use crate::complain;

/// Everything that has a name, by its kind.
#[derive(Default)]
pub(crate) struct Handles {
    pub(crate) backends: Named<Arc<AnyBackend>>,
    pub(crate) sets: Named<SandboxSet>,
    pub(crate) refs: Named<Arc<SandboxRef>>,
    pub(crate) processes: Named<Arc<Process>>,
    pub(crate) connections: Named<Arc<Mutex<Connection>>>,
    pub(crate) events: Named<Arc<EventStream>>,
    pub(crate) clocks: Named<Arc<ManualClock>>,
    pub(crate) cancels: Named<CancelToken>,
    pub(crate) background: Named<JoinHandle<Value>>,
}

/// A backend, and what it is besides if it is a mock.
pub(crate) struct AnyBackend {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) mock: Option<MockBackend>,
}

/// The things of one kind. No lock is held while one is used.
pub(crate) struct Named<T>(Mutex<HashMap<String, T>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Mutex::default())
    }
}

impl<T> Named<T> {
    pub(crate) fn put(&self, name: &str, thing: T) {
        let former = self.0.lock().unwrap().insert(name.to_owned(), thing);
        drop(former);
    }

    pub(crate) fn take(&self, name: &str) -> T {
        let taken = self.0.lock().unwrap().remove(name);
        taken.unwrap_or_else(|| complain(&format!("nothing is called {name}")))
    }
}

impl<T: Clone> Named<T> {
    pub(crate) fn get(&self, name: &str) -> T {
        let found = self.0.lock().unwrap().get(name).cloned();
        found.unwrap_or_else(|| complain(&format!("nothing is called {name}")))
    }
}
