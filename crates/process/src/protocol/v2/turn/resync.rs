//! Resyncs a turn after a disconnect.

use super::{End, MAX_MISSING, PROBE_INTERVAL, Progress, Turn};
use crate::json_text::parse;
use crate::protocol::request::Request;
use crate::protocol::turn::{Action, Actions, Now, Tag, Timer};
use crate::protocol::v2::api;
use crate::protocol::v2::failures::ErrorInfo;
use crate::protocol::v2::messages::MissedEvents;
use crate::protocol::{SessionEvent, ids};
use opencode_run_core::{Event, Observed, SessionId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

impl Turn {
    /// Requests the missed part of the turn. Sub-agents that started meanwhile come first: their pending permission
    /// requests must be recognized.
    pub(super) fn reconnected(&mut self, actions: &mut Actions) {
        self.is_resyncing = true;
        let known: Vec<_> = self.sub_agents.iter().chain([&self.session]).cloned().collect();
        for parent in known {
            self.list_children(&parent, actions);
        }
    }

    fn list_children(&mut self, parent: &SessionId, actions: &mut Actions) {
        self.open_lists += 1;
        let query = Some((api::PARENT, parent.to_string()));
        let request = Request { query, ..Request::new(Method::GET, api::SESSIONS) };
        actions.push(Action::Request(Tag::SubAgents, request.retried()));
    }

    /// Adds the sub-agents of a list, and requests the session's messages after the last list.
    pub(super) fn children(&mut self, answer: Option<String>, actions: &mut Actions) {
        #[derive(Deserialize)]
        struct Child {
            #[serde(deserialize_with = "ids::read")]
            id: SessionId,
        }
        self.open_lists -= 1;
        let children = answer.and_then(|text| parse::<api::Data<Vec<Child>>>(&text).ok());
        for Child { id } in children.into_iter().flat_map(|children| children.data) {
            if id != self.session && self.sub_agents.insert(id.clone()) {
                actions.push(Action::Include(id.clone()));
                self.list_children(&id, actions);
            }
        }
        if self.open_lists == 0 {
            let request = Request::new(Method::GET, api::session(&self.session, "message")).retried().with_messages();
            actions.push(Action::Request(Tag::Messages, request));
        }
    }

    /// Emits the missed events.
    pub(super) fn resync(&mut self, now: Now, text: &str, actions: &mut Actions) {
        self.is_resyncing = false;
        let Some(MissedEvents { events, was_delivered, outcome, error }) = self.decoder.resync(text, &self.prompt_id)
        else {
            return;
        };
        if was_delivered {
            self.progress = Progress::Delivered;
        }
        for observed in events {
            let session = self.session.clone();
            self.observe(observed, session, actions);
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
        actions.push(Action::Arm(Timer::Probe, now.instant + PROBE_INTERVAL / 5));
    }

    /// Ends the turn if its session has become idle without an event, as after a rejection without a message.
    pub(super) fn active(&mut self, now: Now, answer: Option<String>, actions: &mut Actions) {
        let is_active = answer.and_then(|text| {
            let active: api::Data<Map<String, Value>> = parse(&text).ok()?;
            Some(active.data.contains_key(self.session.as_str()))
        });
        if is_active == Some(false) && self.progress >= Progress::Sent && !self.decoder.is_disconnected {
            self.missing += 1;
            if self.missing >= MAX_MISSING {
                return self.ended(now, End::Interrupted { is_shutdown: true }, actions);
            }
            actions.push(Action::Arm(Timer::Probe, now.instant + PROBE_INTERVAL / 5));
        } else if self.decoder.is_disconnected {
            actions.push(Action::Arm(Timer::Probe, now.instant + PROBE_INTERVAL));
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
