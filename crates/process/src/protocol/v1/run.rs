//! The state machine of a turn that is a process of its own: `opencode run`.

use super::compaction::Compaction;
use super::ending::EndEvidence;
use super::events::{self, Decoded};
use super::refusals::Refusals;
use super::stderr::{self, StderrLine};
use opencode_run_core::{Ending, Event, Observed, PermissionRequest, ProcessExit, SessionId, Signal, TurnFailure};

/// A turn of a process. Its shell reads the output, and starts and ends the process.
#[derive(Debug)]
pub(crate) struct RunProtocol {
    /// The session that the turn continues.
    session: Option<SessionId>,
    agent: Option<String>,
    evidence: EndEvidence,
    refusals: Refusals,
    compaction: Compaction,
}

/// An action of the shell.
#[derive(Debug, PartialEq)]
pub(crate) enum RunAction {
    /// Sends a signal to the consumer.
    Emit(Signal),
    /// Records that opencode has found its database locked.
    DatabaseLocked,
    /// Kills the process: the turn has failed.
    Fail(TurnFailure),
}

impl RunProtocol {
    pub(crate) fn new(session: Option<SessionId>, agent: Option<String>) -> Self {
        Self {
            session,
            agent,
            evidence: EndEvidence::default(),
            refusals: Refusals::default(),
            compaction: Compaction::default(),
        }
    }

    /// Continues with another process, as if there had been none before.
    pub(crate) fn restart(&mut self) {
        self.evidence = EndEvidence::default();
        self.refusals = Refusals::default();
        self.compaction = Compaction::default();
    }

    /// Processes a line of stdout. Its signals are in the order of the events.
    pub(crate) fn stdout(&mut self, line: &[u8], actions: &mut Vec<RunAction>) {
        let Decoded { session, observed } = events::decode(line);
        self.evidence.event(&observed.event);
        actions.extend(session.map(|session| RunAction::Emit(Signal::Session(session))));
        actions.extend(self.refusals.before(&observed.event).into_iter().map(refusal));
        actions.extend(self.compaction.apply(observed).into_iter().map(|observed| RunAction::Emit(observed.into())));
    }

    /// Processes a line of stderr without colours.
    pub(crate) fn stderr(&mut self, line: &str, actions: &mut Vec<RunAction>) {
        match stderr::read(line) {
            StderrLine::AgentNotFound => {
                let agent = self.agent.clone().unwrap_or_default();
                actions.push(RunAction::Fail(TurnFailure::AgentNotFound { agent }));
            }
            StderrLine::Refused { permission, patterns } => {
                let ask = PermissionRequest::new(permission, patterns).refused(true);
                actions.extend(self.refusals.add(ask).map(refusal));
            }
            StderrLine::DatabaseBusy => actions.push(RunAction::DatabaseLocked),
            other => self.evidence.stderr(other),
        }
    }

    /// Returns the ending that follows from the process's exit, after appending the last actions.
    pub(crate) fn exited(&mut self, exit: ProcessExit, stderr: &str, actions: &mut Vec<RunAction>) -> Ending {
        actions.extend(self.refusals.rest().into_iter().map(refusal));
        std::mem::take(&mut self.evidence).ending(exit, self.session.as_ref(), stderr)
    }
}

fn refusal(ask: PermissionRequest) -> RunAction {
    RunAction::Emit(Observed::new(Event::Permission(ask)).into())
}
