//! One turn on a server.

use super::answers::Answer;
use super::ids::Ids;
use super::state::{Server, in_json};
use super::streams::frame;
use crate::acts;
use bytes::{Bytes, BytesMut};
use opencode_run_tests::serve_script::TurnAct;
use serde_json::{Value, json};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use tokio::sync::oneshot;

/// The length of an id after its prefix.
const ID: usize = 26;

/// A turn that is played on its own thread.
pub(crate) struct Turn {
    pub(crate) server: Arc<Server>,
    pub(crate) session: String,
    pub(crate) directory: PathBuf,
    /// The id of the client's message.
    pub(crate) message: String,
    /// The index of the turn in the session, from 0.
    pub(crate) number: usize,
    /// The number of requests that the server had received before.
    pub(crate) since: usize,
    acts: Vec<TurnAct>,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Turn {
    pub(crate) fn new(
        server: Arc<Server>,
        session: &str,
        directory: PathBuf,
        body: &Value,
        number: usize,
        answer: oneshot::Sender<Answer>,
    ) -> Self {
        let said = body["parts"][0]["text"].as_str().unwrap_or_default();
        let acts = server.acts(said, number);
        let since = server.asked_so_far();
        let message = body["messageID"].as_str().map_or_else(|| format!("msg_{:0ID$}", 0), str::to_owned);
        Self { server, session: session.to_owned(), directory, message, number, since, acts, answer: Some(answer) }
    }

    /// Returns the turn of a prompt of opencode 2, which was answered at once.
    pub(crate) fn of_prompt(
        server: Arc<Server>,
        session: &str,
        directory: PathBuf,
        body: &Value,
        number: usize,
    ) -> Self {
        let acts = server.acts(body["text"].as_str().unwrap_or_default(), number);
        let since = server.asked_so_far();
        let message = body["id"].as_str().unwrap_or_default().to_owned();
        Self { server, session: session.to_owned(), directory, message, number, since, acts, answer: None }
    }

    fn is_v2(&self) -> bool {
        self.server.invocation.is_v2
    }

    /// Does all acts.
    pub(crate) fn play(mut self) {
        for act in std::mem::take(&mut self.acts) {
            match self.perform(&act) {
                Ok(None) => {}
                Ok(Some(code)) => end(&self.server, code),
                Err(error) => {
                    writeln!(std::io::stderr(), "fake-opencode: failed to {error}").ok();
                    end(&self.server, i32::from(crate::BROKEN));
                }
            }
        }
        if !self.is_v2() {
            self.idle_again();
        }
    }

    fn idle_again(&self) {
        self.server.with_session(&self.session, |session| session.busy = false);
    }

    /// Does one act; returns the exit code if the process must exit.
    fn perform(&mut self, act: &TurnAct) -> Result<Option<i32>, Box<dyn Error>> {
        match act {
            TurnAct::Replay { recording, until, unheard, foreign, late_ms } => {
                let how = super::replay::How {
                    until: until.as_deref(),
                    unheard: *unheard,
                    foreign: *foreign,
                    late: Duration::from_millis(*late_ms),
                };
                if self.is_v2() {
                    self.replay_v2(recording, &how)?;
                } else {
                    self.replay(recording, &how)?;
                }
            }
            TurnAct::Event { data } => self.send(&self.fill(data)),
            TurnAct::Raw { text } => {
                let text = self.fill(text);
                let bytes = text.split("{{ff}}").map(str::as_bytes).collect::<Vec<_>>().join(&b'\xff');
                self.server.streams.send(&Bytes::from(bytes), 1);
            }
            TurnAct::Frame { bytes } => {
                let filler = "x".repeat(*bytes);
                self.event("filler", &json!({"sessionID": self.session, "text": filler}));
            }
            TurnAct::Speak { delta, count, pause_ms, .. } if self.is_v2() => self.speak_v2(delta, *count, *pause_ms),
            TurnAct::Speak { delta, count, at_once, pause_ms } => self.speak(delta, *count, *at_once, *pause_ms),
            TurnAct::Idle {} if self.is_v2() => {
                self.event("session.execution.succeeded", &json!({"sessionID": self.session}));
            }
            TurnAct::Idle {} => self.idle(),
            TurnAct::CutStreams {} => self.server.streams.close_all(),
            TurnAct::Answer { .. } | TurnAct::HangUp {} if self.is_v2() => {
                return Err("answer a prompt of opencode 2, which is answered before its turn begins".into());
            }
            TurnAct::Answer { status, content_type, body } => {
                let content_type = content_type.clone();
                let body = self.fill(body);
                self.answer(Answer::Reply { status: *status, content_type, body });
            }
            TurnAct::AskModel {} => self.ask_model()?,
            TurnAct::HangUp {} => self.answer(Answer::HangUp),
            TurnAct::Do { act } => return acts::perform(&self.server.invocation, act, &self.directory),
        }
        Ok(None)
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        self.idle_again();
        // The real server is idle before it answers.
        self.idle_again();
        if let Some(sender) = self.answer.take() {
            // The client may have disconnected.
            sender.send(answer).ok();
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{session}}", &self.session)
            .replace("{{message}}", &self.message)
            .replace("{{answer}}", &self.later(1))
            .replace("{{cwd}}", &in_json(&self.directory))
            .replace("{{home}}", &std::env::var("HOME").unwrap_or_default())
    }

    /// Returns a message id that is this much younger than the client's.
    fn later(&self, by: u64) -> String {
        let zero = ("ses_", "msg_00000000000000000000000000");
        Ids::new(zero, ("ses_", &self.message), 0).fit(&format!("msg_{by:012x}{by:014}"))
    }

    fn event(&self, kind: &str, properties: &Value) {
        self.send(&self.data(kind, properties));
    }

    fn send(&self, data: &str) {
        if self.is_v2() {
            self.server.publish(data, false);
        } else {
            self.server.streams.event(data);
        }
    }

    fn data(&self, kind: &str, properties: &Value) -> String {
        if self.is_v2() {
            return json!({"id": "evt_0", "type": kind, "data": properties}).to_string();
        }
        json!({"directory": self.directory, "payload": {"type": kind, "properties": properties}}).to_string()
    }

    fn idle(&self) {
        self.event("session.status", &json!({"sessionID": self.session, "status": {"type": "idle"}}));
        self.event("session.idle", &json!({"sessionID": self.session}));
    }

    /// Plays a whole turn: a step and a text in this many pieces.
    fn speak(&mut self, delta: &str, count: u64, at_once: usize, pause_ms: u64) {
        let answer = self.later(1);
        let part = |kind: &str, n: u64| {
            let id = answer.replace("msg_", "prt_");
            json!({"id": format!("{}{n:04}", &id[..26]), "messageID": answer, "sessionID": self.session, "type": kind})
        };
        let with = |mut part: Value, key: &str, value: Value| {
            part[key] = value;
            part
        };
        let updated = |part: &Value| json!({"sessionID": self.session, "part": part, "time": 1});
        let info = json!({"id": answer, "role": "assistant", "sessionID": self.session, "parentID": self.message});
        self.event("message.updated", &json!({"sessionID": self.session, "info": info}));
        let begin = part("step-start", 1);
        self.event("message.part.updated", &updated(&begin));
        let empty = with(with(part("text", 2), "text", json!("")), "time", json!({"start": 1}));
        self.event("message.part.updated", &updated(&empty));

        let piece = json!({"sessionID": self.session, "messageID": answer, "partID": empty["id"], "field": "text", "delta": delta});
        let piece = frame(&self.data("message.part.delta", &piece));
        let bundle = |pieces: usize| -> Bytes {
            let mut bytes = BytesMut::with_capacity(piece.len() * pieces);
            (0..pieces).for_each(|_| bytes.extend_from_slice(&piece));
            bytes.freeze()
        };
        let at_once = at_once.max(1);
        let whole = bundle(at_once);
        let mut left = count;
        while left > 0 {
            let now = left.min(at_once as u64);
            let frames = if now == at_once as u64 { whole.clone() } else { bundle(usize::try_from(now).unwrap_or(1)) };
            self.server.streams.send(&frames, now);
            left -= now;
            if pause_ms > 0 {
                sleep(Duration::from_millis(pause_ms));
            }
        }

        let text = delta.repeat(usize::try_from(count).unwrap_or_default());
        let text = with(with(part("text", 2), "text", Value::from(text)), "time", json!({"start": 1, "end": 2}));
        self.event("message.part.updated", &updated(&text));
        let tokens = json!({"input": 100, "output": 10, "reasoning": 0, "cache": {"read": 0, "write": 0}});
        let end = with(with(with(part("step-finish", 3), "reason", json!("stop")), "tokens", tokens), "cost", json!(0));
        self.event("message.part.updated", &updated(&end));
        self.idle();
        let info = with(info, "finish", json!("stop"));
        let message = json!({"info": info, "parts": [begin, text, end]});
        let body = message.to_string();
        self.server.with_session(&self.session, |session| session.messages.push(message));
        self.answer(Answer::Reply { status: 200, content_type: "application/json".to_owned(), body });
    }
}

/// Exits the process.
#[expect(clippy::exit, reason = "a turn's thread ends the whole server")]
fn end(server: &Server, code: i32) -> ! {
    server.invocation.journal.exit(code).ok();
    std::process::exit(code)
}
