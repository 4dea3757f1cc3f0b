//! The state machine of a turn on a server of opencode 2.
//!
//! The turn ends with the execution that took up its prompt, or that failed before it could. A failed step does not end
//! it: opencode may retry it. Interrupting, and rejecting a permission request without a message, end the execution as
//! well.

mod resync;
mod resync_state;

use self::resync_state::Resync;
use super::api;
use super::decoder::{Decoder, Field, error_of, field, form_of};
use super::failures::ErrorInfo;
use super::structured::Structured;
use crate::protocol::pending_asks::{self, PendingAsks};
use crate::protocol::request::Request;
use crate::protocol::turn::{
    Action, Actions, INTERRUPT_INTERVAL, INTERRUPT_TIMEOUT, Input, Intake, KILL_TIMEOUT, Now, Tag, Timer, TurnPlan,
    TurnProtocol,
};
use crate::protocol::v1::api::message_id;
use crate::protocol::{ClientError, SessionEvent};
use opencode_run_core::{
    Control, Ending, Event, ModelName, Observed, PermissionAnswer, PermissionRequest, Prompt, SessionId, Signal,
    TurnFailure,
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The interval of probing the server after a disconnect.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The number of times that a session may be idle without the turn's prompt before the turn fails.
const MAX_MISSING: u32 = 3;
/// The answer to a question of the agent to the user.
const NO_ANSWER: &str = "Nobody can answer: the run is unattended. Decide by yourself, or say what you could not do.";

/// A turn.
#[derive(Debug)]
pub(crate) struct Turn {
    session: SessionId,
    directory: String,
    prompt: Prompt,
    prompt_id: String,
    structured: Option<Structured>,
    decoder: Decoder,
    sub_agents: HashSet<SessionId>,
    /// The requests that precede the prompt, in steps: those of a step are sent together.
    preparation: VecDeque<Vec<Request>>,
    /// The number of requests of the current step that are not answered.
    unanswered: usize,
    progress: Progress,
    asks: PendingAsks,
    /// The refusal that ends the turn.
    refusal: Option<String>,
    /// The cancelled question, or the permission that was rejected without a message.
    rejected: Option<String>,
    is_killed: bool,
    stop_at: Option<Instant>,
    stream: Stream,
    /// The resync in progress.
    resync: Option<Resync>,
    missing: u32,
    has_background: bool,
    is_over: bool,
}

/// The state of the stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Open,
    /// The messages are read from time to time instead.
    Closed,
}

/// The progress of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Preparing,
    Sent,
    Enqueued,
    Delivered,
}

impl Turn {
    /// Returns the turn of a plan; `None` if it names no valid model.
    pub(crate) fn new(plan: TurnPlan, now: SystemTime) -> Option<Self> {
        let TurnPlan { session, is_new, directory, prompt, model, schema, denies } = plan;
        let model: ModelName = model?.parse().ok()?;
        let structured = schema.zip(prompt.schema.as_ref()).map(|(schema, value)| Structured::new(schema, value));
        let preparation = preparation(&session, is_new, &prompt, &model, structured.as_ref());
        Some(Self {
            decoder: Decoder::new(session.clone()),
            session,
            directory: directory.to_string_lossy().into_owned(),
            prompt,
            prompt_id: message_id(now),
            structured,
            sub_agents: HashSet::new(),
            preparation,
            unanswered: 0,
            progress: Progress::Preparing,
            asks: PendingAsks::new(denies),
            refusal: None,
            rejected: None,
            is_killed: false,
            stop_at: None,
            stream: Stream::Open,
            resync: None,
            missing: 0,
            has_background: false,
            is_over: false,
        })
    }

    fn prepare(&mut self, actions: &mut Actions) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered > 0 {
            return;
        }
        let Some(requests) = self.preparation.pop_front() else { return self.send_prompt(actions) };
        self.unanswered = requests.len();
        actions.extend(requests.into_iter().map(|request| Action::Request(Tag::Prepare, request)));
    }

    fn send_prompt(&mut self, actions: &mut Actions) {
        self.progress = Progress::Sent;
        let route = api::session(&self.session, "prompt");
        // The id makes the request idempotent.
        let request = Request::new(Method::POST, route).body(api::prompt(&self.prompt_id, &self.prompt));
        actions.push(Action::Request(Tag::Prompt, request));
    }

    fn event(&mut self, now: Now, event: SessionEvent, actions: &mut Actions) {
        let end = if event.session == self.session { self.follow(&event) } else { None };
        let form = (event.kind == "form.created").then(|| form_of(event.raw.get())).flatten();
        let session = event.session.clone();
        let now_ms = now.system.duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0);
        if let Some(observed) = self.decoder.decode(event, now_ms) {
            self.observe(observed, session.clone(), actions);
            if let Some(form) = form {
                self.answer_form(&session, &form.id, &form.fields, actions);
            }
        }
        if let Some(end) = end {
            self.ended(now, end, actions);
        }
    }

    /// Tracks the prompt. Returns how its execution ended, if it did.
    fn follow(&mut self, event: &SessionEvent) -> Option<End> {
        let raw = event.raw.get();
        let is_ours = || field(raw, "inboxID").as_deref() == Some(&self.prompt_id);
        match event.kind.as_str() {
            "session.inbox.enqueued" if self.progress == Progress::Sent && is_ours() => {
                self.progress = Progress::Enqueued;
                None
            }
            "session.inbox.delivered" if self.progress >= Progress::Sent && is_ours() => {
                self.progress = Progress::Delivered;
                None
            }
            "session.execution.succeeded" if self.progress == Progress::Delivered => Some(End::Succeeded),
            "session.execution.failed" if self.progress >= Progress::Enqueued => {
                let unknown = || ErrorInfo { kind: String::new(), message: "no reason given".to_owned(), status: None };
                Some(End::Failed(error_of(raw).unwrap_or_else(unknown)))
            }
            "session.execution.interrupted" if self.progress >= Progress::Enqueued => {
                Some(End::Interrupted { is_shutdown: field(raw, "reason").as_deref() == Some("shutdown") })
            }
            _ => None,
        }
    }

    fn observe(&mut self, mut observed: Observed, session: SessionId, actions: &mut Actions) {
        if let Some(sub_agent) = &observed.sub_agent
            && self.sub_agents.insert(sub_agent.clone())
        {
            actions.push(Action::Include(sub_agent.clone()));
        }
        let mut decide = None;
        match &mut observed.event {
            Event::Permission(ask) => decide = self.asks.decide(ask, session),
            Event::Question(question) => self.asks.question(question.id.clone()),
            Event::Tool(call) if call.input["background"] == true => self.has_background = true,
            _ => {}
        }
        actions.push(Action::Emit(observed.into()));
        actions.extend(decide);
    }

    fn decided(
        &mut self,
        ask: &PermissionRequest,
        session: &SessionId,
        answer: &PermissionAnswer,
        actions: &mut Actions,
    ) {
        let Some(id) = ask.id.clone() else { return };
        if let PermissionAnswer::Reject { reason } = answer {
            self.decoder.reject(ask.call.clone());
            if reason.is_empty() {
                let what = pending_asks::description(ask);
                (self.refusal, self.rejected) = (Some(what.clone()), Some(what));
            }
        }
        // Only the sub-agent's own session knows its requests.
        let route = api::session(session, &format!("permission/{id}/reply"));
        let request = Request::new(Method::POST, route).body(api::decision(answer)).retried();
        actions.push(Action::Request(Tag::Reply(id), request));
    }

    /// Answers a form with a text, so that the agent continues. A form without a text field is cancelled, which ends
    /// the turn.
    fn answer_form(&mut self, session: &SessionId, id: &str, fields: &[Field], actions: &mut Actions) {
        let answers: Option<Map<String, Value>> = fields
            .iter()
            .map(|field| match field.kind.as_str() {
                "string" if field.custom || field.options.is_empty() => Some((field.key.clone(), json!(NO_ANSWER))),
                "multiselect" if field.custom => Some((field.key.clone(), json!([NO_ANSWER]))),
                _ => None,
            })
            .collect();
        let route = api::session(session, &format!("form/{id}"));
        let request = if let Some(answers) = answers {
            Request::new(Method::POST, format!("{route}/reply")).body(json!({ "answer": answers }))
        } else {
            self.rejected = Some("a question to the user".to_owned());
            Request::new(Method::DELETE, route)
        };
        actions.push(Action::Request(Tag::Reply(id.to_owned()), request.retried()));
    }

    fn ended(&mut self, now: Now, end: End, actions: &mut Actions) {
        if self.progress < Progress::Delivered {
            // Otherwise it would be delivered together with the next prompt.
            let route = api::session(&self.session, &format!("inbox/{}", self.prompt_id));
            actions.push(Action::Request(Tag::CleanUp, Request::new(Method::DELETE, route)));
        }
        let ending = match end {
            End::Succeeded => return self.succeeded(now, actions),
            _ if self.is_stopped() => Ending::Stopped,
            End::Failed(error) => Ending::Failed(error.failure()),
            End::Interrupted { is_shutdown: true } => {
                let message = || "opencode ended the turn and gave no reason".to_owned();
                Ending::Failed(self.rejected.take().map_or_else(
                    || TurnFailure::Opencode { message: message() },
                    |what| TurnFailure::Permission { what },
                ))
            }
            End::Interrupted { is_shutdown: false } => Ending::Stopped,
        };
        self.finish(ending, actions);
    }

    fn succeeded(&mut self, now: Now, actions: &mut Actions) {
        let is_stopped = self.is_stopped();
        let Some(structured) = &mut self.structured else { return self.finish(Ending::Finished, actions) };
        match structured.value(self.decoder.last_text()) {
            Ok(value) => {
                actions.push(Action::Emit(Signal::Structured(value)));
                self.finish(Ending::Finished, actions);
            }
            Err(_) if is_stopped => self.finish(Ending::Stopped, actions),
            Err(why) if structured.was_repaired => {
                self.finish(Ending::Failed(TurnFailure::Schema { message: why }), actions);
            }
            Err(why) => {
                structured.was_repaired = true;
                self.prompt.message = structured.repair(&why);
                self.prompt.files.clear();
                self.prompt_id = message_id(now.system);
                self.send_prompt(actions);
            }
        }
    }

    fn finish(&mut self, ending: Ending, actions: &mut Actions) {
        let ending = match (ending, self.refusal.take()) {
            (Ending::Stopped, Some(what)) => Ending::Failed(TurnFailure::Permission { what }),
            (ending, _) => ending,
        };
        self.is_over = true;
        self.asks.close(actions);
        actions.push(Action::Finish(ending));
    }

    /// Starts to interrupt the turn.
    fn stop(&mut self, now: Now, limit: Duration, actions: &mut Actions) {
        let stop_at = now.instant + limit;
        let is_earlier = self.stop_at.is_none_or(|earlier| stop_at < earlier);
        if is_earlier {
            self.stop_at = Some(stop_at);
        }
        if self.progress == Progress::Preparing {
            return self.finish(Ending::Stopped, actions);
        }
        if is_earlier {
            actions.push(Action::Arm(Timer::Stop, stop_at));
        }
        self.interrupt(now, actions);
    }

    const fn is_stopped(&self) -> bool {
        self.stop_at.is_some()
    }

    fn interrupt(&self, now: Now, actions: &mut Actions) {
        actions.push(Action::Request(Tag::Interrupt, self.interrupt_request()));
        actions.push(Action::Arm(Timer::Interrupt, now.instant + INTERRUPT_INTERVAL));
    }

    fn list(&self, route: &str) -> Request {
        Request::new(Method::GET, route).in_directory(&self.directory)
    }

    fn answered(&mut self, now: Now, tag: Tag, answer: Result<String, ClientError>, actions: &mut Actions) {
        match (tag, answer) {
            // An entry that must be removed may be absent already.
            (Tag::Prepare, Ok(_) | Err(ClientError::NotFound(_))) => self.prepare(actions),
            (Tag::Prepare | Tag::Prompt, Err(_)) if self.is_stopped() => self.finish(Ending::Stopped, actions),
            (Tag::Prepare, Err(error)) => self.fail(error, actions),
            (Tag::Prompt, Err(error)) => {
                if error.leaves_work() {
                    actions.push(Action::Request(Tag::CleanUp, self.interrupt_request()));
                }
                self.fail(error, actions);
            }
            (Tag::Reply(id), _) => {
                self.asks.answered(id, actions);
                if self.refusal.is_some() && !self.is_stopped() {
                    self.stop(now, INTERRUPT_TIMEOUT, actions);
                }
            }
            (Tag::SubAgents, answer) => self.children(answer.ok(), actions),
            (Tag::Messages, answer) => self.messages(now, answer, actions),
            (Tag::SubAgentMessages(sub_agent), answer) => {
                self.sub_agent_messages(now, sub_agent, answer, actions);
            }
            (Tag::Active, Err(error @ ClientError::NoAnswer(_))) if self.stream == Stream::Closed => {
                self.fail(error, actions);
            }
            (Tag::Active, answer) => self.active(now, answer.ok(), actions),
            (Tag::Permissions, Ok(text)) => self.waiting(now, &text, super::routing::permission_asked, actions),
            (Tag::Questions, Ok(text)) => self.waiting(now, &text, super::routing::form_created, actions),
            _ => {}
        }
    }

    fn fail(&mut self, error: ClientError, actions: &mut Actions) {
        self.is_over = true;
        self.asks.close(actions);
        actions.push(Action::Fail { error, reported: None });
    }
}

impl TurnProtocol for Turn {
    fn step(&mut self, now: Now, input: Input, actions: &mut Actions) {
        if self.is_over {
            return;
        }
        match input {
            Input::Start => self.prepare(actions),
            Input::Event(event) => self.event(now, event, actions),
            Input::Disconnected => {
                self.decoder.is_disconnected = true;
                self.stream = Stream::Closed;
                actions.push(Action::Arm(Timer::Probe, now.instant + PROBE_INTERVAL));
            }
            Input::Reconnected => {
                self.stream = Stream::Open;
                self.begin_resync(actions);
            }
            Input::Queued(inputs) => inputs.into_iter().for_each(|input| self.step(now, input, actions)),
            Input::Answer(tag, answer) => self.answered(now, tag, answer, actions),
            Input::Decided { ask, session, answer } => self.decided(&ask, &session, &answer, actions),
            Input::Control(Some(Control::Interrupt)) => self.stop(now, INTERRUPT_TIMEOUT, actions),
            Input::Control(_) => {
                self.is_killed = true;
                self.stop(now, KILL_TIMEOUT, actions);
            }
            Input::Timer(Timer::Interrupt) => self.interrupt(now, actions),
            Input::Timer(Timer::Stop) => {
                actions.push(Action::EndServer { is_killed: self.is_killed });
                self.finish(Ending::Stopped, actions);
            }
            Input::Timer(Timer::Rest) => {}
            Input::Timer(Timer::Probe) => {
                actions.push(Action::Request(Tag::Active, Request::new(Method::GET, api::ACTIVE)));
            }
            Input::ServerExited(_) if self.is_stopped() => self.finish(Ending::Stopped, actions),
            Input::ServerExited(message) => {
                self.finish(Ending::Failed(TurnFailure::ServerLost { message }), actions);
            }
        }
    }

    fn intake(&self) -> Intake {
        if self.resync.is_some() { Intake::Closed } else { Intake::Paced }
    }

    fn interrupt_request(&self) -> Request {
        Request::new(Method::POST, api::session(&self.session, "interrupt"))
    }

    fn last_request(&self) -> Option<Request> {
        self.has_background.then(|| self.interrupt_request())
    }
}

/// The end of an execution.
#[derive(Debug)]
enum End {
    Succeeded,
    Failed(ErrorInfo),
    /// It was interrupted by a client, or, if it is a shutdown, by a rejected permission request.
    Interrupted {
        is_shutdown: bool,
    },
}

/// Returns the requests that precede the prompt: an entry of an earlier turn stays in the session until it is removed.
fn preparation(
    session: &SessionId,
    is_new: bool,
    prompt: &Prompt,
    model: &ModelName,
    structured: Option<&Structured>,
) -> VecDeque<Vec<Request>> {
    let post = |what, body| Request::new(Method::POST, api::session(session, what)).body(body);
    let mut first = Vec::new();
    let mut second = Vec::new();
    if !is_new {
        let model = api::model(model, prompt.options.variant.as_deref());
        first.push(post("model", json!({ "model": model })));
        second.extend(prompt.options.agent.iter().map(|agent| post("agent", json!({ "agent": agent }))));
    }
    let context = prompt.options.context.as_deref().filter(|context| !context.is_empty()).map(str::to_owned);
    let instructions: Vec<_> = context.into_iter().chain(structured.map(Structured::instructions)).collect();
    let route = api::entry(session, api::ENTRY);
    if !instructions.is_empty() {
        let body = json!({ "value": instructions.join("\n\n") });
        first.push(Request::new(Method::PUT, route).body(body));
    } else if !is_new {
        // An earlier turn may have left its own.
        first.push(Request::new(Method::DELETE, route));
    }
    [first, second].into_iter().filter(|step| !step.is_empty()).collect()
}

#[cfg(test)]
mod tests;
