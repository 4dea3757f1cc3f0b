//! The script of a `fake-opencode serve`: its answers and its event stream.

use crate::script::Act;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A server: its behaviour on messages, and its faults.
///
/// Without any rule it answers like the real server: sessions can be created, listed and deleted, a message to an
/// unknown session gets a 404, an unknown route gets a page, and the stream begins with `server.connected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// The port; `0` for a free one.
    pub port: u16,
    /// The rules for messages; the first matching one applies.
    pub turns: Vec<TurnRule>,
    /// The faults of requests; the first matching one applies.
    pub faults: Vec<RouteFault>,
    /// The silence of the stream before a heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// The time after which each stream is closed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_stream_after_ms: Option<u64>,
    /// The number of events after which each stream is closed, without the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_stream_after_events: Option<u64>,
    /// The agents that can run a turn.
    pub agents: Vec<String>,
    /// The models that can be used, each `provider/model`.
    pub models: Vec<String>,
    /// The states of the MCP servers, by name.
    pub mcp: Map<String, Value>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            port: 0,
            turns: Vec::new(),
            faults: Vec::new(),
            heartbeat_ms: 10_000,
            close_stream_after_ms: None,
            close_stream_after_events: None,
            agents: vec!["build".to_owned(), "plan".to_owned()],
            models: vec!["stub/gpt-4".to_owned()],
            mcp: Map::new(),
        }
    }
}

impl Serving {
    /// Returns a server whose turns replay a recording: the n-th turn of each session is the n-th of the recording.
    #[must_use]
    pub fn replaying(recording: &str) -> Self {
        Self::doing([TurnAct::replay(recording)])
    }

    /// Returns a server whose every turn does this.
    #[must_use]
    pub fn doing(acts: impl IntoIterator<Item = TurnAct>) -> Self {
        Self::default().turn(TurnRule::every(acts))
    }

    /// Adds a rule for turns.
    #[must_use]
    pub fn turn(mut self, rule: TurnRule) -> Self {
        self.turns.push(rule);
        self
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: RouteFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Returns the act that starts the server.
    #[must_use]
    pub fn act(self) -> Act {
        Act::Serve(Box::new(self))
    }
}

/// A rule: conditions on a message, and the acts of its turn. An absent condition always holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnRule {
    /// A text that the message contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The index of the message in the session, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// The acts. A turn whose acts never answer is never answered.
    pub acts: Vec<TurnAct>,
}

impl TurnRule {
    /// Returns the rule for every message.
    #[must_use]
    pub fn every(acts: impl IntoIterator<Item = TurnAct>) -> Self {
        Self { acts: acts.into_iter().collect(), ..Self::default() }
    }

    /// Requires that the message contains this.
    #[must_use]
    pub fn said(mut self, text: impl Into<String>) -> Self {
        self.said = Some(text.into());
        self
    }

    /// Requires that it is the session's n-th message, from 0.
    #[must_use]
    pub fn turn(mut self, turn: usize) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// One act of a turn.
///
/// In every text `{{session}}`, `{{message}}` (the id of the client's message), `{{answer}}` (a later id), `{{cwd}}`
/// (the session's directory) and `{{home}}` are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TurnAct {
    /// Replays the turn of a recording: its events, and its answer. It waits for the client at the places where the
    /// recording's client aborted or replied.
    ///
    /// The ids are those of the client: the session, its message, and all others after it in the same order.
    Replay {
        /// The recording: `VERSION/NAME` of `crates/process/recordings/serve`.
        recording: String,
        /// Ends the replay before the first event that contains this text, without an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// The events are lost: no stream gets them. The session's messages exist anyway.
        #[serde(default)]
        unheard: bool,
        /// The events have another session and message, and nothing is answered.
        #[serde(default)]
        foreign: bool,
        /// The delay of the answer, in milliseconds.
        #[serde(default)]
        late_ms: u64,
    },
    /// Sends one event.
    Event {
        /// The whole event, envelope included.
        data: String,
    },
    /// Sends text to the streams that need not be whole events.
    Raw {
        /// The text; `{{ff}}` is a byte that is not valid in UTF-8.
        text: String,
    },
    /// Sends an event of an unknown kind.
    Frame {
        /// The size of the event in bytes.
        bytes: usize,
    },
    /// Does a whole turn of one step and one text, with this many deltas, as fast as they are read.
    Speak {
        /// The text of each delta.
        delta: String,
        /// The number of deltas.
        count: u64,
        /// The number of deltas that are sent together; one if absent.
        #[serde(default = "one")]
        at_once: usize,
        /// The pause after each bundle, in milliseconds.
        #[serde(default)]
        pause_ms: u64,
    },
    /// Reports that the session is idle.
    Idle {},
    /// Closes all streams.
    CutStreams {},
    /// Answers the message.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The content type of the body.
        content_type: String,
        /// The body of the answer.
        body: String,
    },
    /// Asks the model of the configuration, again after each answer with status 429.
    AskModel {},
    /// Sends the beginning of an answer and closes the connection.
    HangUp {},
    /// Does any act of a script: pauses, files, spawned processes, exit. Spawned processes work in the session's
    /// directory.
    Do {
        /// The act to perform.
        act: Act,
    },
}

fn one() -> usize {
    1
}

impl TurnAct {
    /// Returns the replay of a whole turn.
    #[must_use]
    pub fn replay(recording: &str) -> Self {
        Self::Replay { recording: recording.to_owned(), until: None, unheard: false, foreign: false, late_ms: 0 }
    }

    /// Ends a replay before the first event that contains this, without an answer.
    #[must_use]
    pub fn until(mut self, text: &str) -> Self {
        if let Self::Replay { until, .. } = &mut self {
            *until = Some(text.to_owned());
        }
        self
    }

    /// Drops the events of a replay.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        if let Self::Replay { unheard, .. } = &mut self {
            *unheard = true;
        }
        self
    }

    /// Sends the events of a replay for another session.
    #[must_use]
    pub fn foreign(mut self) -> Self {
        if let Self::Replay { foreign, .. } = &mut self {
            *foreign = true;
        }
        self
    }

    /// Delays the answer of a replay.
    #[must_use]
    pub fn late(mut self, ms: u64) -> Self {
        if let Self::Replay { late_ms, .. } = &mut self {
            *late_ms = ms;
        }
        self
    }
}

impl From<Act> for TurnAct {
    fn from(act: Act) -> Self {
        Self::Do { act }
    }
}

/// A request with a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFault {
    /// The route of the request, such as `POST /session` or `GET /session/*/message`; `*` matches any one segment.
    pub route: String,
    /// The number of such requests that are answered normally before.
    #[serde(default)]
    pub after: usize,
    /// The number of such requests with the fault; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<usize>,
    /// The fault of the answer.
    pub answer: Fault,
}

impl RouteFault {
    /// Applies the fault to every such request.
    #[must_use]
    pub fn new(route: &str, answer: Fault) -> Self {
        Self { route: route.to_owned(), after: 0, times: None, answer }
    }

    /// Limits the fault to this many requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Answers this many requests normally before the fault.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.after = requests;
        self
    }
}

/// Returns whether a request is to this route, such as `GET /session/*/message`; `*` matches any one segment.
#[must_use]
pub fn is_route(route: &str, method: &str, path: &str) -> bool {
    let Some((wanted, route)) = route.split_once(' ') else { return false };
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    wanted == method
        && route.len() == path.len()
        && route.iter().zip(path).all(|(wanted, part)| *wanted == "*" || *wanted == part)
}

/// The fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Another answer.
    Reply {
        /// The HTTP status.
        status: u16,
        /// The content type of the body.
        content_type: String,
        /// The body of the answer.
        body: String,
    },
    /// The normal answer, delayed.
    Late {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// No answer.
    Nothing {},
    /// An answer that never ends, of which a byte is sent every 100 ms.
    Trickle {
        /// The content type of the body.
        content_type: String,
    },
    /// The beginning of an answer and the end of the connection.
    HangUp {},
}

impl Fault {
    /// Returns the page with which the real server answers unknown routes.
    #[must_use]
    pub fn page() -> Self {
        let body = "<!doctype html><html><body>opencode</body></html>".to_owned();
        Self::Reply { status: 200, content_type: "text/html".to_owned(), body }
    }

    /// Returns the answer of a failing server.
    #[must_use]
    pub fn internal() -> Self {
        let body =
            r#"{"name":"UnknownError","data":{"message":"Unexpected server error. Check server logs for details."}}"#;
        Self::Reply { status: 500, content_type: "application/json".to_owned(), body: body.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_matches_one_segment() {
        let fits = |method, path| is_route("GET /session/*/message", method, path);
        assert!(fits("GET", "/session/ses_1/message"));
        assert!(!fits("POST", "/session/ses_1/message"));
        assert!(!fits("GET", "/session/ses_1"));
        assert!(!fits("GET", "/session/ses_1/message/x"));
    }

    #[test]
    fn a_server_survives_json() {
        let serving = Serving::doing([
            TurnAct::replay("a").until("b").unheard(),
            TurnAct::Speak { delta: "x".to_owned(), count: 3, at_once: 2, pause_ms: 0 },
            Act::Stall {}.into(),
        ])
        .fault(RouteFault::new("GET /agent", Fault::page()).times(1));
        let act = serving.act();
        let json = serde_json::to_string(&act).unwrap();
        assert_eq!(serde_json::from_str::<Act>(&json).unwrap(), act);
        assert!(serde_json::from_str::<Act>(r#"{"type": "serve", "x": 1}"#).is_err());
    }
}
