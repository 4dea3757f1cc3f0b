//! The state of a server: its sessions, its received requests, and its faults.

use super::streams::Streams;
use crate::invocation::Invocation;
use opencode_run_tests::script::STALL_LIMIT_S;
use opencode_run_tests::serve_recording::ServeRecording;
use opencode_run_tests::serve_script::{Fault, Serving, TurnAct, is_route};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The state of the fake server, shared by its connections and turns.
pub(crate) struct Server {
    pub(crate) invocation: Arc<Invocation>,
    pub(crate) serving: Serving,
    pub(crate) streams: Streams,
    sessions: Mutex<BTreeMap<String, Session>>,
    /// The received requests, as method and path.
    asked: Mutex<Vec<(String, String)>>,
    more: Condvar,
    /// The number of requests that each fault has matched.
    fitted: Mutex<Vec<usize>>,
    recordings: Mutex<HashMap<String, Arc<ServeRecording>>>,
    count: AtomicUsize,
    /// The pending permission requests and questions: their events, by id.
    asks: Mutex<BTreeMap<String, Value>>,
}

/// A session of the fake server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) directory: PathBuf,
    pub(crate) title: String,
    pub(crate) messages: Vec<Value>,
    pub(crate) children: Vec<String>,
    pub(crate) turns: usize,
    pub(crate) busy: bool,
    /// The session that started it as a sub-agent; for opencode 2.
    pub(crate) parent: Option<String>,
    /// Its model; for opencode 2.
    pub(crate) model: Value,
    /// The number of the last interrupted turn, from 1; for opencode 2.
    pub(crate) interrupted: usize,
    /// Whether the turn replays its own interruption; for opencode 2.
    pub(crate) replays_interrupt: bool,
    /// The received prompts, by id; for opencode 2.
    pub(crate) prompts: BTreeMap<String, Value>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(invocation: Arc<Invocation>, serving: Serving) -> Self {
        let fitted = Mutex::new(vec![0; serving.faults.len()]);
        Self {
            invocation,
            serving,
            streams: Streams::default(),
            sessions: Mutex::default(),
            asked: Mutex::default(),
            more: Condvar::new(),
            fitted,
            recordings: Mutex::default(),
            count: AtomicUsize::new(0),
            asks: Mutex::default(),
        }
    }

    /// Returns a unique number.
    pub(crate) fn number(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        lock(&self.sessions)
    }

    /// Changes a session, if it exists.
    pub(crate) fn with_session<T>(&self, session: &str, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.sessions().get_mut(session).map(change)
    }

    /// Records a request. Returns its fault, if it has one.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Option<Fault> {
        lock(&self.asked).push((method.to_owned(), path.to_owned()));
        self.more.notify_all();
        let mut fitted = lock(&self.fitted);
        for (fault, fitted) in self.serving.faults.iter().zip(fitted.iter_mut()) {
            if !is_route(&fault.route, method, path) {
                continue;
            }
            *fitted += 1;
            let nth = *fitted - 1;
            if nth >= fault.after && fault.times.is_none_or(|times| nth < fault.after + times) {
                return Some(fault.answer.clone());
            }
        }
        None
    }

    /// Returns the number of received requests.
    pub(crate) fn asked_so_far(&self) -> usize {
        lock(&self.asked).len()
    }

    /// Waits for a request to this path that was not among the first `since`.
    pub(crate) fn wait_for(&self, method: &str, path: &str, since: usize) -> Result<(), String> {
        let is_there = |asked: &Vec<(String, String)>| asked.iter().skip(since).any(|(m, p)| m == method && p == path);
        let limit = Duration::from_secs(STALL_LIMIT_S);
        let waited = self.more.wait_timeout_while(lock(&self.asked), limit, |asked| !is_there(asked));
        let (asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_there(&asked) { Ok(()) } else { Err(format!("wait any longer for {method} {path}")) }
    }

    /// Records the permission request or question in an event, if it contains one.
    pub(crate) fn note_ask(&self, data: &str) {
        if !data.contains("\"permission.asked\"") && !data.contains("\"question.asked\"") {
            return;
        }
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        let properties = &event["payload"]["properties"];
        if let Some(id) = properties["id"].as_str() {
            lock(&self.asks).insert(id.to_owned(), properties.clone());
        }
    }

    /// Records a pending permission request or form.
    pub(crate) fn add_ask(&self, id: &str, ask: Value) {
        lock(&self.asks).insert(id.to_owned(), ask);
    }

    /// Records that a permission request or question was answered.
    pub(crate) fn answer_ask(&self, id: &str) {
        lock(&self.asks).remove(id);
    }

    /// Returns the pending permission requests or questions whose id has this prefix.
    pub(crate) fn asks(&self, kind: &str) -> Value {
        lock(&self.asks).iter().filter(|(id, _)| id.starts_with(kind)).map(|(_, ask)| ask.clone()).collect()
    }

    /// Returns the acts for a message that is a session's n-th.
    pub(crate) fn acts(&self, message: &str, turn: usize) -> Vec<TurnAct> {
        let fits = self.serving.turns.iter().find(|rule| {
            rule.turn.is_none_or(|wanted| wanted == turn)
                && rule.said.as_ref().is_none_or(|said| message.contains(said))
        });
        fits.map(|rule| rule.acts.clone()).unwrap_or_default()
    }

    /// Reads a recording, with a cache.
    pub(crate) fn recording(&self, name: &str) -> io::Result<Arc<ServeRecording>> {
        if let Some(recording) = lock(&self.recordings).get(name) {
            return Ok(Arc::clone(recording));
        }
        let recording = Arc::new(ServeRecording::named(name)?);
        lock(&self.recordings).insert(name.to_owned(), Arc::clone(&recording));
        Ok(recording)
    }
}

/// Returns a text escaped for a JSON string.
pub(crate) fn in_json(path: &Path) -> String {
    Value::from(path.to_string_lossy().into_owned()).to_string().trim_matches('"').to_owned()
}
