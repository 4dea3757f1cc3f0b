//! Turns of opencode 2.

use super::super::ids::Ids;
use super::super::replay::How;
use super::super::state::in_json;
use super::super::turn::Turn;
use opencode_run_tests::serve_recording::{self, Entry};
use serde_json::{Value, json};
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

impl Turn {
    /// Returns whether a client has interrupted it.
    fn is_interrupted(&self) -> bool {
        self.server.with_session(&self.session, |session| session.interrupted > self.number).unwrap_or(true)
    }

    /// Replays the recorded turn.
    pub(crate) fn replay_v2(&self, name: &str, how: &How<'_>) -> Result<(), Box<dyn Error>> {
        let recording = self.server.recording(name).map_err(|error| format!("read the recording {name}: {error}"))?;
        let recorded = (0..=self.number).rev().find_map(|n| recording.turn(n));
        let Some(recorded) = recorded else { return Err(format!("find a turn in the recording {name}").into()) };
        let of_turn = self.server.number();
        let whose = format!("ses_fa4e{:08x}9{of_turn:013}", std::process::id());
        let (session, message) = if how.foreign {
            (whose.as_str(), "msg_f00000000000ffffffffffffff")
        } else {
            (self.session.as_str(), self.message.as_str())
        };
        let ids = Ids::new((recorded.session(), recorded.message_id()), (session, message), of_turn);
        let directory = in_json(&self.directory);
        let home = std::env::var("HOME").unwrap_or_default();
        let is_waited_for = |entry: &Entry| match entry {
            Entry::Request(request) => !how.foreign && is_waited_for(request),
            _ => false,
        };
        let is_interrupt = |entry: &Entry| {
            is_waited_for(entry) && matches!(entry, Entry::Request(request) if request.path.ends_with("/interrupt"))
        };
        let replays_interrupt = how.until.is_none() && recorded.entries.iter().any(is_interrupt);
        self.server.with_session(&self.session, |session| session.replays_interrupt = replays_interrupt);
        for entry in recorded.entries {
            match entry {
                Entry::Event(data) => {
                    if how.until.is_some_and(|until| data.contains(until)) || self.is_interrupted() {
                        return Ok(());
                    }
                    if data.contains("\"session.execution.succeeded\"") {
                        sleep(how.late);
                    }
                    if !["\"server.connected\"", "\"location.shutdown\""].iter().any(|own| data.contains(own)) {
                        let data = ids.fit(data).replace("{{cwd}}", &directory).replace("{{home}}", &home);
                        self.server.publish(&data, how.unheard);
                    }
                }
                Entry::Request(request) if is_waited_for(entry) => {
                    self.server.wait_for(&request.method, &ids.fit(&request.path), self.since)?;
                }
                // After this the recording's client examined the results.
                Entry::Request(request) if request.method == "GET" => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Plays a whole turn: a step and a text in this many pieces.
    pub(crate) fn speak_v2(&self, delta: &str, count: u64, pause_ms: u64) {
        let message = format!("msg_{:012x}{:014}", 0xffff_ffff_ffff_u64, self.server.number());
        let event = |kind: &str, more: Value| {
            let mut data = json!({"sessionID": self.session, "assistantMessageID": message});
            if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
                data.extend(more);
            }
            json!({"id": format!("evt_{:012x}", self.server.number()), "type": kind, "data": data}).to_string()
        };
        let inbox = || json!({"inboxID": self.message});
        let tokens = json!({"input": 100, "output": 10, "reasoning": 0, "cache": {"read": 0, "write": 0}});
        let text = delta.repeat(usize::try_from(count).unwrap_or_default());
        let before = [
            event("session.inbox.enqueued", inbox()),
            event("session.execution.started", json!({})),
            event("session.inbox.delivered", inbox()),
            event("session.step.started", json!({})),
            event("session.text.started", json!({"ordinal": 0})),
        ];
        let pieces = (0..count).map(|_| event("session.text.delta", json!({"ordinal": 0, "delta": delta})));
        let after = [
            event("session.text.ended", json!({"ordinal": 0, "text": text})),
            event("session.step.ended", json!({"finish": "stop", "cost": 0, "tokens": tokens})),
            event("session.execution.succeeded", json!({})),
        ];
        for event in before.into_iter().chain(pieces).chain(after) {
            if self.is_interrupted() {
                return;
            }
            self.server.publish(&event, false);
            if pause_ms > 0 && event.contains("session.text.delta") {
                sleep(Duration::from_millis(pause_ms));
            }
        }
    }
}

/// Returns whether the turn continued only after this request of its client.
fn is_waited_for(request: &serve_recording::Request) -> bool {
    request.path.contains("/permission/") || request.path.contains("/form/") || request.path.ends_with("/interrupt")
}
