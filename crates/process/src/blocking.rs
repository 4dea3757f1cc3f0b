//! Work that may block for long, such as on a network file system, on a thread of its own: on a thread of a runtime it would hold up
//! every other task.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The stack of a thread that parses and renders configurations.
const STACK_SIZE: usize = 1 << 20;

/// Does a job on a thread of its own, from now on, and returns what waits for its result. The job is done even if that is dropped.
///
/// # Panics
///
/// If the job panics, when its result is waited for; and outside of a runtime.
pub(crate) fn call<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Call<T> {
    let runtime = Handle::current();
    let job = move || {
        let _runtime = runtime.enter();
        catch_unwind(AssertUnwindSafe(job))
    };
    Call(start(STACK_SIZE, job))
}

/// A job on a thread of its own, whose result this waits for.
#[derive(Debug)]
pub(crate) struct Call<T>(oneshot::Receiver<thread::Result<T>>);

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

/// Does a job on a thread of its own with a stack of so many bytes, and returns the channel that receives its result. The job is done
/// even if no task waits for it.
///
/// Not on the runtime's own threads for blocking work: a runtime that shuts down waits for those, and when the system makes no further
/// thread, their jobs wait for one. Here the job is then done at once, on the caller's thread.
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
        tracing::warn!(%error, "no thread can be started: the caller's blocks");
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
    async fn blocked_job_delays_no_other_task() {
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
