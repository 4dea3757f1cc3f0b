//! The end of a turn: reads the answer to its message, and gets the events that the answer has overtaken.

use super::state::{Outcome, Phase, Rest, Turn};
use crate::protocol::ClientError;
use crate::protocol::turn::{Action, Actions, INTERRUPT_TIMEOUT, Input, Now, Tag, Timer};
use crate::protocol::v1::api;
use crate::protocol::v1::ending::failure_of;
use crate::protocol::v1::stream::{AnswerEnd, MessageWithParts, read_message, read_messages};
use opencode_run_core::{Ending, Event, Observed, Signal, TurnFailure};
use reqwest::{Method, StatusCode};
use std::time::Duration;

/// How long to wait for events that the answer has overtaken.
const LATE_EVENTS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for events about a message without an answer, up to its end or the reason of its refusal. A
/// malformed message has no such events.
const STREAM_REST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to read the messages of a stopped turn: its processes are killed after that.
pub(super) const READ_STOPPED_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to read them otherwise, and to wait for events that keep arriving. A session of 256 MiB takes a few seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The name of the error if the model gives no answer that matches the schema.
const NO_STRUCTURE: &str = "StructuredOutputError";

impl Turn {
    /// Processes the answer to the message.
    pub(super) fn message_answered(&mut self, now: Now, answer: Result<String, ClientError>, actions: &mut Actions) {
        actions.push(Action::CancelRequests);
        self.forget_interrupts();
        match answer {
            Ok(text) if text.is_empty() => self.wait(now, Outcome::Empty, actions),
            Ok(text) => match read_message(&text) {
                Some(message) => {
                    let expected = message.expected();
                    self.wait(now, Outcome::Answered(message, expected), actions);
                }
                None => self.finish(err_protocol("the opencode server's answer is not a message"), actions),
            },
            // An error of a stopped turn may only mean that its server was killed.
            Err(_) if self.is_stopped => self.finish(Ending::Stopped, actions),
            Err(error) if error.leaves_work() && !self.has_server_exited => {
                self.phase = Phase::Ending(Rest::Interrupt(self.explained(error)));
                self.send_interrupts(actions);
                actions.push(Action::Arm(Timer::Stop, now.instant + INTERRUPT_TIMEOUT));
            }
            Err(error) => {
                let error = self.explained(error);
                self.wait(now, Outcome::Failed(error), actions);
            }
        }
    }

    /// Adds an explanation to a refusal without a reason.
    fn explained(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Refused { status, message: None, reference } if StatusCode::is_client_error(&status) => {
                ClientError::Refused { status, message: Some(self.unexplained.clone()), reference }
            }
            other => other,
        }
    }

    /// Continues after the interrupt of a failed message.
    pub(super) fn wait_for_stream(&mut self, now: Now, actions: &mut Actions) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            // The connection of the answer may break before the last events have arrived.
            Phase::Ending(Rest::Interrupt(error)) => self.wait(now, Outcome::Failed(error), actions),
            other => self.phase = other,
        }
    }

    fn wait(&mut self, now: Now, outcome: Outcome, actions: &mut Actions) {
        let is_answered = matches!(outcome, Outcome::Answered(..));
        let timeout = if is_answered && !self.is_stopped { LATE_EVENTS_TIMEOUT } else { STREAM_REST_TIMEOUT };
        let limit = if self.is_stopped { READ_STOPPED_TIMEOUT } else { READ_TIMEOUT };
        self.phase = Phase::Ending(Rest::Events(outcome, now.instant + limit));
        actions.push(Action::Arm(Timer::Rest, now.instant + timeout));
    }

    /// Returns whether an event may still change the outcome.
    fn is_complete(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Failed(_) | Outcome::Empty => self.decoder.is_idle(),
            Outcome::Answered(_, expected) => self.decoder.has_emitted(expected),
        }
    }

    /// Continues if all events have arrived, or no more arrive.
    pub(super) fn check_rest(&mut self, now: Now, actions: &mut Actions) {
        if let Phase::Ending(Rest::Events(outcome, _)) = &self.phase
            && (self.decoder.is_disconnected() || self.is_complete(outcome))
        {
            self.skip_rest(now, actions);
        }
    }

    /// Continues without the rest of what is being waited for, unless events still arrive, as on a busy machine.
    pub(super) fn rest_timed_out(&mut self, now: Now, actions: &mut Actions) {
        match &self.phase {
            Phase::Ending(Rest::Events(_, give_up_at)) if now.instant < *give_up_at => {
                actions.push(Action::TakeQueued);
            }
            _ => self.skip_rest(now, actions),
        }
    }

    /// Processes the events that had arrived when the wait for them was over.
    pub(super) fn take_late(&mut self, now: Now, queued: Vec<Input>, actions: &mut Actions) {
        if queued.is_empty() {
            return self.skip_rest(now, actions);
        }
        for input in queued {
            self.queued(now, input, actions);
        }
        actions.push(Action::Arm(Timer::Rest, now.instant + STREAM_REST_TIMEOUT));
    }

    pub(super) fn skip_rest(&mut self, now: Now, actions: &mut Actions) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ending(Rest::Events(outcome, _)) => self.read_lost_output(now, outcome, actions),
            Phase::Ending(Rest::Messages(outcome)) => {
                tracing::debug!("the server is too slow to report the messages of a turn");
                self.conclude(outcome, actions);
            }
            Phase::Ending(Rest::Session) => self.finish(err_empty(), actions),
            other => self.phase = other,
        }
    }

    /// Reads the turn's output from the session if events were lost.
    fn read_lost_output(&mut self, now: Now, outcome: Outcome, actions: &mut Actions) {
        let is_lost = self.decoder.is_disconnected();
        let needs_messages = match &outcome {
            Outcome::Failed(_) => is_lost,
            Outcome::Answered(..) => is_lost || !self.is_complete(&outcome),
            Outcome::Empty => {
                if let Some(error) = self.error.take() {
                    return self.finish(Ending::Failed(failure_of(error)), actions);
                }
                self.phase = Phase::Ending(Rest::Session);
                let request = self.request(Method::GET, api::session(self.session.as_str()));
                actions.push(Action::Request(Tag::Session, request));
                return self.limit_rest(now, actions);
            }
        };
        if !needs_messages {
            return self.conclude(outcome, actions);
        }
        self.phase = Phase::Ending(Rest::Messages(outcome));
        actions.push(Action::Request(Tag::Messages, self.messages_request()));
        self.limit_rest(now, actions);
    }

    fn limit_rest(&self, now: Now, actions: &mut Actions) {
        let timeout = if self.is_stopped { READ_STOPPED_TIMEOUT } else { READ_TIMEOUT };
        actions.push(Action::Arm(Timer::Rest, now.instant + timeout));
    }

    /// Processes the session's messages, or the session itself.
    pub(super) fn read_rest(&mut self, answer: Result<String, ClientError>, actions: &mut Actions) {
        match (std::mem::replace(&mut self.phase, Phase::Over), answer) {
            (Phase::Ending(Rest::Messages(outcome)), answer) => {
                match answer {
                    Ok(text) => self.reconcile(text, actions),
                    Err(error) => tracing::debug!(%error, "the messages of a turn could not be read"),
                }
                self.conclude(outcome, actions);
            }
            (Phase::Ending(Rest::Session), Err(error @ ClientError::NotFound(_))) => self.fail(error, actions),
            (Phase::Ending(Rest::Session), _) => self.finish(err_empty(), actions),
            (other, _) => self.phase = other,
        }
    }

    /// Emits the content of the session's messages that was not emitted.
    fn reconcile(&mut self, text: String, actions: &mut Actions) {
        let messages = read_messages(&text).unwrap_or_default();
        // Freed early: its content is in the messages now.
        drop(text);
        for message in messages {
            self.emit_rest(message, actions);
        }
    }

    fn emit_rest(&mut self, message: MessageWithParts, actions: &mut Actions) {
        actions.extend(self.decoder.reconcile(message).into_iter().map(|observed| Action::Emit(observed.into())));
    }

    fn conclude(&mut self, outcome: Outcome, actions: &mut Actions) {
        match outcome {
            Outcome::Failed(error) => self.fail(error, actions),
            Outcome::Empty => self.finish(err_empty(), actions),
            Outcome::Answered(message, _) => {
                let ending = self.judge(message, actions);
                self.finish(ending, actions);
            }
        }
    }

    /// Returns the ending that the answer states.
    fn judge(&mut self, message: MessageWithParts, actions: &mut Actions) -> Ending {
        let end = message.end();
        self.emit_rest(message, actions);
        let Some(AnswerEnd { aborted, error, structured, stops_at_tools }) = end else {
            return err_protocol("the opencode server's answer does not specify how the turn ended");
        };
        let unmet = self.schema.as_ref().and_then(|schema| schema.why_unmet(structured.as_ref()));
        if let (Some(value), None) = (structured, &unmet) {
            actions.push(Action::Emit(Signal::Structured(value)));
        }
        if let (Some(error), None) = (&error, &self.error) {
            // The stream broke, or the event was late.
            actions.push(Action::Emit(Observed::new(Event::Error(error.clone())).into()));
        }
        let failure = match error {
            _ if aborted => return Ending::Stopped,
            Some(error) if error.name == NO_STRUCTURE => TurnFailure::Schema { message: error.message },
            Some(error) => failure_of(error),
            None => match (unmet, self.rejected.take().filter(|_| stops_at_tools)) {
                (Some(message), _) => TurnFailure::Schema { message },
                (None, Some(what)) => TurnFailure::Permission { what },
                (None, None) => return Ending::Finished,
            },
        };
        Ending::Failed(failure)
    }
}

fn err_protocol(message: &str) -> Ending {
    Ending::Failed(TurnFailure::Protocol { message: message.to_owned() })
}

fn err_empty() -> Ending {
    err_protocol("the opencode server's answer was empty")
}
