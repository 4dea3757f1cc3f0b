//! A web service: `POST /tasks` runs the prompt in its body as a task and streams its events (SSE).
//!
//! ```sh
//! cargo run --example web_service -- 127.0.0.1:8080 20   # an address, and the number of parallel tasks
//! curl --no-buffer --data 'Write a haiku about waiting.' http://127.0.0.1:8080/tasks
//! ```
//!
//! All tasks share one host, and so one server of opencode. The model is the source `default` of a file `.env`, if
//! there is one, which halves the memory for each task. A task whose client disconnects is killed. On SIGTERM the
//! service accepts no new connections, interrupts its tasks, and exits when no process of them is left.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Router, routing::post};
use futures_util::stream::{Stream, unfold};
use opencode_runner::{DirectoryCleanup, ErrorChain, EventItem, Host, ModelSource, Runner, Turn};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The maximum time in which clients may read their last events after SIGTERM.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

/// The state shared by all requests.
#[derive(Clone)]
struct Service {
    host: Host,
    sources: ModelSource,
    slots: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let max_tasks: u32 = arguments.next().map_or(Ok(20), |count| count.parse())?;

    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(max_tasks.try_into()?));
    let host = Host::builder().lean(true).project_config(false).build().await?;
    let sources = ModelSource::from_discovered_env_file(".env").source;
    let service = Service { host: host.clone(), sources, slots: Arc::clone(&slots), stopping: stopping.clone() };
    let router = Router::new().route("/tasks", post(start_task)).with_state(service);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let serving = axum::serve(listener, router).with_graceful_shutdown(stopped(stopping));
    let serving = tokio::spawn(serving.into_future());
    terminate.recv().await;
    stop.send_replace(true);
    // Clients that read nothing must not delay the exit.
    if let Ok(served) = tokio::time::timeout(SHUTDOWN_TIMEOUT, serving).await {
        served??;
        drop(slots.acquire_many(max_tasks).await?);
    }
    host.shutdown().await;
    println!("stopped");
    Ok(())
}

/// Waits until the service stops.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    stopping.wait_for(|is_stopping| *is_stopping).await.ok();
}

/// Starts a task in a new directory and returns its events.
async fn start_task(
    State(service): State<Service>,
    prompt: String,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, (StatusCode, String)> {
    let slot = service.slots.try_acquire_owned().map_err(unavailable)?;
    let builder = service.host.runner().task_name("web").workspace(std::env::temp_dir()).model_source(service.sources);
    let runner = builder.cleanup(DirectoryCleanup::Remove).build().await.map_err(unavailable)?;
    let task = Task { runner, slot: Some(slot) };
    let turn = task.runner.start(prompt).await.map_err(unavailable)?;
    let events = TaskEvents { turn, task, stopping: service.stopping, is_interrupted: false };
    let events = unfold(Some(events), |events| async { Some(events?.next().await) });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn unavailable(error: impl Error + 'static) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, ErrorChain::new(&error).to_string())
}

/// A task, which is closed when it is dropped: its turn is killed, its directory removed, and then its slot is free.
struct Task {
    runner: Runner,
    slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Task {
    fn drop(&mut self) {
        let runner = self.runner.clone();
        let slot = self.slot.take();
        tokio::spawn(async move {
            if let Err(error) = runner.close().await {
                println!("a task could not be closed: {error}");
            }
            drop(slot);
        });
    }
}

/// The events of a task. Its response owns them, so they are dropped if the client disconnects.
struct TaskEvents {
    turn: Turn,
    task: Task,
    stopping: watch::Receiver<bool>,
    is_interrupted: bool,
}

impl TaskEvents {
    /// Returns the next event, and the rest of them unless this is the report, the last one.
    async fn next(mut self) -> (Result<Event, Infallible>, Option<Self>) {
        loop {
            tokio::select! {
                item = self.turn.next() => return match item {
                    Some(EventItem::Event(event)) => (Ok(json(event.observed.event.kind(), &*event)), Some(self)),
                    Some(EventItem::Missed(count)) => (Ok(json("missed", &count)), Some(self)),
                    None => {
                        self.turn.wait().await;
                        (Ok(json("report", &self.task.runner.report())), None)
                    }
                },
                () = stopped(self.stopping.clone()), if !self.is_interrupted => {
                    self.is_interrupted = true;
                    self.turn.interrupt();
                }
            }
        }
    }
}

fn json(kind: &str, value: &impl serde::Serialize) -> Event {
    match serde_json::to_string(value) {
        Ok(data) => Event::default().event(kind).data(data),
        Err(error) => Event::default().event("error").data(error.to_string()),
    }
}
