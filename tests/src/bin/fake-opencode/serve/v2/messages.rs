//! Builds the messages of a session from its events, like the real server.

use super::super::state::{Server, Session};
use serde_json::{Value, json};
use std::path::PathBuf;

impl Server {
    /// Applies an event to its session, and sends it to all streams unless it is lost. Not for async code.
    pub(crate) fn publish(&self, text: &str, is_lost: bool) {
        if let Ok(event) = serde_json::from_str::<Value>(text) {
            self.apply(&event);
        }
        if !is_lost {
            self.streams.event(text);
        }
    }

    fn apply(&self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let data = &event["data"];
        match kind {
            "session.created" if data["parentID"].is_string() => {
                let directory = PathBuf::from(data["location"]["directory"].as_str().unwrap_or_default());
                let id = data["sessionID"].as_str().unwrap_or_default().to_owned();
                let parent = data["parentID"].as_str().map(str::to_owned);
                self.sessions().entry(id).or_insert_with(|| Session { directory, parent, ..Session::default() });
            }
            "permission.asked" => self.add_ask(data["id"].as_str().unwrap_or_default(), data.clone()),
            "form.created" => {
                self.add_ask(data["form"]["id"].as_str().unwrap_or_default(), data["form"].clone());
            }
            _ => {}
        }
        let session = data["sessionID"].as_str().unwrap_or_default();
        self.with_session(session, |session| {
            match kind {
                "session.execution.started" => session.busy = true,
                "session.execution.succeeded" | "session.execution.failed" | "session.execution.interrupted" => {
                    session.busy = false;
                }
                _ => {}
            }
            add(&mut session.messages, event);
        });
    }
}

/// Applies an event to the messages of its session, the oldest first.
fn add(messages: &mut Vec<Value>, event: &Value) {
    let data = &event["data"];
    let own_id = || event["id"].as_str().unwrap_or("evt_0").replace("evt_", "msg_");
    let kind = event["type"].as_str().unwrap_or_default();
    let Some(kind) = kind.strip_prefix("session.") else { return };
    if let Some(outcome) = kind.strip_prefix("execution.").filter(|outcome| *outcome != "started") {
        // A rejection without a message leaves no trace.
        if data["reason"] != "shutdown" {
            messages.push(json!({"id": own_id(), "type": "idle", "outcome": outcome}));
        }
        return;
    }
    match kind {
        "inbox.delivered" => {
            let time = json!({"created": event["created"]});
            messages.push(json!({"id": data["inboxID"], "type": "user", "time": time}));
        }
        "synthetic" => messages.push(json!({"id": own_id(), "type": "synthetic", "text": data["text"]})),
        "compaction.started" => messages.push(json!({"id": own_id(), "type": "compaction"})),
        "compaction.ended" => {
            if let Some(message) = messages.iter_mut().rev().find(|message| message["type"] == "compaction") {
                message["tokens"] = data["tokens"].clone();
            }
        }
        "step.started" => {
            // A retried step begins again.
            messages.retain(|message| message["id"] != data["assistantMessageID"]);
            let time = json!({"created": event["created"]});
            messages.push(json!({"id": data["assistantMessageID"], "type": "assistant", "content": [], "time": time}));
        }
        _ => {
            let message = messages.iter_mut().rev().find(|message| message["id"] == data["assistantMessageID"]);
            if let Some(message) = message {
                change(message, kind, data);
            }
        }
    }
}

/// Applies an event to the answer that it belongs to.
fn change(message: &mut Value, kind: &str, data: &Value) {
    match kind {
        "step.ended" | "step.failed" => {
            message["time"]["completed"] = json!(1);
            message["finish"] = data.get("finish").cloned().unwrap_or_else(|| json!("error"));
            for key in ["cost", "tokens", "error"] {
                if let Some(value) = data.get(key) {
                    message[key] = value.clone();
                }
            }
        }
        _ => {
            if let Some(content) = message["content"].as_array_mut() {
                change_content(content, kind, data);
            }
        }
    }
}

fn change_content(content: &mut Vec<Value>, kind: &str, data: &Value) {
    let Some((what, phase)) = kind.split_once('.') else { return };
    if what == "tool" {
        if phase == "input.started" {
            let state = json!({"status": "streaming"});
            content.push(json!({"type": "tool", "id": data["id"], "name": data["name"], "state": state}));
        }
        let Some(tool) = content.iter_mut().find(|part| part["id"] == data["id"]) else { return };
        let state = &mut tool["state"];
        match phase {
            "called" => *state = json!({"status": "running", "input": data["input"]}),
            "success" => (state["status"], state["content"]) = (json!("completed"), data["content"].clone()),
            "failed" => (state["status"], state["error"]) = (json!("error"), data["error"].clone()),
            _ => {}
        }
        return;
    }
    if !["text", "reasoning"].contains(&what) {
        return;
    }
    if phase == "started" {
        content.push(json!({"type": what, "text": ""}));
    }
    let ordinal = usize::try_from(data["ordinal"].as_u64().unwrap_or_default()).unwrap_or_default();
    let Some(part) = content.iter_mut().filter(|part| part["type"] == what).nth(ordinal) else { return };
    match phase {
        "delta" => {
            let text = part["text"].as_str().unwrap_or_default().to_owned();
            part["text"] = json!(text + data["delta"].as_str().unwrap_or_default());
        }
        "ended" => part["text"] = data["text"].clone(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_tests::serve_recording::{Entry, ServeRecording, serve_recordings_dir};

    /// Returns the parts of messages that a client needs.
    fn essence(messages: &[Value]) -> Vec<Value> {
        let part = |part: &Value| {
            let state = &part["state"];
            json!([
                part["type"],
                part["text"],
                part["id"],
                part["name"],
                state["status"],
                state["input"],
                state["content"]
            ])
        };
        let message = |message: &Value| {
            let content: Vec<Value> = message["content"].as_array().into_iter().flatten().map(part).collect();
            // A prompt of opencode itself, such as the end of a background command, is synthetic there.
            let kind = message["type"].as_str().map(|kind| kind.replace("synthetic", "user"));
            json!([message["id"], kind, message["outcome"], content, message["finish"], message["tokens"]])
        };
        messages.iter().map(message).collect()
    }

    #[test]
    fn messages_are_those_of_the_real_server() {
        let directory = serve_recordings_dir().join("../v2");
        for file in std::fs::read_dir(directory).unwrap() {
            let file = file.unwrap().path();
            let recording = ServeRecording::read(&file).unwrap();
            let session = recording.turn(0).unwrap().session().to_owned();
            let mut built = Vec::new();
            for entry in &recording.entries {
                if let Entry::Event(event) = entry {
                    let event: Value = serde_json::from_str(event).unwrap();
                    if event["data"]["sessionID"] == session.as_str() {
                        add(&mut built, &event);
                    }
                }
            }
            let path = format!("/api/session/{session}/message");
            let list = recording.entries.iter().find_map(|entry| match entry {
                Entry::Request(request) if request.path == path => Some(request.n),
                _ => None,
            });
            let answer = recording.entries.iter().find_map(|entry| match entry {
                Entry::Response(response) if Some(response.n) == list => Some(response.text()),
                _ => None,
            });
            let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
            let mut real = answer["data"].as_array().unwrap().clone();
            real.reverse();
            assert_eq!(essence(&built), essence(&real), "{}", file.display());
        }
    }
}
