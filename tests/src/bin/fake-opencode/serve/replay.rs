//! Replays a turn of a recording.

use super::answers::Answer;
use super::ids::Ids;
use super::state::in_json;
use super::turn::Turn;
use crate::output::write;
use opencode_run_tests::script::Stream;
use opencode_run_tests::serve_recording::{self, Entry, ServeRecording};
use serde_json::Value;
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

/// The settings of a replay; see the act of this name.
pub(crate) struct How<'a> {
    pub(crate) until: Option<&'a str>,
    pub(crate) unheard: bool,
    pub(crate) foreign: bool,
    pub(crate) late: Duration,
}

impl Turn {
    /// Replays the recorded turn.
    pub(crate) fn replay(&mut self, name: &str, how: &How<'_>) -> Result<(), Box<dyn Error>> {
        let &How { until, unheard, foreign, late } = how;
        let recording = self.server.recording(name).map_err(|error| format!("read the recording {name}: {error}"))?;
        let number = (0..=self.number).rev().find(|n| recording.turn(*n).is_some());
        let Some(recorded) = number.and_then(|n| recording.turn(n)) else {
            return Err(format!("find a turn in the recording {name}").into());
        };
        let of_turn = self.server.number();
        let whose = format!("ses_fa4e{:08x}9{of_turn:013}", std::process::id());
        let session = if foreign { whose.as_str() } else { self.session.as_str() };
        let ids = Ids::new((recorded.session(), recorded.message_id()), (session, &self.message), of_turn);
        let directory = in_json(&self.directory);
        let fit = |text: &str| {
            let text = ids.fit(text).replace("{{cwd}}", &directory);
            text.replace("{{home}}", &std::env::var("HOME").unwrap_or_default())
        };
        let messages = of_turn_only(&recording, number.unwrap_or_default());
        let messages: Vec<Value> = serde_json::from_str(&fit(&Value::Array(messages).to_string()))?;
        let is_answered = !foreign && until.is_none();
        for entry in recorded.entries {
            match entry {
                Entry::Event(data) => {
                    if until.is_some_and(|until| data.contains(until)) {
                        return Ok(());
                    }
                    if is_of_a_turn(data) {
                        self.note_child(recorded.session(), data, &ids);
                        let data = fit(data);
                        self.server.note_ask(&data);
                        if !unheard {
                            self.server.streams.event(&data);
                        }
                    }
                }
                Entry::Stderr(line) if !foreign => write(Stream::Stderr, format!("{line}\n").as_bytes())?,
                Entry::Request(request) if !foreign && is_waited_for(request, recorded.session()) => {
                    self.server.wait_for(&request.method, &ids.fit(&request.path), self.since)?;
                }
                // The answer may have overtaken the event that is the end here.
                Entry::Response(response) if is_answered && response.n == recorded.message.n => {
                    let status = response.status;
                    let content_type = response.content_type.clone();
                    let reply = Answer::Reply { status, content_type, body: fit(&response.text()) };
                    self.server.with_session(&self.session, |session| session.messages.extend(messages.clone()));
                    sleep(late);
                    self.answer(reply);
                }
                // After this the recording's client examined the results.
                Entry::Request(request) if request.method == "GET" && request.path == recorded.message.path => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Records the session of a sub-agent, for a client that requests the children.
    fn note_child(&self, parent: &str, data: &str, ids: &Ids) {
        if !data.contains("\"session.created\"") || !data.contains("\"parentID\"") {
            return;
        }
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        let info = &event["payload"]["properties"]["info"];
        if let (Some(child), Some(of)) = (info["id"].as_str(), info["parentID"].as_str())
            && of == parent
        {
            let child = ids.fit(child);
            self.server.with_session(&self.session, |session| session.children.push(child));
        }
    }
}

/// Returns whether an event belongs to a turn: the stream's own events come from the open stream.
fn is_of_a_turn(data: &str) -> bool {
    !["\"server.connected\"", "\"server.heartbeat\"", "\"server.instance.disposed\""]
        .iter()
        .any(|own| data.contains(own))
}

/// Returns whether the turn continued only after this request of its client.
fn is_waited_for(request: &serve_recording::Request, session: &str) -> bool {
    let path = request.path.as_str();
    request.method == "POST"
        && (path.starts_with("/permission/")
            || path.starts_with("/question/")
            || path.strip_suffix("/abort").is_some_and(|path| path.ends_with(session)))
}

/// Returns the final messages of one turn.
fn of_turn_only(recording: &ServeRecording, number: usize) -> Vec<Value> {
    let Some(turn) = recording.turn(number) else { return Vec::new() };
    let next = recording.turn(number + 1);
    let all: Vec<Value> = serde_json::from_str(&turn.messages()).unwrap_or_default();
    let id = |message: &Value| message["info"]["id"].as_str().unwrap_or_default().to_owned();
    all.into_iter()
        .filter(|message| id(message).as_str() >= turn.message_id())
        .filter(|message| next.is_none_or(|next| id(message).as_str() < next.message_id()))
        .collect()
}
