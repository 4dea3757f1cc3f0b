//! The script of a `fake-opencode serve`: what its server answers and streams.

use crate::script::Act;
use serde::{Deserialize, Serialize};

/// A server: what it does with a message, and what is wrong with it.
///
/// Without any rule of its own it answers as the real one does: sessions can be made, listed and deleted, a message to one
/// that does not exist is a 404, a route that does not exist is a page, and the stream begins with `server.connected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// The port; `0` for a free one.
    pub port: u16,
    /// What happens on a message: the first rule that fits.
    pub turns: Vec<TurnRule>,
    /// Requests that are not answered as they should be: the first that fits.
    pub faults: Vec<RouteFault>,
    /// How long after its last word the stream has a heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// After how many milliseconds each stream is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_stream_after_ms: Option<u64>,
    /// After how many events each stream is closed, the first one not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_stream_after_events: Option<u64>,
    /// The agents that can lead a turn.
    pub agents: Vec<String>,
    /// The models that can be used, each `provider/model`.
    pub models: Vec<String>,
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
        }
    }
}

impl Serving {
    /// Makes a server whose turns replay a recording, each session's n-th turn the recording's n-th.
    #[must_use]
    pub fn replaying(recording: &str) -> Self {
        Self::doing([TurnAct::replay(recording)])
    }

    /// Makes a server whose every turn does this.
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

/// What happens on which messages; what is absent always fits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnRule {
    /// The message contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// It is the session's n-th message, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// What happens. A turn whose acts never answer is never answered.
    pub acts: Vec<TurnAct>,
}

impl TurnRule {
    /// Makes the rule for every message.
    #[must_use]
    pub fn every(acts: impl IntoIterator<Item = TurnAct>) -> Self {
        Self { acts: acts.into_iter().collect(), ..Self::default() }
    }

    /// Demands that the message contains this.
    #[must_use]
    pub fn said(mut self, text: impl Into<String>) -> Self {
        self.said = Some(text.into());
        self
    }

    /// Demands that it is the session's n-th message, from 0.
    #[must_use]
    pub fn turn(mut self, turn: usize) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// One thing that happens in a turn.
///
/// In every text `{{session}}`, `{{message}}` (the id that the client gave its message), `{{answer}}` (an id behind it),
/// `{{cwd}}` (the session's directory) and `{{home}}` are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TurnAct {
    /// Does what the turn of a recording did: its events, and its answer. Where the recording's client aborted or replied,
    /// it waits until this one has.
    ///
    /// Ids are the client's own: the session, its message, and all others in the same order behind it.
    Replay {
        /// The recording: `VERSION/NAME` of `crates/process/recordings/serve`.
        recording: String,
        /// It ends before the first event that contains this; neither that nor the answer is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// The events are lost: no stream gets them. The session's messages are there all the same.
        #[serde(default)]
        unheard: bool,
        /// The events have the session and the message of somebody else, and nothing is answered.
        #[serde(default)]
        foreign: bool,
        /// How much later than it should the answer comes, in milliseconds.
        #[serde(default)]
        late_ms: u64,
    },
    /// Sends one event.
    Event {
        /// The whole of it, envelope included.
        data: String,
    },
    /// Sends an event of a kind that nobody knows.
    Frame {
        /// How many bytes it has.
        bytes: usize,
    },
    /// Does a whole turn of one step and one text, with as many deltas as wished, as fast as they are read.
    Speak {
        /// What each delta holds.
        delta: String,
        /// How many deltas.
        count: u64,
        /// How many of them go out together; one if absent.
        #[serde(default = "one")]
        at_once: usize,
        /// How long to wait after each bundle, in milliseconds.
        #[serde(default)]
        pause_ms: u64,
    },
    /// Says that the session is idle.
    Idle {},
    /// Closes all streams.
    CutStreams {},
    /// Answers the message.
    Answer {
        /// The status.
        status: u16,
        /// The kind of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Answers with the beginning of an answer and cuts the connection.
    HangUp {},
    /// Does with the process what a script can do with any: pauses, files, spawned processes, its end. Spawned processes work
    /// in the session's directory.
    Do {
        /// What.
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

    /// Lets a replay end before the first event that contains this, without an answer.
    #[must_use]
    pub fn until(mut self, text: &str) -> Self {
        if let Self::Replay { until, .. } = &mut self {
            *until = Some(text.to_owned());
        }
        self
    }

    /// Lets the events of a replay be lost.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        if let Self::Replay { unheard, .. } = &mut self {
            *unheard = true;
        }
        self
    }

    /// Lets the events of a replay be somebody else's.
    #[must_use]
    pub fn foreign(mut self) -> Self {
        if let Self::Replay { foreign, .. } = &mut self {
            *foreign = true;
        }
        self
    }

    /// Lets the answer of a replay come so much later.
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

/// A request that is not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFault {
    /// Its route, such as `POST /session` or `GET /session/*/message`; `*` is any one part.
    pub route: String,
    /// How many such requests are answered well before.
    #[serde(default)]
    pub after: usize,
    /// How many such requests get this; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<usize>,
    /// What it gets.
    pub answer: Fault,
}

impl RouteFault {
    /// Answers every such request so.
    #[must_use]
    pub fn new(route: &str, answer: Fault) -> Self {
        Self { route: route.to_owned(), after: 0, times: None, answer }
    }

    /// Answers only so many of them so.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Answers so many of them well before.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.after = requests;
        self
    }
}

/// Returns whether a request is of this route, such as `GET /session/*/message`; `*` is any one part.
#[must_use]
pub fn is_route(route: &str, method: &str, path: &str) -> bool {
    let Some((wanted, route)) = route.split_once(' ') else { return false };
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    wanted == method
        && route.len() == path.len()
        && route.iter().zip(path).all(|(wanted, part)| *wanted == "*" || *wanted == part)
}

/// What a request gets instead of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This.
    Reply {
        /// The status.
        status: u16,
        /// The kind of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Its answer, but so many milliseconds later.
    Late {
        /// How much later.
        ms: u64,
    },
    /// Nothing, for ever.
    Nothing {},
    /// The beginning of an answer and the end of the connection.
    HangUp {},
}

impl Fault {
    /// The page that the real one answers unknown routes with.
    #[must_use]
    pub fn page() -> Self {
        let body = "<!doctype html><html><body>opencode</body></html>".to_owned();
        Self::Reply { status: 200, content_type: "text/html".to_owned(), body }
    }

    /// The answer of a server that fails.
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
    fn a_star_is_any_one_part() {
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
