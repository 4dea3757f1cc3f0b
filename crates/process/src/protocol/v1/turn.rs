//! The state machine of a turn on a server of opencode 1.
//!
//! The turn ends with the answer to its message, which is authoritative; the events are for live output. Events that the
//! answer has overtaken, or that were lost, are waited for or read from the session.

mod ending;
mod interrupt;
mod resync;
mod state;

pub(crate) use self::state::Turn;

use self::state::{Interrupts, Phase};
use super::api;
use super::ending::failure_of;
use super::stream::TurnDecoder;
use crate::json_text::parse_repaired;
use crate::protocol::ids::is_id;
use crate::protocol::pending_asks::{self, PendingAsks};
use crate::protocol::request::Request;
use crate::protocol::turn::{
    Action, Actions, INTERRUPT_TIMEOUT, Input, Intake, KILL_TIMEOUT, Now, Tag, Timer, TurnPlan, TurnProtocol,
};
use crate::protocol::{ClientError, SessionEvent, directory};
use opencode_run_core::{
    Control, Ending, Event, Observed, PermissionAnswer, PermissionRequest, QuestionRequest, SessionId, TurnFailure,
};
use reqwest::Method;
use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

impl Turn {
    pub(crate) fn new(plan: TurnPlan, now: SystemTime) -> Self {
        let TurnPlan { session, directory, prompt, model, schema, denies, .. } = plan;
        let id = api::message_id(now);
        let message = api::message(&id, &prompt, model.as_deref());
        Self {
            decoder: TurnDecoder::new(session.clone(), id),
            session,
            directory: directory::for_query(&directory).into_owned(),
            agent: prompt.options.agent,
            unexplained: api::unexplained(&message),
            message,
            schema,
            sub_agents: HashSet::new(),
            asks: PendingAsks::new(denies),
            refused: None,
            refusal: None,
            rejected: None,
            error: None,
            interrupts: Interrupts::default(),
            is_stopped: false,
            is_killed: false,
            has_server_exited: false,
            phase: Phase::Preparing,
        }
    }

    fn request(&self, method: Method, route: impl Into<String>) -> Request {
        Request::new(method, route).in_directory(&self.directory)
    }

    fn start(&mut self, actions: &mut Actions) {
        if !is_id(self.session.as_str()) {
            // It could name another route.
            let error = ClientError::NotFound(format!("{:?} is not an id of opencode's", self.session.as_str()));
            self.fail(error, actions);
        } else if self.agent.is_some() {
            actions.push(Action::Request(Tag::Prepare, self.request(Method::GET, api::AGENTS)));
        } else {
            self.send_message(actions);
        }
    }

    fn check_agent(&mut self, answer: Result<String, ClientError>, actions: &mut Actions) {
        let agents =
            answer.and_then(|text| parse_repaired::<Vec<api::Agent>>(&text).map_err(|_| ClientError::Unreadable));
        let agent = self.agent.take().unwrap_or_default();
        match agents {
            Ok(agents) if agents.iter().any(|known| known.name == agent && known.leads()) => self.send_message(actions),
            Ok(_) => self.fail(ClientError::NoAgent(agent), actions),
            Err(error) => self.fail(error, actions),
        }
    }

    fn send_message(&mut self, actions: &mut Actions) {
        self.phase = Phase::Working;
        let request = self.request(Method::POST, api::messages(self.session.as_str()));
        let request = request.body(self.message.take()).with_messages().unlimited();
        actions.push(Action::Request(Tag::Prompt, request));
    }

    fn event(&mut self, now: Now, event: SessionEvent, actions: &mut Actions) {
        let now_ms = now.system.duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0);
        if let Some(observed) = self.decoder.decode(event, now_ms) {
            self.observe(observed, actions);
        }
    }

    fn observe(&mut self, mut observed: Observed, actions: &mut Actions) {
        if let Some(sub_agent) = &observed.sub_agent {
            self.include(sub_agent, actions);
        }
        let mut reply = None;
        let is_own = observed.sub_agent.is_none();
        match &mut observed.event {
            Event::Permission(ask) => reply = self.asks.decide(ask, self.session.clone()),
            Event::Question(question) => reply = Some(self.reject_question(question)),
            Event::Error(error) if is_own => self.error = Some(error.clone()),
            Event::StepStart if is_own => {
                self.error = None;
                self.rejected = None;
            }
            _ => {}
        }
        actions.push(Action::Emit(observed.into()));
        actions.extend(reply);
    }

    fn include(&mut self, sub_agent: &SessionId, actions: &mut Actions) {
        if !self.sub_agents.contains(sub_agent) {
            self.sub_agents.insert(sub_agent.clone());
            actions.push(Action::Include(sub_agent.clone()));
        }
    }

    /// Rejects a question: the run is unattended.
    fn reject_question(&mut self, question: &QuestionRequest) -> Action {
        let id = question.id.clone();
        self.asks.question(id.clone());
        self.rejected = Some(question.questions.join(" "));
        let request = self.request(Method::POST, api::question_reject(&id)).retried();
        Action::Request(Tag::Reply(id), request)
    }

    fn decided(&mut self, ask: &PermissionRequest, answer: &PermissionAnswer, actions: &mut Actions) {
        let Some(id) = ask.id.clone() else { return };
        if matches!(answer, PermissionAnswer::Reject { reason } if reason.is_empty()) {
            self.refused.get_or_insert_with(|| (id.clone(), pending_asks::description(ask)));
        }
        let request = self.request(Method::POST, api::permission_reply(&id));
        actions.push(Action::Request(Tag::Reply(id), request.body(api::permission_answer(answer)).retried()));
    }

    /// Records that a reply was sent, and ends the turn if it was a refusal without a reason.
    fn replied(&mut self, now: Now, id: String, actions: &mut Actions) {
        let refusal = self.refused.take_if(|(refused, _)| *refused == id);
        self.asks.answered(id, actions);
        if let Some((_, what)) = refusal
            && !self.is_stopped
        {
            self.refusal = Some(what);
            self.stop(now, INTERRUPT_TIMEOUT, actions);
        }
    }

    fn answered(&mut self, now: Now, tag: Tag, answer: Result<String, ClientError>, actions: &mut Actions) {
        match tag {
            Tag::Prepare => self.check_agent(answer, actions),
            Tag::Prompt => self.message_answered(now, answer, actions),
            Tag::Reply(id) => self.replied(now, id, actions),
            Tag::Interrupt => self.interrupted(now, answer.is_ok(), actions),
            Tag::Interrupted => self.interrupt_sub_agents(now, answer, actions),
            _ if matches!(self.phase, Phase::Ending(_)) => self.read_rest(answer, actions),
            _ => self.continue_resync(tag, answer, actions),
        }
    }

    fn finish(&mut self, ending: Ending, actions: &mut Actions) {
        self.phase = Phase::Over;
        let ending = match (ending, self.refusal.take()) {
            (Ending::Stopped, Some(what)) => Ending::Failed(TurnFailure::Permission { what }),
            (ending, _) => ending,
        };
        self.asks.close(actions);
        actions.push(Action::Finish(ending));
    }

    fn fail(&mut self, error: ClientError, actions: &mut Actions) {
        self.phase = Phase::Over;
        self.asks.close(actions);
        // The events carry more detail than the answer.
        let reported = self.error.take().map(failure_of);
        actions.push(Action::Fail { error, reported });
    }
}

impl TurnProtocol for Turn {
    fn step(&mut self, now: Now, input: Input, actions: &mut Actions) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match input {
            Input::Start => self.start(actions),
            Input::Event(event) => self.event(now, event, actions),
            Input::Disconnected => self.decoder.mark_disconnected(),
            Input::Reconnected => self.start_resync(actions),
            Input::Queued(inputs) => self.take_queued(now, inputs, actions),
            Input::Answer(tag, answer) => self.answered(now, tag, answer, actions),
            Input::Decided { ask, answer, .. } => self.decided(&ask, &answer, actions),
            Input::Control(Some(Control::Interrupt)) => self.stop(now, INTERRUPT_TIMEOUT, actions),
            Input::Control(_) => {
                self.is_killed = true;
                self.stop(now, KILL_TIMEOUT, actions);
            }
            Input::Timer(Timer::Interrupt) => self.interrupt(now, actions),
            Input::Timer(Timer::Stop) => self.give_up(now, actions),
            Input::Timer(Timer::Rest) => self.rest_timed_out(now, actions),
            Input::Timer(Timer::Probe) => {}
            // The request of the message fails as well.
            Input::ServerExited(_) => self.has_server_exited = true,
        }
        self.check_rest(now, actions);
    }

    fn interrupt_request(&self) -> Request {
        self.request(Method::POST, api::abort(self.session.as_str()))
    }

    fn intake(&self) -> Intake {
        match &self.phase {
            Phase::Preparing | Phase::Working => Intake::Paced,
            Phase::Ending(rest) if rest.needs_events() => Intake::Unpaced,
            Phase::Resyncing(_) | Phase::Ending(_) | Phase::Over => Intake::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
