//! Google's generative language API.

use serde_json::{Value, json};

use super::{
    errors::error_body,
    frame::{Head, Piece, Wire},
};
use crate::{Finish, Protocol, ToolCall, Usage};

/// One response; as a stream it is a list of responses, each with a piece of the content.
#[derive(Debug)]
pub(crate) struct GoogleWire {
    head: Head,
}

impl GoogleWire {
    pub(crate) fn new(head: Head) -> Self {
        Self { head }
    }

    fn response(&self, parts: &[Value], finish: Option<Finish>) -> Value {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish_reason(finish));
        }
        let mut response = json!({
            "candidates": [candidate],
            "modelVersion": self.head.model,
            "responseId": format!("response-{}", self.head.number),
        });
        if let (Some(usage), Some(_)) = (self.head.usage, finish) {
            response["usageMetadata"] = usage_json(usage);
        }
        response
    }

    fn part(&self, part: Value) -> String {
        event(&self.response(&[part], None))
    }
}

impl Wire for GoogleWire {
    fn open(&mut self) -> String {
        self.part(json!({"text": ""}))
    }

    fn text(&mut self, text: &str) -> String {
        self.part(json!({"text": text}))
    }

    fn reasoning(&mut self, text: &str) -> String {
        self.part(json!({"text": text, "thought": true}))
    }

    fn tool_call(&mut self, call: &ToolCall) -> String {
        self.part(json!({"functionCall": {"name": call.name, "args": call.arguments}}))
    }

    fn fail(&mut self, message: &str) -> String {
        event(&error_body(Protocol::Google, 500, message))
    }

    fn close(&mut self, finish: Finish) -> String {
        event(&self.response(&[json!({"text": ""})], Some(finish)))
    }

    fn whole(&mut self, pieces: &[Piece<'_>], finish: Finish) -> Value {
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => json!({"text": text}),
            Piece::Reasoning(text) => json!({"text": text, "thought": true}),
            Piece::ToolCall(call) => {
                json!({"functionCall": {"name": call.name, "args": call.arguments}})
            }
        });
        self.response(&parts.collect::<Vec<_>>(), Some(finish))
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

/// Returns the finish reason; Google has none for tool calls and uses stop.
fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
    }
}

fn usage_json(usage: Usage) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    json!({
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": prompt + usage.output + usage.reasoning,
    })
}
