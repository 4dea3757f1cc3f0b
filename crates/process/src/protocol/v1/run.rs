//! The state machine of a turn that is a process of its own: `opencode run`.
//!
//! It decides what a line means, when to signal, kill or restart the process, and how the turn ended. It reads no clock:
//! the time comes with each input.

mod startup;

use self::startup::Startup;
use super::compaction::Compaction;
use super::ending::EndEvidence;
use super::events::{self, Decoded};
use super::refusals::Refusals;
use super::stderr::{self, StderrLine};
use opencode_run_containment::StopSignal;
use opencode_run_core::{
    Control, Ending, Event, Observed, PermissionRequest, ProcessExit, SessionId, Signal, TurnFailure,
};
use std::time::Duration;
use tokio::time::Instant;

/// The grace period of each escalation stage: after SIGINT, which opencode handles within 0.1 s, and after SIGTERM.
/// Nothing may be left three seconds after an interrupt.
const STAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for opencode's exit after its outputs have ended. The supervisor passes the exit on within
/// milliseconds, unless a process of the agent has stopped the supervisor.
const HIDDEN_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The parameters of a turn.
#[derive(Debug, Default)]
pub(crate) struct RunPlan {
    /// The session that the turn continues.
    pub(crate) session: Option<SessionId>,
    pub(crate) agent: Option<String>,
    /// Whether requests to the model are metered.
    pub(crate) is_metered: bool,
    /// How long a start may be silent, unless the default applies.
    pub(crate) start_limit: Option<Duration>,
    /// The pauses before restarts because of a locked database.
    pub(crate) locked_pauses: Vec<Duration>,
}

/// An input of the state machine.
#[derive(Debug)]
pub(crate) enum RunInput<'l> {
    /// A line of stdout.
    Stdout(&'l [u8]),
    /// A line of stdout that was too long and was skipped.
    Skipped { bytes: u64 },
    /// A line of stderr without colours.
    Stderr(&'l str),
    /// The model or its provider has made progress.
    Progress,
    /// A control of the consumer; `None` when it is gone.
    Control(Option<Control>),
    /// The time of [`RunProtocol::due`] has come.
    Timer(RunTimer),
    /// stdout and stderr have ended, and the process has not exited.
    OutputsEnded,
    /// The process has exited.
    Exited(ProcessExit),
    /// The process and its outputs are over. This is the kept part of stderr.
    Over { stderr: &'l str },
    /// The process was restarted, or this error prevents it.
    Restarted(Result<(), String>),
}

/// A timer of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunTimer {
    /// The next escalation stage is due.
    Escalation,
    /// The process has been silent for too long since its start.
    Silence,
}

/// An action of the shell.
#[derive(Debug, PartialEq)]
pub(crate) enum RunAction {
    /// Sends a signal to the consumer.
    Emit(Signal),
    /// Sends a signal to the process.
    SignalProcess(StopSignal),
    /// Kills all processes of the turn; output that they wrote before is still read.
    Kill,
    /// Restarts the process after a pause, unless a control comes first.
    Restart { pause: Duration },
    /// Ends the turn.
    Finish(Ending),
}

/// An escalation stage, applied if the previous one had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escalation {
    Terminate,
    Kill,
}

/// A turn of a process. Its shell reads the output, and starts, signals and ends the process.
#[derive(Debug)]
pub(crate) struct RunProtocol {
    session: Option<SessionId>,
    agent: Option<String>,
    startup: Startup,
    output: Output,
    exit: Option<ProcessExit>,
    /// The next escalation stage, and when it is due.
    escalation: Option<(Escalation, Instant)>,
    is_killed: bool,
    /// Whether the consumer has ended the turn.
    is_stopped: bool,
    /// Whether the process is about to be restarted.
    is_pausing: bool,
    /// Why we killed the turn.
    failure: Option<TurnFailure>,
}

/// The state that belongs to the output of one process.
#[derive(Debug, Default)]
struct Output {
    evidence: EndEvidence,
    refusals: Refusals,
    compaction: Compaction,
}

impl RunProtocol {
    /// Creates the state of a turn whose process was just started.
    pub(crate) fn new(plan: RunPlan, now: Instant) -> Self {
        let RunPlan { session, agent, is_metered, start_limit, locked_pauses } = plan;
        Self {
            session,
            agent,
            startup: Startup::new(is_metered, start_limit, locked_pauses, now),
            output: Output::default(),
            exit: None,
            escalation: None,
            is_killed: false,
            is_stopped: false,
            is_pausing: false,
            failure: None,
        }
    }

    /// Returns when a timer must fire, if it is armed.
    pub(crate) fn due(&self, timer: RunTimer) -> Option<Instant> {
        match timer {
            RunTimer::Escalation => self.escalation.map(|(_, due)| due),
            RunTimer::Silence => self.startup.due().filter(|_| !self.is_stopped && self.exit.is_none()),
        }
    }

    /// Processes an input, and appends the resulting actions, which are executed in order.
    pub(crate) fn step(&mut self, now: Instant, input: RunInput<'_>, actions: &mut Vec<RunAction>) {
        match input {
            RunInput::Stdout(line) => self.stdout(line, actions),
            RunInput::Skipped { bytes } => {
                self.startup.begun();
                actions.push(RunAction::Emit(Signal::Dropped { bytes }));
            }
            RunInput::Stderr(line) => self.stderr(line, actions),
            RunInput::Progress => {
                self.startup.begun();
                actions.push(RunAction::Emit(Signal::Progress));
            }
            RunInput::Control(control) => self.control(now, control, actions),
            RunInput::Timer(RunTimer::Escalation) => self.escalate(now, actions),
            RunInput::Timer(RunTimer::Silence) => {
                if let Some(message) = self.startup.stall() {
                    self.failure.get_or_insert(TurnFailure::Opencode { message });
                }
                self.kill(actions);
            }
            RunInput::OutputsEnded => {
                if self.escalation.is_none() && !self.is_killed {
                    self.escalation = Some((Escalation::Kill, now + HIDDEN_EXIT_TIMEOUT));
                }
            }
            RunInput::Exited(exit) => {
                self.exit = Some(exit);
                // opencode leaves processes of its tools behind, however it exits.
                self.kill(actions);
            }
            RunInput::Over { stderr } => self.over(stderr, actions),
            RunInput::Restarted(Ok(())) => self.restarted(now),
            RunInput::Restarted(Err(message)) => {
                actions.push(RunAction::Finish(Ending::Failed(TurnFailure::Opencode { message })));
            }
        }
    }

    fn stdout(&mut self, line: &[u8], actions: &mut Vec<RunAction>) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.startup.begun();
        let Decoded { session, observed } = events::decode(line);
        let Output { evidence, refusals, compaction } = &mut self.output;
        evidence.event(&observed.event);
        actions.extend(session.map(|session| RunAction::Emit(Signal::Session(session))));
        actions.extend(refusals.before(&observed.event).into_iter().map(refusal));
        actions.extend(compaction.apply(observed).into_iter().map(|observed| RunAction::Emit(observed.into())));
    }

    fn stderr(&mut self, line: &str, actions: &mut Vec<RunAction>) {
        match stderr::read(line) {
            StderrLine::AgentNotFound if self.failure.is_none() => {
                let agent = self.agent.clone().unwrap_or_default();
                self.failure = Some(TurnFailure::AgentNotFound { agent });
                self.kill(actions);
            }
            StderrLine::Refused { permission, patterns } => {
                let ask = PermissionRequest::new(permission, patterns).refused(true);
                actions.extend(self.output.refusals.add(ask).map(refusal));
            }
            StderrLine::DatabaseBusy => self.startup.locked(),
            other => self.output.evidence.stderr(other),
        }
    }

    fn control(&mut self, now: Instant, control: Option<Control>, actions: &mut Vec<RunAction>) {
        self.is_stopped = true;
        if self.is_pausing {
            return actions.push(RunAction::Finish(Ending::Stopped));
        }
        match control {
            Some(Control::Interrupt) => {
                actions.push(RunAction::SignalProcess(StopSignal::Interrupt));
                self.escalation = Some((Escalation::Terminate, now + STAGE_TIMEOUT));
            }
            _ => self.kill(actions),
        }
    }

    fn escalate(&mut self, now: Instant, actions: &mut Vec<RunAction>) {
        match self.escalation.take() {
            Some((Escalation::Terminate, _)) => {
                actions.push(RunAction::SignalProcess(StopSignal::Terminate));
                self.escalation = Some((Escalation::Kill, now + STAGE_TIMEOUT));
            }
            Some((Escalation::Kill, _)) => self.kill(actions),
            None => {}
        }
    }

    fn kill(&mut self, actions: &mut Vec<RunAction>) {
        self.escalation = None;
        self.is_killed = true;
        actions.push(RunAction::Kill);
    }

    /// Restarts a process that had not begun the turn, or ends the turn.
    fn over(&mut self, stderr: &str, actions: &mut Vec<RunAction>) {
        let exit = self.exit.unwrap_or(ProcessExit::Signal(9));
        let is_wanted = !self.is_stopped && self.failure.is_none();
        if let Some(pause) = self.startup.again(exit).filter(|_| is_wanted) {
            self.is_pausing = true;
            return actions.push(RunAction::Restart { pause });
        }
        let Output { evidence, mut refusals, .. } = std::mem::take(&mut self.output);
        actions.extend(refusals.rest().into_iter().map(refusal));
        let ending = match self.failure.take() {
            Some(failure) => Ending::Failed(failure),
            None if self.is_stopped && exit != ProcessExit::Code(0) => Ending::Stopped,
            None => evidence.ending(exit, self.session.as_ref(), stderr),
        };
        actions.push(RunAction::Finish(ending));
    }

    /// Continues with another process, as if there had been none before.
    fn restarted(&mut self, now: Instant) {
        self.startup.restart(now);
        self.output = Output::default();
        self.exit = None;
        self.escalation = None;
        self.is_killed = false;
        self.is_pausing = false;
    }
}

fn refusal(ask: PermissionRequest) -> RunAction {
    RunAction::Emit(Observed::new(Event::Permission(ask)).into())
}

#[cfg(test)]
mod tests;
