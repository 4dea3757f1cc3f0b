//! Work that scans `/proc` and sleeps, on a thread of its own: on a thread of a runtime it would hold up every other task.

use crate::blocking;
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A scan needs little, and a process that is short of memory has to end its trees as well.
const STACK_SIZE: usize = 256 << 10;

/// Does a job on a thread of its own, and returns the channel that receives its result; see [`blocking::start`]. If the system makes no
/// further thread, because of a fork bomb for example, the job ends that on the caller's.
pub(crate) fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    blocking::start(STACK_SIZE, job)
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
