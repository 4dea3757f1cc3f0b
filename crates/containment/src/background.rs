//! Runs jobs that scan `/proc` and sleep on dedicated threads: on a thread of a runtime they would block every other
//! task.

use crate::blocking;
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Small, since a scan needs little and a process that is short of memory must kill its trees as well.
const STACK_SIZE: usize = 256 << 10;

/// Runs a job on a dedicated thread, and returns the channel that receives its result; see [`blocking::start`]. If no
/// thread can be created, because of a fork bomb for example, the job runs on the caller's thread and ends that.
pub(crate) fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    blocking::start(STACK_SIZE, job)
}

/// Makes a runtime's shutdown wait for a job: the exit of the program right after would end the thread.
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
        // A runtime's thread must not block on a tokio channel, but may join a thread.
        if let Ok(waiter) = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || drop(result.blocking_recv())) {
            waiter.join().ok();
        }
    }
}
