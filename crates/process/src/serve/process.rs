//! The process of a server that we start: start, monitoring, and the end of its process tree.

use super::lease::ServerLease;
use super::start_error::err_unreachable;
use crate::Launch;
use crate::backoff;
use crate::environment::Environment;
use crate::lines::{Line, Lines};
use crate::protocol::{self, ClientError, Generation, ServerLaunch, StderrLine};
use crate::resource_limits::{error_summary, resource_hint};
use crate::stderr_tail::StderrTail;
use opencode_run_containment::{EnvironmentTag, OwnProcesses, ProcessTree, blocking, own_processes, start_child};
use opencode_run_core::{FailureKind, Remedy, StartError};
use reqwest::Url;
use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a server may take until it listens. It usually takes 1 to 2 s, and longer on a machine that starts many or
/// has a cold disk. Abandoning a start costs more than waiting.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum number of starts of a server: sometimes a start stalls for no visible reason, and the next one does not.
const MAX_STARTS: u32 = 2;
/// The maximum number of restarts of a server because another opencode has locked the database.
const MAX_LOCKED_RESTARTS: usize = 5;
/// The longest line of a server's output that is read.
const MAX_LINE_BYTES: usize = 256 << 10;
/// How long to wait for the end of an exited server's log, and for the log line that explains an answer.
const LOG_GRACE_PERIOD: Duration = Duration::from_millis(500);
/// The pause between two checks of the log.
const LOG_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait for a server's exit after its output has ended. The supervisor passes the exit on within
/// milliseconds, unless a process of an agent has stopped the supervisor.
const HIDDEN_EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for a process that the kernel does not release.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many lines of the log are kept to explain refused requests.
const MAX_LOG_LINES: usize = 100;

/// A server's process. Dropping it kills the process and all processes that carry its environment tag.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    id: u32,
    /// The server's own processes, once it listens.
    own_processes: OwnProcesses,
    tag: EnvironmentTag,
    log: Arc<Mutex<Log>>,
    /// Receives how the process ended.
    exited: watch::Receiver<Option<String>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

#[derive(Debug, Default)]
struct Log {
    recent: VecDeque<String>,
    tail: StderrTail,
}

impl ServerProcess {
    /// Starts a server and waits until it listens; a stalled start is killed and retried once. Returns the address and
    /// the password. `monitors` gets the task that ends when no process of the server is left.
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not listen in time. No process of it is left then.
    pub(crate) async fn start(
        launch: &Launch,
        environment: &Environment,
        directory: &Path,
        monitors: &TaskTracker,
        lease: &ServerLease,
    ) -> Result<(Self, Url, String), StartError> {
        let failed = |why: String| {
            let or_check = || protocol::remedy_for_server(launch.opencode().version());
            let remedy = resource_hint(&why).map_or_else(or_check, Remedy::advice);
            StartError::new(FailureKind::Opencode, format!("the opencode server cannot be started: {why}"))
                .remedy(remedy)
        };
        let folder = directory.to_owned();
        if !blocking::call(move || folder.is_dir()).await {
            let message = format!("the temp directory {} is not a directory", directory.display());
            return Err(StartError::new(FailureKind::Io, message).hint("create it, or set TMPDIR to one that exists"));
        }
        let limit = launch.start_limit().unwrap_or(START_TIMEOUT);
        let mut words = String::new();
        let mut stalls = 0;
        let mut locks = 0;
        let mut backoff = backoff::locked_database(MAX_LOCKED_RESTARTS);
        while stalls < MAX_STARTS {
            let attempt = stalls + locks + 1;
            let password = Uuid::new_v4().simple().to_string();
            let (mut process, address) =
                Self::spawn(launch, environment.clone(), directory, &password, monitors, lease).map_err(&failed)?;
            tracing::info!(attempt, "waiting for the opencode server to listen");
            match tokio::time::timeout(limit, address).await {
                Ok(Ok(url)) => {
                    process.own_processes = own_processes(process.id).await;
                    return Ok((process, url, password));
                }
                Ok(Err(_)) => {
                    // It closed its stdout: its exit status is known in a moment, and the rest of its stderr is on its
                    // way.
                    tokio::time::timeout(LOG_GRACE_PERIOD, process.watch().wait_for(Option::is_some)).await.ok();
                    process.end().await;
                    if process.saw_locked_database(launch.opencode().generation())
                        && let Some(pause) = backoff.next()
                    {
                        locks += 1;
                        tracing::info!("another opencode has locked the database: restarting the server");
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    let generation = launch.opencode().generation();
                    return Err(match generation.read_refused_configuration(&process.stderr_text()) {
                        Some(why) => err_unreachable(&ClientError::Configuration(why)),
                        None => failed(process.exit_reason()),
                    });
                }
                Err(_) => {
                    process.end().await;
                    stalls += 1;
                    words = process.stderr_text();
                    tracing::warn!("the opencode server did not listen within {limit:?} and was killed");
                }
            }
        }
        Err(failed(format!("it did not listen within {limit:?}, in {MAX_STARTS} attempts: {words}")))
    }

    /// Starts a server. Returns the receiver of its address.
    fn spawn(
        launch: &Launch,
        mut environment: Environment,
        directory: &Path,
        password: &str,
        monitors: &TaskTracker,
        lease: &ServerLease,
    ) -> Result<(Self, oneshot::Receiver<Url>), String> {
        let tag = EnvironmentTag::new();
        let generation = launch.opencode().generation();
        let ServerLaunch { arguments, password: variable, holds_stdin } = generation.server();
        environment.set(variable, password);
        let mut command = launch.command(arguments, directory, environment, &tag);
        if holds_stdin {
            command.stdin(Stdio::piped());
        }
        let mut child = start_child(|| command.spawn()).map_err(|error| error.to_string())?;
        let id = child.id().unwrap_or_default();
        let tree = launch.tree(tag.clone(), id);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("it has no output".to_owned());
        };
        let stdin = child.stdin.take();
        let log = Arc::new(Mutex::new(Log::default()));
        let (exit, exited) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let (listening, address) = oneshot::channel();
        let keeper = tokio::spawn(collect_log(Lines::new(stderr, MAX_LINE_BYTES), Arc::clone(&log)));
        let reader = tokio::spawn(read_stdout(generation, Lines::new(stdout, MAX_LINE_BYTES), listening));
        let watch = monitor(child, tree, stopped, exit, reader, keeper);
        let lease = lease.clone();
        monitors.spawn(async move {
            watch.await;
            drop(stdin);
            // Until then the server takes memory.
            drop(lease);
        });
        Ok((
            Self { id, own_processes: OwnProcesses::default(), tag, log, exited, stop: Mutex::new(Some(stop)) },
            address,
        ))
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Returns the server's own processes, without those of its tools.
    pub(crate) fn own_processes(&self) -> OwnProcesses {
        self.own_processes.clone()
    }

    /// Returns the environment tag that all processes of the server carry.
    pub(crate) fn tag(&self) -> &EnvironmentTag {
        &self.tag
    }

    /// Returns the receiver of how the process ended.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.exited.clone()
    }

    /// Kills the process tree.
    pub(crate) async fn end(&self) {
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.exited.clone().wait_for(Option::is_some).await.ok();
    }

    /// Returns the log line that contains a reference, if it is kept or arrives in a moment: the answer with the
    /// reference may be faster than the log.
    pub(crate) async fn log_line(&self, reference: &str) -> Option<String> {
        let find = || {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.recent.iter().rfind(|line| line.contains(reference)).cloned()
        };
        let looking = async {
            loop {
                if let Some(line) = find() {
                    return line;
                }
                tokio::time::sleep(LOG_POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(LOG_GRACE_PERIOD, looking).await.ok()
    }

    /// Returns whether its recent stderr reports that another opencode has locked the database.
    fn saw_locked_database(&self, generation: Generation) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.recent.iter().any(|line| generation.read_stderr(line) == StderrLine::DatabaseBusy)
    }

    /// Describes the end of a server that never listened: exit status and reason.
    fn exit_reason(&self) -> String {
        let how = self.exited.borrow().clone().unwrap_or_default();
        let words = error_summary(&self.stderr_text());
        let words = if words.is_empty() { "stderr was empty" } else { &words };
        format!("it exited before it listened ({how}): {words}")
    }

    /// Returns the kept part of the server's stderr.
    pub(crate) fn stderr_text(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).tail.text()
    }
}

async fn read_stdout<R: tokio::io::AsyncRead + Unpin>(
    generation: Generation,
    mut lines: Lines<R>,
    listening: oneshot::Sender<Url>,
) {
    let mut listening = Some(listening);
    // Read to the end, so that the server never blocks on a full pipe.
    while let Some(line) = lines.next().await {
        if let Line::Whole(line) = line
            && let Some(url) = generation.read_address(&protocol::plain(&String::from_utf8_lossy(&line)))
            && let Some(listening) = listening.take()
        {
            // The receiver may have timed out.
            listening.send(url).ok();
        }
    }
}

async fn collect_log<R: tokio::io::AsyncRead + Unpin>(mut lines: Lines<R>, log: Arc<Mutex<Log>>) {
    while let Some(line) = lines.next().await {
        let line = match line {
            Line::Whole(line) => protocol::plain(&String::from_utf8_lossy(&line)),
            Line::TooLong(bytes) => format!("… a line of {bytes} bytes …"),
        };
        tracing::debug!(line, "the opencode server's stderr");
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.tail.push(&line);
        log.recent.push_back(line);
        if log.recent.len() > MAX_LOG_LINES {
            log.recent.pop_front();
        }
    }
}

/// Waits for the end of the process or the request to stop it, and then kills its process tree.
async fn monitor(
    mut child: Child,
    mut tree: ProcessTree,
    stopped: oneshot::Receiver<()>,
    exit: watch::Sender<Option<String>>,
    stdout: tokio::task::JoinHandle<()>,
    log: tokio::task::JoinHandle<()>,
) {
    let unseen_exit = async {
        stdout.await.ok();
        tokio::time::sleep(HIDDEN_EXIT_TIMEOUT).await;
    };
    let how = tokio::select! {
        status = child.wait() => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
        _ = stopped => "ended by us".to_owned(),
        () = unseen_exit => "its output ended, and its supervisor was stopped".to_owned(),
    };
    // A graceful shutdown would take the server 2 s and write nothing: its database is consistent at any time.
    let left = tree.kill_all().await;
    if left > 0 {
        tracing::error!(left, "processes of the opencode server could not be killed");
    }
    // All writers are gone, so the log is complete at its end.
    tokio::time::timeout(LOG_GRACE_PERIOD, log).await.ok();
    // Reaps the process before the exit is reported: a receiver of the report finds no trace of it, not even a zombie.
    if left == 0 {
        child.wait().await.ok();
    } else {
        tokio::time::timeout(REAP_TIMEOUT, child.wait()).await.ok();
    }
    exit.send_replace(Some(how));
}
