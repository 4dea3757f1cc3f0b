//! A turn on a running `opencode run`: the I/O shell around its state machine. It reads the output, and executes the
//! machine's actions on the process tree.

use crate::lines::{Line, Lines};
use crate::model_route::{self, RouteLease};
use crate::protocol::{self, RunAction, RunInput, RunProtocol, RunTimer};
use crate::redaction::Redaction;
use crate::run_process::{RunCommand, RunProcess};
use crate::send_queue::SendQueue;
use crate::stderr_tail::StderrTail;
use opencode_run_containment::ProcessTree;
use opencode_run_core::{Control, Ending, ProcessExit, Signal, TurnDriver};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::Instant;

/// How long to drain the pipes after all writers are gone, and to wait for a killed process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of signals that are queued while the consumer is busy. While any are queued, stdout is not read.
const MAX_QUEUED_SIGNALS: usize = 256;

/// An active turn.
pub(crate) struct RunTurn {
    driver: TurnDriver,
    /// Restarts the process.
    command: RunCommand,
    tree: ProcessTree,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Lines<ChildStdout>>,
    stderr: Option<Lines<ChildStderr>>,
    protocol: RunProtocol,
    send_queue: SendQueue,
    /// The lease of the route to the model source, if the gateway carries the turn's requests.
    route_lease: Option<RouteLease>,
    tail: StderrTail,
    has_exited: bool,
    /// Whether the state machine knows that the outputs have ended.
    have_outputs_ended: bool,
    /// When to give up on the pipes and on a killed process. It is postponed while the consumer is waited for.
    drain_deadline: Option<Instant>,
    /// The pause before a restart, if the process is restarted.
    restart: Option<Duration>,
    ending: Option<Ending>,
}

/// The reasons for a turn to wake up.
enum Wake {
    Control(Option<Control>),
    Timer(RunTimer),
    Flushed,
    Progress,
    Exit(std::io::Result<ExitStatus>),
    Stderr(Option<Line>),
    Stdout(Option<Line>),
    DrainTimeout,
}

impl RunTurn {
    /// Returns the turn of a process that was started by the command.
    pub(crate) fn new(command: RunCommand, driver: TurnDriver, process: RunProcess, protocol: RunProtocol) -> Self {
        let RunProcess { tree, child, stdin, stdout, stderr } = process;
        Self {
            driver,
            command,
            tree,
            child,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            protocol,
            send_queue: SendQueue::default(),
            route_lease: None,
            tail: StderrTail::default(),
            has_exited: false,
            have_outputs_ended: false,
            drain_deadline: None,
            restart: None,
            ending: None,
        }
    }

    /// Redacts the turn's output, and meters its requests with the lease.
    pub(crate) fn through(mut self, redaction: Redaction, route_lease: Option<RouteLease>) -> Self {
        self.send_queue = SendQueue::new(redaction);
        self.route_lease = route_lease;
        self
    }

    /// Writes the message to stdin, emits the output, and returns when no process of the turn is left.
    pub(crate) async fn run(mut self, message: String) {
        let message: Arc<str> = message.into();
        let ending = loop {
            // In a task of its own, since opencode may write before it has read the whole message.
            let feeding = self.stdin.take().map(|stdin| tokio::spawn(feed(stdin, Arc::clone(&message))));
            while !self.is_over() {
                self.advance().await;
            }
            if let Some(feeding) = feeding {
                feeding.abort();
            }
            let stderr = self.tail.text();
            self.step(RunInput::Over { stderr: &stderr }).await;
            if let Some(pause) = self.restart.take() {
                self.restart_after(pause).await;
            }
            if let Some(ending) = self.ending.take() {
                break ending;
            }
        };
        let ending = match &self.route_lease {
            Some(route_lease) => route_lease.conclude(ending),
            None => ending,
        };
        if let Some(route_lease) = &self.route_lease {
            self.send_queue.push(Signal::Traffic(route_lease.traffic()));
        }
        self.send_queue.push(Signal::Ended(ending));
        // If the consumer is gone, the turn was killed, and the signals are discarded.
        while self.send_queue.has_pending() {
            self.send_queue.flush(&self.driver.signals).await;
        }
    }

    /// Restarts the process after a pause, which a control ends.
    async fn restart_after(&mut self, pause: Duration) {
        tokio::select! {
            biased;
            control = self.driver.controls.recv() => return self.control(control).await,
            () = tokio::time::sleep(pause) => {}
        }
        let restarted = self.command.start().map(|process| self.attach(process));
        self.step(RunInput::Restarted(restarted.map_err(|error| error.to_string()))).await;
    }

    /// Continues with another process, as if there had been none before.
    fn attach(&mut self, process: RunProcess) {
        let RunProcess { tree, child, stdin, stdout, stderr } = process;
        self.tree = tree;
        self.child = child;
        self.stdin = Some(stdin);
        self.stdout = Some(stdout);
        self.stderr = Some(stderr);
        self.tail = StderrTail::default();
        self.has_exited = false;
        self.have_outputs_ended = false;
        self.drain_deadline = None;
    }

    fn is_over(&self) -> bool {
        let drained = self.stdout.is_none() && self.stderr.is_none() && !self.send_queue.has_pending();
        let too_late = self.drain_deadline.is_some_and(|moment| Instant::now() >= moment);
        // Output that was read must be delivered, however long the consumer takes.
        (self.has_exited && drained) || (too_late && !self.send_queue.has_pending())
    }

    /// Waits for the next event and handles it.
    async fn advance(&mut self) {
        let escalation = self.protocol.due(RunTimer::Escalation);
        let silence = self.protocol.due(RunTimer::Silence);
        let drain_deadline = self.drain_deadline;
        let waiting = self.send_queue.has_pending();
        let began = Instant::now();
        // The output precedes the timer of silence: a process that was slow, but has written, is not silent.
        let wake = tokio::select! {
            biased;
            control = self.driver.controls.recv(), if !self.send_queue.is_closed() => Wake::Control(control),
            () = until(escalation) => Wake::Timer(RunTimer::Escalation),
            () = self.send_queue.flush(&self.driver.signals), if waiting => Wake::Flushed,
            status = self.child.wait(), if !self.has_exited => Wake::Exit(status),
            line = next(&mut self.stderr), if self.send_queue.len() < MAX_QUEUED_SIGNALS => Wake::Stderr(line),
            line = next(&mut self.stdout), if !waiting => Wake::Stdout(line),
            () = until(drain_deadline), if !waiting => Wake::DrainTimeout,
            () = model_route::progressed(&mut self.route_lease), if !waiting => Wake::Progress,
            () = until(silence) => Wake::Timer(RunTimer::Silence),
        };
        if waiting && let Some(moment) = &mut self.drain_deadline {
            *moment += began.elapsed();
        }
        match wake {
            Wake::Control(control) => self.control(control).await,
            Wake::Timer(timer) => self.step(RunInput::Timer(timer)).await,
            Wake::Flushed if self.send_queue.is_closed() => self.control(None).await,
            Wake::Flushed => {}
            Wake::Progress => self.step(RunInput::Progress).await,
            Wake::Exit(status) => {
                self.has_exited = true;
                self.step(RunInput::Exited(status.map_or(ProcessExit::Code(-1), exit_of))).await;
            }
            Wake::Stderr(line) => self.stderr_line(line).await,
            Wake::Stdout(None) => self.stdout = None,
            Wake::Stdout(Some(Line::TooLong(bytes))) => self.step(RunInput::Skipped { bytes }).await,
            Wake::Stdout(Some(Line::Whole(line))) => self.step(RunInput::Stdout(&line)).await,
            Wake::DrainTimeout => {
                self.stdout = None;
                self.stderr = None;
            }
        }
        let have_ended = self.stdout.is_none() && self.stderr.is_none();
        if have_ended && !self.has_exited && !self.have_outputs_ended {
            self.have_outputs_ended = true;
            self.tree.resume_supervisor();
            self.step(RunInput::OutputsEnded).await;
        }
    }

    async fn control(&mut self, control: Option<Control>) {
        if control.is_none() {
            self.send_queue.close();
        }
        self.step(RunInput::Control(control)).await;
    }

    async fn stderr_line(&mut self, line: Option<Line>) {
        let line = match line {
            None => return self.stderr = None,
            Some(Line::TooLong(bytes)) => return self.tail.push(&format!("… a line of {bytes} bytes …")),
            Some(Line::Whole(line)) => line,
        };
        let line = protocol::plain(&String::from_utf8_lossy(&line));
        tracing::debug!(line, "opencode's stderr");
        self.tail.push(&line);
        self.step(RunInput::Stderr(&line)).await;
    }

    /// Passes an input to the state machine, and executes its actions.
    async fn step(&mut self, input: RunInput<'_>) {
        let mut actions = Vec::new();
        self.protocol.step(Instant::now(), input, &mut actions);
        for action in actions {
            match action {
                RunAction::Emit(signal) => self.send_queue.push(signal),
                RunAction::SignalProcess(signal) => {
                    // Once the leader has exited, its descendants can no longer be recognized.
                    self.tree.record_descendants().await;
                    self.tree.signal_leader(signal);
                }
                RunAction::Kill => self.kill().await,
                RunAction::Restart { pause } => self.restart = Some(pause),
                RunAction::Finish(ending) => self.ending = Some(ending),
            }
        }
    }

    /// Kills all processes of the turn; output that they wrote before is still read.
    async fn kill(&mut self) {
        let left = self.tree.kill_all().await;
        if left > 0 {
            tracing::error!(left, "processes of the turn could not be killed");
        }
        self.drain_deadline.get_or_insert(Instant::now() + DRAIN_TIMEOUT);
    }
}

async fn feed(mut stdin: ChildStdin, message: Arc<str>) {
    // If opencode exits without reading its message, its exit shows why.
    stdin.write_all(message.as_bytes()).await.ok();
    stdin.shutdown().await.ok();
}

async fn next<R: tokio::io::AsyncRead + Unpin>(lines: &mut Option<Lines<R>>) -> Option<Line> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
fn exit_of(status: ExitStatus) -> ProcessExit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, signal) => ProcessExit::Signal(signal.unwrap_or_default()),
    }
}

#[cfg(not(unix))]
fn exit_of(status: ExitStatus) -> ProcessExit {
    ProcessExit::Code(status.code().unwrap_or(-1))
}
