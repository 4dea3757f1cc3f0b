//! Runs jobs that may block for long, on a network file system for example, on dedicated threads: on a thread of a
//! runtime they would block every other task.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The stack of a thread that parses and renders configurations.
const STACK_SIZE: usize = 1 << 20;

/// Runs a job on a dedicated thread, and returns a future of its result. The job is done even if the future is dropped.
///
/// # Panics
///
/// If the job panics, when its result is awaited; and if it is called outside of a runtime.
pub fn call<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Call<T> {
    let runtime = Handle::current();
    let job = move || {
        let _runtime = runtime.enter();
        catch_unwind(AssertUnwindSafe(job))
    };
    Call(start(STACK_SIZE, job))
}

/// The result of a job on a dedicated thread.
#[derive(Debug)]
pub struct Call<T>(oneshot::Receiver<thread::Result<T>>);

impl<T> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(Ok(result)) => Poll::Ready(result),
            Ok(Err(panic)) => resume_unwind(panic),
            // Every job sends its result.
            Err(_) => Poll::Pending,
        }
    }
}

/// Runs a job on a dedicated thread with a stack of `stack_size` bytes, and returns the channel that receives its result.
/// The job is done even if no task waits for it.
///
/// The runtime's blocking pool is not used: a runtime's shutdown waits for its threads, and if no thread can be
/// created, its jobs wait for one. Here such a job runs immediately, on the caller's thread.
pub(crate) fn start<T: Send + 'static>(
    stack_size: usize,
    job: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (result, receiver) = oneshot::channel();
    let job = Arc::new(Mutex::new(Some(move || {
        // The caller may be gone.
        result.send(job()).ok();
    })));
    let shared = Arc::clone(&job);
    let thread = thread::Builder::new().name("opencode-job".to_owned()).stack_size(stack_size);
    if let Err(error) = thread.spawn(move || do_once(&shared)) {
        tracing::warn!(%error, "cannot start a thread: blocking the caller's");
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn blocked_job_does_not_delay_other_tasks() {
        let (release, blocked) = std::sync::mpsc::channel();
        let job = call(move || blocked.recv_timeout(Duration::from_mins(1)));
        let other = async move {
            tokio::task::yield_now().await;
            release.send(7).unwrap();
        };
        assert_eq!(tokio::join!(job, other).0, Ok(7));
    }

    #[tokio::test]
    #[should_panic(expected = "as it came")]
    async fn panic_reaches_the_caller() {
        call(|| panic!("as it came")).await;
    }
}
