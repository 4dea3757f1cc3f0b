//! The runtime shared by all blocking handles.

use crate::BuildError;
use opencode_run_core::{FailureKind, StartError};
use opencode_run_process::Background;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The shared runtime, which exists as long as there is a handle.
static SHARED: Mutex<Weak<Background>> = Mutex::new(Weak::new());

fn shared() -> Result<Arc<Background>, StartError> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = shared.upgrade() {
        return Ok(runtime);
    }
    let started = Background::start().map_err(|error| {
        StartError::new(FailureKind::Io, "cannot start the runtime of the blocking interface").caused_by(error)
    })?;
    let runtime = Arc::new(started);
    *shared = Arc::downgrade(&runtime);
    Ok(runtime)
}

/// A handle whose methods run on the shared runtime.
#[derive(Debug, Clone)]
pub(super) struct OnRuntime<T> {
    handle: T,
    // Field order is drop order: dropping the runtime waits for the background work of the handle.
    runtime: Arc<Background>,
}

impl<T: Send + 'static> OnRuntime<T> {
    /// Creates the handle on the runtime.
    pub(super) fn new(
        making: impl Future<Output = Result<T, BuildError>> + Send + 'static,
    ) -> Result<Self, BuildError> {
        let runtime = shared()?;
        Ok(Self { handle: runtime.block_on(making)?, runtime })
    }

    /// Returns another handle on the same runtime.
    pub(super) fn with<U>(&self, handle: U) -> OnRuntime<U> {
        OnRuntime { handle, runtime: Arc::clone(&self.runtime) }
    }

    pub(super) fn into_inner(self) -> T {
        self.handle
    }

    pub(super) fn get(&self) -> &T {
        &self.handle
    }

    /// Blocks the thread until the future is ready.
    pub(super) fn wait<U: Send + 'static>(&self, future: impl Future<Output = U> + Send + 'static) -> U {
        self.runtime.block_on(future)
    }

    /// Calls a method of a clone of the handle, and blocks the thread until it returns.
    pub(super) fn call<U: Send + 'static, F>(&self, method: impl FnOnce(T) -> F) -> U
    where
        T: Clone,
        F: Future<Output = U> + Send + 'static,
    {
        self.wait(method(self.handle.clone()))
    }
}
