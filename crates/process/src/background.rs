//! The runtime on which an executor's servers and turns live, so that none of them depends on a caller's runtime.

use opencode_run_core::{FailureKind, StartError};
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// The timeout of a dropped executor's cleanup: killing a server takes milliseconds, at worst its kill timeout.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
const CLEANUP_INTERVAL: Duration = Duration::from_millis(5);

/// A runtime on its own thread. A caller's runtime only waits for the tasks here: it may be of any kind, stand still,
/// or be gone before the next turn.
///
/// Dropping it lets the remaining tasks clean up in the background. If it is dropped on a runtime, that runtime's
/// shutdown waits for the cleanup, so that `#[tokio::main]` leaves no process behind. Elsewhere, or if that runtime is
/// already shutting down, the drop itself waits.
#[derive(Debug)]
pub struct Background(Option<Runtime>);

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system provides no thread or no event queue.
    pub fn start() -> io::Result<Self> {
        // tokio panics if the system provides no thread.
        std::thread::Builder::new().spawn(|| ())?.join().ok();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("opencode-servers").enable_all();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Starts the thread of an executor.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(crate) fn of_executor() -> Result<Arc<Self>, StartError> {
        Self::start().map(Arc::new).map_err(|error| {
            StartError::new(FailureKind::Io, "cannot start the thread for opencode")
                .hint("a limit on threads may be reached: raise it, or run fewer tasks in parallel")
                .caused_by(error)
        })
    }

    /// Returns a handle to the runtime.
    pub(crate) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Runs a future here and returns its output. If the returned future is dropped, the other is cancelled.
    ///
    /// # Panics
    ///
    /// If the future panics.
    pub async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let Some(runtime) = &self.0 else { return std::future::pending().await };
        let mut task = Cancelled(runtime.spawn(future.in_current_span()));
        match (&mut task.0).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The task is cancelled only if this future is dropped; then the future is not polled again.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Background {
    /// Runs a future here and blocks the thread until it has its output. Works on any thread, even of a runtime.
    ///
    /// # Panics
    ///
    /// If the future panics.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, output) = std::sync::mpsc::sync_channel(1);
        let Some(runtime) = &self.0 else { unreachable!("the runtime exists until the drop") };
        let task = runtime.spawn(future.in_current_span());
        runtime.spawn(async move { sender.send(task.await) });
        match output.recv() {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => resume_unwind(error.into_panic()),
            Err(error) => resume_unwind(Box::new(error)),
        }
    }
}

/// Cancels a task when it is dropped.
struct Cancelled<T>(JoinHandle<T>);

impl<T> Drop for Cancelled<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        let background = runtime.handle().id();
        let ending = Ending(Some(runtime));
        // On a thread, since a runtime must not be dropped on one that runs tasks.
        let thread = std::thread::Builder::new().name("opencode-cleanup".to_owned()).spawn(move || ending.wait());
        let Ok(thread) = thread else { return };
        let joined = Joined(Some(thread));
        match Handle::try_current() {
            // The last turn dropped the runtime on a thread of that runtime, which cannot wait for itself.
            Ok(current) if current.id() == background => joined.detach(),
            // A runtime that is shutting down drops the closure instead of running it.
            Ok(current) => drop(current.spawn_blocking(move || drop(joined))),
            Err(_) => drop(joined),
        }
    }
}

/// A runtime that is shutting down. Dropping it waits for none of its tasks.
struct Ending(Option<Runtime>);

impl Ending {
    /// Waits for the cleanup of the tasks, at most [`CLEANUP_TIMEOUT`].
    fn wait(self) {
        let began = Instant::now();
        let has_tasks = || self.0.as_ref().is_some_and(|runtime| runtime.metrics().num_alive_tasks() > 0);
        while has_tasks() && began.elapsed() < CLEANUP_TIMEOUT {
            std::thread::sleep(CLEANUP_INTERVAL);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A thread that is joined when this value is dropped.
struct Joined(Option<std::thread::JoinHandle<()>>);

impl Joined {
    /// Detaches the thread.
    fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // The thread cannot panic.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Sets the flag when it is dropped, after a pause, like the cleanup of a server.
    async fn slow(flag: Arc<AtomicBool>) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        flag.store(true, Ordering::SeqCst);
    }

    #[test]
    fn tasks_outlive_a_callers_runtime() {
        let background = Background::start().unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        runtime().block_on(background.run(async move {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                sender.send(7).unwrap();
            });
        }));
        assert_eq!(runtime().block_on(receiver), Ok(7));
    }

    #[test]
    fn callers_runtime_waits_for_cleanup() {
        let done = Arc::new(AtomicBool::new(false));
        let background = Background::start().unwrap();
        let flag = Arc::clone(&done);
        runtime().block_on(async move {
            background.run(async { drop(tokio::spawn(slow(flag))) }).await;
            drop(background);
        });
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn cleanup_is_awaited_without_runtime() {
        let done = Arc::new(AtomicBool::new(false));
        let background = Background::start().unwrap();
        let flag = Arc::clone(&done);
        runtime().block_on(background.run(async { drop(tokio::spawn(slow(flag))) }));
        drop(background);
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn task_dropping_runtime_waits_for_cleanup() {
        for several in [true, false].repeat(5) {
            let callers = if several { Builder::new_multi_thread().build().unwrap() } else { runtime() };
            let done = Arc::new(AtomicBool::new(false));
            let background = Background::start().unwrap();
            callers.block_on(background.run({
                let done = Arc::clone(&done);
                async { drop(tokio::spawn(slow(done))) }
            }));
            let (began, has_begun) = std::sync::mpsc::channel();
            callers.spawn(async move {
                let _held = background;
                began.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            if several {
                has_begun.recv().unwrap();
            }
            drop(callers);
            assert!(done.load(Ordering::SeqCst), "several threads: {several}");
        }
    }

    #[test]
    fn dropped_future_is_cancelled() {
        let background = Background::start().unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        runtime().block_on(async {
            let forever = background.run(async move {
                let _held = sender;
                std::future::pending::<()>().await;
            });
            tokio::time::timeout(Duration::from_millis(20), forever).await.unwrap_err();
            receiver.await.unwrap_err();
        });
    }

    #[test]
    #[should_panic(expected = "as it came")]
    fn panic_reaches_the_caller() {
        let background = Background::start().unwrap();
        runtime().block_on(background.run(async { panic!("as it came") }));
    }
}
