//! One turn on a running `opencode run`: emits its output, applies controls, and kills the process tree at the end.

mod startup;

use crate::lines::{Line, Lines};
use crate::model_route::{self, RouteLease};
use crate::protocol::{self, RunAction, RunProtocol};
use crate::redaction::Redaction;
use crate::run_process::{RunCommand, RunProcess};
use crate::send_queue::SendQueue;
use crate::stderr_tail::StderrTail;
use opencode_run_containment::{ProcessTree, StopSignal};
use opencode_run_core::{Control, Ending, ProcessExit, Signal, TurnDriver, TurnFailure};
use startup::Startup;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::Instant;

/// The grace period of each escalation stage: after SIGINT, which opencode handles within 0.1 s, and after SIGTERM.
/// Nothing may be left three seconds after an interrupt.
const STAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for opencode's exit after its outputs have ended. The supervisor passes the exit on within
/// milliseconds, unless a process of the agent has stopped the supervisor.
const HIDDEN_EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to drain the pipes after all writers are gone, and to wait for a killed process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of signals that are queued while the consumer is busy. While any are queued, stdout is not read.
const MAX_QUEUED_SIGNALS: usize = 256;

/// An active turn.
pub(crate) struct RunTurn {
    driver: TurnDriver,
    /// Restarts the process.
    command: RunCommand,
    startup: Startup,
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
    exit: Option<ProcessExit>,
    /// The next escalation stage, and when it is due.
    escalation: Option<(Escalation, Instant)>,
    stopped: bool,
    /// Why we killed the turn.
    failure: Option<TurnFailure>,
    /// When to give up on the pipes and on a killed process. It is postponed while the consumer is waited for.
    drain_deadline: Option<Instant>,
}

/// An escalation stage, applied if the previous one had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escalation {
    Terminate,
    Kill,
}

/// The reasons for a turn to wake up.
enum Wake {
    Control(Option<Control>),
    Escalation,
    Flushed,
    Progress,
    Stalled,
    Exit(std::io::Result<ExitStatus>),
    Stderr(Option<Line>),
    Stdout(Option<Line>),
    DrainTimeout,
}

impl RunTurn {
    /// Returns the turn of a process that was started by the command.
    pub(crate) fn new(command: RunCommand, driver: TurnDriver, process: RunProcess, protocol: RunProtocol) -> Self {
        let RunProcess { tree, child, stdin, stdout, stderr } = process;
        let startup = Startup::new(false, command.launch.start_limit());
        Self {
            driver,
            command,
            startup,
            tree,
            child,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            protocol,
            send_queue: SendQueue::default(),
            route_lease: None,
            tail: StderrTail::default(),
            exit: None,
            escalation: None,
            stopped: false,
            failure: None,
            drain_deadline: None,
        }
    }

    /// Redacts the turn's output, and meters its requests with the lease.
    pub(crate) fn through(mut self, redaction: Redaction, route_lease: Option<RouteLease>) -> Self {
        self.send_queue = SendQueue::new(redaction);
        self.startup = Startup::new(route_lease.is_some(), self.command.launch.start_limit());
        self.route_lease = route_lease;
        self
    }

    /// Writes the message to stdin, emits the output, and returns when no process of the turn is left.
    pub(crate) async fn run(mut self, message: String) {
        let message: Arc<str> = message.into();
        loop {
            // In a task of its own, since opencode may write before it has read the whole message.
            let feeding = self.stdin.take().map(|stdin| tokio::spawn(feed(stdin, Arc::clone(&message))));
            while !self.is_over() {
                self.step().await;
            }
            if let Some(feeding) = feeding {
                feeding.abort();
            }
            if !self.restart_if_needed().await {
                break;
            }
        }
        let stderr = self.tail.text();
        let exit = self.exit.unwrap_or(ProcessExit::Signal(9));
        let mut actions = Vec::new();
        let ending = self.protocol.exited(exit, &stderr, &mut actions);
        self.carry_out(actions).await;
        let ending = match self.failure {
            Some(failure) => Ending::Failed(failure),
            None if self.stopped && exit != ProcessExit::Code(0) => Ending::Stopped,
            None => ending,
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

    /// Restarts opencode if it had not begun the turn; returns whether it did.
    async fn restart_if_needed(&mut self) -> bool {
        let exit = self.exit.unwrap_or(ProcessExit::Signal(9));
        let Some(pause) = self.startup.again(exit).filter(|_| !self.stopped && self.failure.is_none()) else {
            return false;
        };
        tokio::select! {
            biased;
            control = self.driver.controls.recv() => {
                self.control(control).await;
                return false;
            }
            () = tokio::time::sleep(pause) => {}
        }
        match self.command.start() {
            Ok(process) => self.attach(process),
            Err(error) => self.failure = Some(TurnFailure::Opencode { message: error.to_string() }),
        }
        self.failure.is_none()
    }

    /// Continues with another process, as if there had been none before.
    fn attach(&mut self, process: RunProcess) {
        let RunProcess { tree, child, stdin, stdout, stderr } = process;
        (self.tree, self.child, self.stdin) = (tree, child, Some(stdin));
        (self.stdout, self.stderr) = (Some(stdout), Some(stderr));
        self.protocol.restart();
        self.tail = StderrTail::default();
        (self.exit, self.escalation, self.drain_deadline) = (None, None, None);
        self.startup.restart();
    }

    fn is_over(&self) -> bool {
        let drained = self.stdout.is_none() && self.stderr.is_none() && !self.send_queue.has_pending();
        let too_late = self.drain_deadline.is_some_and(|moment| Instant::now() >= moment);
        // Output that was read must be delivered, however long the consumer takes.
        (self.exit.is_some() && drained) || (too_late && !self.send_queue.has_pending())
    }

    /// Waits for the next event and handles it.
    async fn step(&mut self) {
        let escalation = self.escalation;
        let drain_deadline = self.drain_deadline;
        let stalled = self.startup.due().filter(|_| !self.stopped && self.exit.is_none());
        let waiting = self.send_queue.has_pending();
        let began = Instant::now();
        let wake = tokio::select! {
            biased;
            control = self.driver.controls.recv(), if !self.send_queue.is_closed() => Wake::Control(control),
            () = until(escalation.map(|(_, due)| due)) => Wake::Escalation,
            () = self.send_queue.flush(&self.driver.signals), if waiting => Wake::Flushed,
            status = self.child.wait(), if self.exit.is_none() => Wake::Exit(status),
            line = next(&mut self.stderr), if self.send_queue.len() < MAX_QUEUED_SIGNALS => Wake::Stderr(line),
            line = next(&mut self.stdout), if !waiting => Wake::Stdout(line),
            () = until(drain_deadline), if !waiting => Wake::DrainTimeout,
            () = model_route::progressed(&mut self.route_lease), if !waiting => Wake::Progress,
            () = until(stalled) => Wake::Stalled,
        };
        if waiting && let Some(moment) = &mut self.drain_deadline {
            *moment += began.elapsed();
        }
        match wake {
            Wake::Control(control) => self.control(control).await,
            Wake::Escalation => self.escalate().await,
            Wake::Flushed if self.send_queue.is_closed() => self.control(None).await,
            Wake::Flushed => {}
            Wake::Progress => {
                self.startup.begun();
                self.send_queue.push(Signal::Progress);
            }
            Wake::Stalled => {
                if let Some(message) = self.startup.stall() {
                    self.failure = Some(TurnFailure::Opencode { message });
                }
                self.kill().await;
            }
            Wake::Exit(status) => self.exited(status).await,
            Wake::Stderr(line) => self.stderr_line(line).await,
            Wake::Stdout(line) => self.stdout_line(line).await,
            Wake::DrainTimeout => {
                self.stdout = None;
                self.stderr = None;
            }
        }
        let has_ended = self.stdout.is_none() && self.stderr.is_none();
        if has_ended && self.exit.is_none() && self.escalation.is_none() && self.drain_deadline.is_none() {
            self.tree.resume_supervisor();
            self.escalation = Some((Escalation::Kill, Instant::now() + HIDDEN_EXIT_TIMEOUT));
        }
    }

    async fn control(&mut self, control: Option<Control>) {
        self.stopped = true;
        match control {
            Some(Control::Interrupt) => {
                // Once the leader has exited, its descendants can no longer be recognized.
                self.tree.record_descendants().await;
                self.tree.signal_leader(StopSignal::Interrupt);
                self.escalation = Some((Escalation::Terminate, Instant::now() + STAGE_TIMEOUT));
            }
            Some(_) => self.kill().await,
            None => {
                self.send_queue.close();
                self.kill().await;
            }
        }
    }

    async fn escalate(&mut self) {
        match self.escalation.take() {
            Some((Escalation::Terminate, _)) => {
                self.tree.record_descendants().await;
                self.tree.signal_leader(StopSignal::Terminate);
                self.escalation = Some((Escalation::Kill, Instant::now() + STAGE_TIMEOUT));
            }
            Some((Escalation::Kill, _)) => self.kill().await,
            None => {}
        }
    }

    /// Kills all processes of the turn; output that they wrote before is still read.
    async fn kill(&mut self) {
        self.escalation = None;
        let left = self.tree.kill_all().await;
        if left > 0 {
            tracing::error!(left, "processes of the turn could not be killed");
        }
        self.drain_deadline.get_or_insert(Instant::now() + DRAIN_TIMEOUT);
    }

    async fn exited(&mut self, status: std::io::Result<ExitStatus>) {
        self.exit = Some(status.map_or(ProcessExit::Code(-1), exit_of));
        // opencode leaves processes of its tools behind, however it exits.
        self.kill().await;
    }

    async fn stdout_line(&mut self, line: Option<Line>) {
        let line = match line {
            None => return self.stdout = None,
            Some(Line::TooLong(bytes)) => {
                self.startup.begun();
                return self.send_queue.push(Signal::Dropped { bytes });
            }
            Some(Line::Whole(line)) => line,
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.startup.begun();
        let mut actions = Vec::new();
        self.protocol.stdout(&line, &mut actions);
        self.carry_out(actions).await;
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
        let mut actions = Vec::new();
        self.protocol.stderr(&line, &mut actions);
        self.carry_out(actions).await;
    }

    async fn carry_out(&mut self, actions: Vec<RunAction>) {
        for action in actions {
            match action {
                RunAction::Emit(signal) => self.send_queue.push(signal),
                RunAction::DatabaseLocked => self.startup.locked(),
                RunAction::Fail(failure) => {
                    if self.failure.is_none() {
                        self.failure = Some(failure);
                        self.kill().await;
                    }
                }
            }
        }
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
