//! Resyncs a turn after a disconnect: reads missed output and permission requests from the session.

use super::state::{Phase, Resync, Turn};
use crate::json_text::parse_repaired;
use crate::protocol::request::Request;
use crate::protocol::turn::{Action, Actions, Input, Now, Tag};
use crate::protocol::v1::api;
use crate::protocol::v1::stream::{permission_asked, question_asked, read_messages};
use crate::protocol::{ClientError, SessionEvent};
use reqwest::Method;
use serde_json::value::RawValue;

impl Turn {
    pub(super) fn messages_request(&self) -> Request {
        self.request(Method::GET, api::messages(self.session.as_str())).with_messages()
    }

    /// Starts to read the session.
    pub(super) fn start_resync(&mut self, actions: &mut Actions) {
        if matches!(self.phase, Phase::Working) {
            self.phase = Phase::Resyncing(Resync { unread: vec![self.session.clone()], ..Resync::default() });
            actions.push(Action::Request(Tag::Messages, self.messages_request().retried()));
        }
    }

    /// Processes an answer, and sends the next request.
    pub(super) fn continue_resync(&mut self, tag: Tag, answer: Result<String, ClientError>, actions: &mut Actions) {
        let Phase::Resyncing(resync) = &mut self.phase else { return };
        let mut found = Vec::new();
        let mut missed = Vec::new();
        let next = match (tag, answer.ok()) {
            (Tag::Messages, text) => {
                resync.messages = text.and_then(|text| read_messages(&text));
                Tag::SubAgents
            }
            (Tag::SubAgents, text) => {
                found = text.map(|text| resync.descendants.add(&text)).unwrap_or_default();
                resync.unread.extend(found.iter().cloned());
                resync.unread_messages.extend(found.iter().cloned());
                Tag::SubAgents
            }
            (Tag::SubAgentMessages(sub_agent), text) => {
                let messages = text.and_then(|text| read_messages(&text)).unwrap_or_default();
                missed = self.decoder.missed_by_sub_agent(messages, &sub_agent);
                Tag::SubAgents
            }
            (Tag::Permissions, text) => {
                resync.asks.extend(asks(text, permission_asked));
                Tag::Questions
            }
            (_, text) => {
                resync.asks.extend(asks(text, question_asked));
                return actions.push(Action::TakeQueued);
            }
        };
        let (tag, route) = match (next, resync.unread.pop()) {
            (Tag::SubAgents, Some(session)) => (Tag::SubAgents, api::children(session.as_str())),
            (Tag::SubAgents, None) => match resync.unread_messages.pop_front() {
                Some(sub_agent) => {
                    let route = api::messages(sub_agent.as_str());
                    (Tag::SubAgentMessages(sub_agent), route)
                }
                None => (Tag::Permissions, api::PERMISSIONS.to_owned()),
            },
            _ => (Tag::Questions, api::QUESTIONS.to_owned()),
        };
        for sub_agent in found {
            self.include(&sub_agent, actions);
        }
        for observed in missed {
            self.observe(observed, actions);
        }
        let request = self.request(Method::GET, route).retried();
        let request = if matches!(tag, Tag::SubAgentMessages(_)) { request.with_messages() } else { request };
        actions.push(Action::Request(tag, request));
    }

    /// Processes the inputs of the stream that were queued, at the end of a resync or of the turn.
    pub(super) fn take_queued(&mut self, now: Now, queued: Vec<Input>, actions: &mut Actions) {
        match std::mem::replace(&mut self.phase, Phase::Working) {
            Phase::Resyncing(resync) => self.finish_resync(now, resync, queued, actions),
            phase => {
                self.phase = phase;
                self.take_late(now, queued, actions);
            }
        }
    }

    /// Emits missed output, and processes what was queued meanwhile. If the messages could not be read, the next resync
    /// or the end of the turn reads them.
    fn finish_resync(&mut self, now: Now, resync: Resync, queued: Vec<Input>, actions: &mut Actions) {
        let Resync { messages, asks, .. } = resync;
        // Errors first: the messages may show that opencode has recovered from an error after the disconnect.
        let (errors, waiting): (Vec<_>, Vec<_>) =
            queued.into_iter().partition(|input| matches!(input, Input::Event(event) if event.is_error()));
        for error in errors {
            self.queued(now, error, actions);
        }
        for observed in messages.map(|messages| self.decoder.resync(messages)).unwrap_or_default() {
            self.observe(observed, actions);
        }
        for ask in asks {
            if ask.session == self.session || self.sub_agents.contains(&ask.session) {
                self.event(now, ask, actions);
            }
        }
        for input in waiting {
            self.queued(now, input, actions);
        }
    }

    pub(super) fn queued(&mut self, now: Now, input: Input, actions: &mut Actions) {
        match input {
            Input::Event(event) => self.event(now, event, actions),
            Input::Disconnected => self.decoder.mark_disconnected(),
            Input::Reconnected => self.start_resync(actions),
            _ => {}
        }
    }
}

/// Parses a list of pending permission requests or questions.
fn asks(text: Option<String>, event: fn(&RawValue) -> Option<SessionEvent>) -> Vec<SessionEvent> {
    let waiting: Vec<Box<RawValue>> = text.and_then(|text| parse_repaired(&text).ok()).unwrap_or_default();
    waiting.iter().filter_map(|waiting| event(waiting)).collect()
}
