//! The runtime on which an executor keeps its servers, so that none of them depends on a caller's runtime.

use std::io;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// How long what is left is waited for when an executor is dropped: ending a server takes milliseconds, at worst its kill timeout.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
const CLEANUP_INTERVAL: Duration = Duration::from_millis(5);

/// A runtime of its own thread. A caller's runtime only waits for what runs here: it may be of any kind, stand still, or be gone before
/// the next turn.
///
/// Dropping it lets the tasks that are left end what they hold, in the background. If the drop happens on a runtime, that runtime waits
/// for it as it shuts down, so that `#[tokio::main]` leaves nothing behind; elsewhere the drop itself waits.
#[derive(Debug)]
pub(crate) struct Background(Option<Runtime>);

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or no event queue.
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("opencode-servers").enable_all();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Runs a future here and returns its output. If this future is dropped, that one is cancelled.
    ///
    /// # Panics
    ///
    /// If the future panics.
    pub(crate) async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let Some(runtime) = &self.0 else { return std::future::pending().await };
        let mut task = Cancelled(runtime.spawn(future));
        match (&mut task.0).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // It is cancelled with this future only, which is not polled then.
            Err(_) => std::future::pending().await,
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
        let end = move || {
            let began = Instant::now();
            while runtime.metrics().num_alive_tasks() > 0 && began.elapsed() < CLEANUP_TIMEOUT {
                std::thread::sleep(CLEANUP_INTERVAL);
            }
            runtime.shutdown_background();
        };
        // On a thread of its own in any case: a runtime must not be dropped on one of a runtime's workers.
        let Ok(cleanup) = std::thread::Builder::new().name("opencode-cleanup".to_owned()).spawn(end) else { return };
        match Handle::try_current() {
            // It is the last turn that lets go of it: a thread cannot wait for itself.
            Ok(current) if current.id() == background => {}
            Ok(current) => {
                current.spawn_blocking(move || cleanup.join());
            }
            Err(_) => {
                // It does not panic.
                cleanup.join().ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Sets the flag when it is dropped, after a while, as what ends a server does.
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
    fn cleanup_is_waited_for_by_the_callers_runtime() {
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
    fn cleanup_is_waited_for_without_a_runtime() {
        let done = Arc::new(AtomicBool::new(false));
        let background = Background::start().unwrap();
        let flag = Arc::clone(&done);
        runtime().block_on(background.run(async { drop(tokio::spawn(slow(flag))) }));
        drop(background);
        assert!(done.load(Ordering::SeqCst));
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
