//! Resyncs a turn after a disconnect.

use super::resync_state::{MAX_SUB_AGENTS, Resync};
use super::{End, MAX_MISSING, PROBE_INTERVAL, Progress, Stream, Turn};
use crate::json_text::parse;
use crate::protocol::request::Request;
use crate::protocol::turn::{Action, Actions, Now, Tag, Timer};
use crate::protocol::v2::api;
use crate::protocol::v2::failures::ErrorInfo;
use crate::protocol::v2::messages::{MissedEvents, Snapshot};
use crate::protocol::{ClientError, SessionEvent, ids};
use opencode_run_core::{Event, Observed, SessionId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A sub-agent in a list.
#[derive(Deserialize)]
struct Child {
    #[serde(deserialize_with = "ids::read")]
    id: SessionId,
    #[serde(default)]
    time: Value,
}

impl Child {
    /// Returns the time of its last activity in milliseconds since 1970, or the future if it is unknown.
    fn last_activity(&self) -> f64 {
        let times = self.time.as_object().into_iter().flat_map(Map::values);
        times.filter_map(Value::as_f64).reduce(f64::max).unwrap_or(f64::INFINITY)
    }
}

/// Returns the request for a session's last messages, or for those before a cursor.
fn messages(session: &SessionId, cursor: Option<String>) -> Request {
    let request = Request::new(Method::GET, api::session(session, "message")).retried().with_messages();
    let request = request.query(api::LIMIT, api::MAX_MESSAGES.to_string());
    cursor.into_iter().fold(request, |request, cursor| request.query(api::CURSOR, cursor))
}

impl Turn {
    /// Requests the missed part of the turn. Sub-agents that started meanwhile come first: their pending permission
    /// requests must be recognized.
    pub(super) fn begin_resync(&mut self, actions: &mut Actions) {
        let mut resync = Resync::default();
        for parent in self.sub_agents.iter().chain([&self.session]) {
            resync.list_children(parent, actions);
        }
        self.resync = Some(resync);
    }

    /// Adds the sub-agents of a list, and requests the session's messages after the last list.
    pub(super) fn children(&mut self, answer: Option<String>, actions: &mut Actions) {
        let Some(resync) = &mut self.resync else { return };
        resync.open_lists = resync.open_lists.saturating_sub(1);
        let children = answer.and_then(|text| parse::<api::Data<Vec<Child>>>(&text).ok());
        for child in children.into_iter().flat_map(|children| children.data) {
            if child.id == self.session || resync.unread.len() >= MAX_SUB_AGENTS {
                continue;
            }
            let last_activity = child.last_activity();
            if self.sub_agents.insert(child.id.clone()) {
                actions.push(Action::Include(child.id.clone()));
                resync.list_children(&child.id, actions);
            }
            resync.unread.push_back((child.id, last_activity));
        }
        if resync.open_lists == 0 {
            actions.push(Action::Request(Tag::Messages, messages(&self.session, None)));
        }
    }

    /// Takes the messages of the turn's session, and begins to read those of its sub-agents.
    pub(super) fn messages(&mut self, now: Now, answer: Result<String, ClientError>, actions: &mut Actions) {
        let Some(resync) = &mut self.resync else { return };
        match resync.add_page(answer, &self.session) {
            Ok(Some(cursor)) if resync.messages.lack_prompt(&self.prompt_id) => {
                actions.push(Action::Request(Tag::Messages, messages(&self.session, Some(cursor))));
            }
            Ok(_) => {
                resync.own = Some(std::mem::take(&mut resync.messages).since_prompt(&self.prompt_id));
                self.read_next_sub_agent(now, actions);
            }
            Err(_) => {
                self.resync = None;
                self.decoder.is_disconnected = false;
                actions.push(Action::Arm(Timer::Probe, now.instant + PROBE_INTERVAL));
            }
        }
    }

    /// Emits the missed events of a sub-agent, among them the ends of steps with their usage.
    pub(super) fn sub_agent_messages(
        &mut self,
        now: Now,
        sub_agent: SessionId,
        answer: Result<String, ClientError>,
        actions: &mut Actions,
    ) {
        let Some(resync) = &mut self.resync else { return };
        let Some(since) = resync.own.as_ref().and_then(Snapshot::since) else { return };
        let next = resync.add_page(answer, &sub_agent).ok().flatten();
        if let Some(cursor) = next.filter(|_| resync.messages.begin_after(since)) {
            let request = messages(&sub_agent, Some(cursor));
            return actions.push(Action::Request(Tag::SubAgentMessages(sub_agent), request));
        }
        let read = std::mem::take(&mut resync.messages);
        for event in self.decoder.missed_by_sub_agent(read, since) {
            self.observe(Observed::new(event).from_sub_agent(sub_agent.clone()), sub_agent.clone(), actions);
        }
        self.read_next_sub_agent(now, actions);
    }

    fn read_next_sub_agent(&mut self, now: Now, actions: &mut Actions) {
        if let Some(sub_agent) = self.resync.as_mut().and_then(Resync::next_unread) {
            let request = messages(&sub_agent, None);
            return actions.push(Action::Request(Tag::SubAgentMessages(sub_agent), request));
        }
        if let Some(snapshot) = self.resync.take().and_then(|resync| resync.own) {
            let missed = self.decoder.resync(snapshot);
            self.resynced(now, missed, actions);
        }
    }

    /// Emits the missed events of the turn's session, and continues or ends the turn.
    fn resynced(&mut self, now: Now, missed: MissedEvents, actions: &mut Actions) {
        let MissedEvents { events, was_delivered, outcome, error } = missed;
        if was_delivered {
            self.progress = Progress::Delivered;
        }
        for event in events {
            let session = self.session.clone();
            self.observe(Observed::new(event), session, actions);
        }
        let failed = || {
            let message = "opencode ended the turn with an error while the stream was disconnected".to_owned();
            ErrorInfo { kind: String::new(), message, status: None }
        };
        match outcome.as_deref() {
            Some("succeeded") if was_delivered => return self.ended(now, End::Succeeded, actions),
            Some("failed") if self.progress >= Progress::Enqueued => {
                let error = error.unwrap_or_else(failed);
                actions.push(Action::Emit(Observed::new(Event::Error(error.reported())).into()));
                return self.ended(now, End::Failed(error), actions);
            }
            Some("interrupted") if was_delivered => {
                return self.ended(now, End::Interrupted { is_shutdown: false }, actions);
            }
            _ => {}
        }
        actions.push(Action::Request(Tag::Permissions, self.list(api::PERMISSIONS).retried()));
        actions.push(Action::Request(Tag::Questions, self.list(api::FORMS).retried()));
        let pause = if self.stream == Stream::Closed { PROBE_INTERVAL } else { PROBE_INTERVAL / 5 };
        actions.push(Action::Arm(Timer::Probe, now.instant + pause));
    }

    /// Ends the turn if its session has become idle without an event, as after a rejection without a message. While the
    /// stream is closed, which may last, the messages are read again.
    pub(super) fn active(&mut self, now: Now, answer: Option<String>, actions: &mut Actions) {
        let is_active = answer.and_then(|text| {
            let active: api::Data<Map<String, Value>> = parse(&text).ok()?;
            Some(active.data.contains_key(self.session.as_str()))
        });
        let is_idle = is_active == Some(false) && self.progress >= Progress::Sent;
        let is_closed = self.stream == Stream::Closed;
        if is_idle && (is_closed || !self.decoder.is_disconnected) {
            self.missing += 1;
            if self.missing >= MAX_MISSING {
                return self.ended(now, End::Interrupted { is_shutdown: true }, actions);
            }
        }
        let pause = match is_active {
            Some(_) if is_closed => PROBE_INTERVAL,
            None => PROBE_INTERVAL,
            Some(_) if is_idle && !self.decoder.is_disconnected => PROBE_INTERVAL / 5,
            // The resync in progress probes again, or the end arrives as an event.
            Some(_) => return,
        };
        actions.push(Action::Arm(Timer::Probe, now.instant + pause));
        if is_closed && is_active.is_some() && self.resync.is_none() {
            self.begin_resync(actions);
        }
    }

    pub(super) fn waiting(
        &mut self,
        now: Now,
        text: &str,
        event: fn(&RawValue) -> Option<SessionEvent>,
        actions: &mut Actions,
    ) {
        let Ok(list) = parse::<api::Data<Vec<Box<RawValue>>>>(text) else { return };
        for event in list.data.iter().filter_map(|waiting| event(waiting)) {
            if event.session == self.session || self.sub_agents.contains(&event.session) {
                self.event(now, event, actions);
            }
        }
    }
}
