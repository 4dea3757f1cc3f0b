//! Parses the messages of a request, in the same way for all three protocols.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Protocol;

/// The result of a tool in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// The id of the call; empty for Google, which has none.
    pub call_id: String,
    /// The tool's name, if the request contains the call.
    pub name: Option<String>,
    /// The text of the result; JSON if the result is not a text.
    pub text: String,
}

/// A request's system prompt and messages, borrowed from its body.
#[derive(Debug, Default)]
pub(crate) struct Dialogue<'a> {
    system: Vec<&'a str>,
    entries: Vec<Entry<'a>>,
    /// The ids and names of the tool calls in the request.
    calls: Vec<(&'a str, &'a str)>,
}

#[derive(Debug)]
enum Entry<'a> {
    User(Vec<&'a str>),
    Assistant(Vec<&'a str>),
    Tool(RawResult<'a>),
}

#[derive(Debug)]
struct RawResult<'a> {
    call_id: &'a str,
    name: Option<&'a str>,
    content: &'a Value,
}

impl<'a> Dialogue<'a> {
    pub(crate) fn read(protocol: Protocol, body: &'a Value) -> Self {
        let mut dialogue = Self::default();
        match protocol {
            Protocol::OpenAi => dialogue.read_openai(body),
            Protocol::Anthropic => dialogue.read_anthropic(body),
            Protocol::Google => dialogue.read_google(body),
        }
        dialogue
    }

    fn read_openai(&mut self, body: &'a Value) {
        for message in items(&body["messages"]) {
            let content = &message["content"];
            match message["role"].as_str() {
                Some("system" | "developer") => self.system.extend(texts(content)),
                Some("user") => self.entries.push(Entry::User(texts(content))),
                Some("assistant") => {
                    for call in items(&message["tool_calls"]) {
                        self.call(&call["id"], &call["function"]["name"]);
                    }
                    self.entries.push(Entry::Assistant(texts(content)));
                }
                Some("tool") => self.entries.push(Entry::Tool(RawResult {
                    call_id: message["tool_call_id"].as_str().unwrap_or_default(),
                    name: None,
                    content,
                })),
                _ => {}
            }
        }
    }

    fn read_anthropic(&mut self, body: &'a Value) {
        self.system.extend(texts(&body["system"]));
        for message in items(&body["messages"]) {
            let content = &message["content"];
            if message["role"] == "assistant" {
                for part in items(content).iter().filter(|part| part["type"] == "tool_use") {
                    self.call(&part["id"], &part["name"]);
                }
                self.entries.push(Entry::Assistant(texts(content)));
            } else {
                let results = items(content).iter().filter(|part| part["type"] == "tool_result");
                self.user_message(
                    results.map(|part| RawResult {
                        call_id: part["tool_use_id"].as_str().unwrap_or_default(),
                        name: None,
                        content: &part["content"],
                    }),
                    texts(content),
                );
            }
        }
    }

    fn read_google(&mut self, body: &'a Value) {
        self.system.extend(texts(&body["systemInstruction"]["parts"]));
        for message in items(&body["contents"]) {
            let parts = &message["parts"];
            if message["role"] == "model" {
                self.entries.push(Entry::Assistant(texts(parts)));
            } else {
                let results = items(parts).iter().filter_map(|part| part.get("functionResponse"));
                self.user_message(
                    results.map(|result| RawResult {
                        call_id: result["id"].as_str().unwrap_or_default(),
                        name: result["name"].as_str(),
                        content: &result["response"],
                    }),
                    texts(parts),
                );
            }
        }
    }

    /// Adds a message that may contain tool results, text of the user after them, or both.
    fn user_message(&mut self, results: impl Iterator<Item = RawResult<'a>>, texts: Vec<&'a str>) {
        self.entries.extend(results.map(Entry::Tool));
        if !texts.is_empty() {
            self.entries.push(Entry::User(texts));
        }
    }

    fn call(&mut self, id: &'a Value, name: &'a Value) {
        if let (Some(id), Some(name)) = (id.as_str(), name.as_str()) {
            self.calls.push((id, name));
        }
    }

    pub(crate) fn system_text(&self) -> String {
        self.system.join("\n")
    }

    pub(crate) fn system_contains(&self, text: &str) -> bool {
        self.system_text().contains(text)
    }

    /// Returns the texts of the user, the assistant and the tools, each message on its own lines.
    pub(crate) fn messages_text(&self) -> String {
        let texts: Vec<String> = self
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::User(texts) | Entry::Assistant(texts) => texts.join("\n"),
                Entry::Tool(result) => result.text(),
            })
            .filter(|text| !text.is_empty())
            .collect();
        texts.join("\n")
    }

    /// Returns the last user message, or an empty text.
    pub(crate) fn last_user_text(&self) -> String {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match entry {
                Entry::User(texts) => Some(texts.join("\n")),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Returns the number of user messages.
    pub(crate) fn turn(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::User(_))).count()
    }

    /// Returns the number of tool results after the last user message.
    pub(crate) fn after_tools(&self) -> usize {
        self.entries
            .iter()
            .rev()
            .take_while(|entry| !matches!(entry, Entry::User(_)))
            .filter(|entry| matches!(entry, Entry::Tool(_)))
            .count()
    }

    /// Returns all tool results in order.
    pub(crate) fn tool_results(&self) -> Vec<ToolResult> {
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Tool(result) => Some(ToolResult {
                    call_id: result.call_id.to_owned(),
                    name: self.name_of(result).map(str::to_owned),
                    text: result.text(),
                }),
                _ => None,
            })
            .collect()
    }

    fn name_of(&self, result: &RawResult<'a>) -> Option<&'a str> {
        result.name.or_else(|| {
            let call = self.calls.iter().rev().find(|(id, _)| *id == result.call_id);
            call.map(|(_, name)| *name)
        })
    }
}

impl RawResult<'_> {
    fn text(&self) -> String {
        let texts = texts(self.content);
        if !texts.is_empty() {
            return texts.join("\n");
        }
        match &self.content["content"] {
            Value::String(text) => text.clone(),
            _ if self.content.is_string() => String::new(),
            _ => self.content.to_string(),
        }
    }
}

/// Returns whether a request offers tools.
pub(crate) fn offers_tools(body: &Value) -> bool {
    !items(&body["tools"]).is_empty()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the texts of a content that is a string or a list of parts, without the model's thoughts.
fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) if !text.is_empty() => vec![text],
        Value::Array(parts) => parts
            .iter()
            .filter(|part| part["thought"] != Value::Bool(true))
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the same dialogue in the three protocols: a turn with two tool calls, and the next user message.
    fn bodies() -> [(Protocol, Value); 3] {
        let openai = json!({"messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "first"}]},
            {"role": "assistant", "content": "on it", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "read", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "/tmp"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        ]});
        let anthropic = json!({
            "system": [{"type": "text", "text": "be brief"}],
            "messages": [
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "text", "text": "on it"},
                    {"type": "tool_use", "id": "c1", "name": "bash", "input": {}},
                    {"type": "tool_use", "id": "c2", "name": "read", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "/tmp"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
                ]},
            ],
        });
        let google = json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "first"}]},
                {"role": "model", "parts": [
                    {"text": "hm", "thought": true},
                    {"text": "on it"},
                    {"functionCall": {"name": "bash", "args": {}}},
                    {"functionCall": {"name": "read", "args": {}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "bash", "response": {"name": "bash", "content": "/tmp"}}},
                    {"functionResponse": {"name": "read", "response": {"name": "read", "content": "two"}}},
                ]},
            ],
        });
        [(Protocol::OpenAi, openai), (Protocol::Anthropic, anthropic), (Protocol::Google, google)]
    }

    #[test]
    fn protocols_parse_to_same_dialogue() {
        for (protocol, body) in bodies() {
            let dialogue = Dialogue::read(protocol, &body);
            assert_eq!(dialogue.system_text(), "be brief", "{protocol:?}");
            assert!(dialogue.system_contains("brief"));
            assert_eq!(dialogue.messages_text(), "first\non it\n/tmp\ntwo", "{protocol:?}");
            assert_eq!(dialogue.last_user_text(), "first", "{protocol:?}");
            assert_eq!((dialogue.turn(), dialogue.after_tools()), (1, 2), "{protocol:?}");
            let results = dialogue.tool_results();
            let found: Vec<_> = results.iter().map(|result| (result.name.as_deref(), result.text.as_str())).collect();
            assert_eq!(found, [(Some("bash"), "/tmp"), (Some("read"), "two")], "{protocol:?}");
        }
    }

    #[test]
    fn results_precede_text_in_message() {
        let body = json!({"messages": [
            {"role": "user", "content": "first"},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "done"},
                {"type": "text", "text": "second"},
                {"type": "text", "text": "third"},
            ]},
        ]});
        let dialogue = Dialogue::read(Protocol::Anthropic, &body);
        assert_eq!(dialogue.last_user_text(), "second\nthird");
        assert_eq!((dialogue.turn(), dialogue.after_tools()), (2, 0));
        assert_eq!(dialogue.tool_results().len(), 1);
    }

    #[test]
    fn invalid_body_is_empty_dialogue() {
        for body in [Value::Null, json!("x"), json!({"messages": {"a": 1}}), json!([1])] {
            for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Google] {
                let dialogue = Dialogue::read(protocol, &body);
                assert_eq!(dialogue.last_user_text(), "");
                assert_eq!((dialogue.turn(), dialogue.after_tools()), (0, 0));
                assert!(!offers_tools(&body));
            }
        }
    }
}
