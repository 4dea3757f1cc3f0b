//! Work that scans `/proc` and sleeps, on a thread of its own: on a thread of a runtime it would hold up every other task.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A scan needs little, and a process that is short of memory has to end its trees as well.
const STACK_SIZE: usize = 256 << 10;

/// Does a job on a thread of its own, and returns the result when it is there. The job is done even if nobody waits for it.
///
/// Not on the runtime's own threads for blocking work: when the system makes no further thread, for a fork bomb for example,
/// their jobs wait for one, and the fork bomb would be left. Here the job is then done at once, on the caller's thread.
pub(crate) fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (result, receiver) = oneshot::channel();
    let job = Arc::new(Mutex::new(Some(move || {
        // The caller may be gone.
        result.send(job()).ok();
    })));
    let shared = Arc::clone(&job);
    let thread = thread::Builder::new().name("opencode-tree".to_owned()).stack_size(STACK_SIZE);
    if let Err(error) = thread.spawn(move || do_once(&shared)) {
        tracing::warn!(%error, "no thread can be started: processes are ended on this one");
        do_once(&job);
    }
    receiver
}

fn do_once(job: &Mutex<Option<impl FnOnce()>>) {
    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = job {
        job();
    }
}

/// Has a runtime that shuts down wait for a job: a program that ends right after would take the thread with it.
pub(crate) fn hold_shutdown<T: Send + 'static>(runtime: &Handle, result: oneshot::Receiver<T>) {
    let hold = Hold(Some(result));
    // A runtime that is shutting down drops the closure here, which waits as well.
    runtime.spawn_blocking(move || drop(hold));
}

/// Waits for a job when it is dropped. Every job has a time limit.
struct Hold<T: Send + 'static>(Option<oneshot::Receiver<T>>);

impl<T: Send + 'static> Drop for Hold<T> {
    fn drop(&mut self) {
        let Some(result) = self.0.take() else { return };
        // The runtime's own threads may not block on a channel of its kind, but may wait for a thread.
        if let Ok(waiter) = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || drop(result.blocking_recv())) {
            waiter.join().ok();
        }
    }
}
