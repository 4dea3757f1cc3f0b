//! OpenAI's chat completions API.

use serde_json::{Value, json};

use super::{
    errors::error_body,
    frame::{Head, Piece, Wire},
};
use crate::{Finish, Protocol, ToolCall, Usage};

/// One chat completion.
#[derive(Debug)]
pub(crate) struct OpenAiWire {
    head: Head,
    calls: usize,
}

impl OpenAiWire {
    pub(crate) fn new(head: Head) -> Self {
        Self { head, calls: 0 }
    }

    fn object(&self, kind: &str) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.head.number),
            "object": kind,
            "created": self.head.created,
            "model": self.head.model,
        })
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> String {
        let mut chunk = self.object("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        event(&chunk)
    }

    /// Returns the index of the next call and its id.
    fn next_call(&mut self) -> (usize, String) {
        let index = self.calls;
        self.calls += 1;
        (index, format!("call_{}_{index}", self.head.number))
    }
}

impl Wire for OpenAiWire {
    fn open(&mut self) -> String {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    fn text(&mut self, text: &str) -> String {
        self.chunk(&json!({"content": text}), None)
    }

    fn reasoning(&mut self, text: &str) -> String {
        self.chunk(&json!({"reasoning_content": text}), None)
    }

    fn tool_call(&mut self, call: &ToolCall) -> String {
        let (index, id) = self.next_call();
        let function = json!({"name": call.name, "arguments": ""});
        let begin = json!({"index": index, "id": id, "type": "function", "function": function});
        let arguments = json!({"index": index, "function": {"arguments": call.arguments.to_string()}});
        self.chunk(&json!({"tool_calls": [begin]}), None) + &self.chunk(&json!({"tool_calls": [arguments]}), None)
    }

    fn fail(&mut self, message: &str) -> String {
        event(&error_body(Protocol::OpenAi, 500, message)) + DONE
    }

    fn close(&mut self, finish: Finish) -> String {
        let mut frames = self.chunk(&json!({}), Some(finish_reason(finish)));
        if let Some(usage) = self.head.usage {
            let mut chunk = self.object("chat.completion.chunk");
            chunk["choices"] = json!([]);
            chunk["usage"] = usage_json(usage);
            frames.push_str(&event(&chunk));
        }
        frames + DONE
    }

    fn whole(&mut self, pieces: &[Piece<'_>], finish: Finish) -> Value {
        let mut content = String::new();
        let mut reasoning = String::new();
        let mut calls = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => content.push_str(text),
                Piece::Reasoning(text) => reasoning.push_str(text),
                Piece::ToolCall(call) => {
                    let (_, id) = self.next_call();
                    let arguments = call.arguments.to_string();
                    let function = json!({"name": call.name, "arguments": arguments});
                    calls.push(json!({"id": id, "type": "function", "function": function}));
                }
            }
        }
        let mut message = json!({"role": "assistant", "content": content});
        if !reasoning.is_empty() {
            message["reasoning_content"] = Value::String(reasoning);
        }
        if !calls.is_empty() {
            message["tool_calls"] = Value::Array(calls);
        }
        let mut answer = self.object("chat.completion");
        answer["choices"] = json!([
            {"index": 0, "message": message, "finish_reason": finish_reason(finish)}
        ]);
        if let Some(usage) = self.head.usage {
            answer["usage"] = usage_json(usage);
        }
        answer
    }
}

const DONE: &str = "data: [DONE]\n\n";

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length => "length",
        Finish::ContentFilter => "content_filter",
    }
}

fn usage_json(usage: Usage) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    let completion = usage.output + usage.reasoning;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}
