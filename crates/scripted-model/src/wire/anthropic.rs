//! Anthropic's messages API.

use serde_json::{Value, json};

use super::{
    errors::error_body,
    frame::{Head, Piece, Wire},
};
use crate::{Finish, Protocol, ToolCall};

/// One message; its content is a list of blocks, of which at most one is open.
#[derive(Debug)]
pub(crate) struct AnthropicWire {
    head: Head,
    open: Option<Block>,
    next_index: usize,
}

/// The kind of an open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
}

impl AnthropicWire {
    pub(crate) fn new(head: Head) -> Self {
        Self { head, open: None, next_index: 0 }
    }

    fn message(&self) -> Value {
        let usage = self.head.usage.unwrap_or_default();
        json!({
            "id": format!("msg_{}", self.head.number),
            "type": "message",
            "role": "assistant",
            "model": self.head.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": usage.input,
                "cache_creation_input_tokens": usage.cache_write,
                "cache_read_input_tokens": usage.cache_read,
                "output_tokens": 0,
            },
        })
    }

    fn output_tokens(&self) -> u64 {
        let usage = self.head.usage.unwrap_or_default();
        usage.output + usage.reasoning
    }

    fn tool_id(&self, index: usize) -> String {
        format!("toolu_{}_{index}", self.head.number)
    }

    /// Begins a block; the previous one must be closed.
    fn start(&mut self, content: &Value) -> String {
        let index = self.next_index;
        self.next_index += 1;
        event("content_block_start", &json!({"index": index, "content_block": content}))
    }

    fn delta(&self, delta: &Value) -> String {
        event("content_block_delta", &json!({"index": self.next_index - 1, "delta": delta}))
    }

    fn stop(&self) -> String {
        event("content_block_stop", &json!({"index": self.next_index - 1}))
    }

    /// Makes a block of this kind the open one, closing another kind first.
    fn switch_to(&mut self, block: Block) -> String {
        if self.open == Some(block) {
            return String::new();
        }
        let mut frames = self.close_block();
        frames.push_str(&self.start(&match block {
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
        }));
        self.open = Some(block);
        frames
    }

    /// Closes the open block, if there is one; a thinking block ends with a signature.
    fn close_block(&mut self) -> String {
        match self.open.take() {
            None => String::new(),
            Some(Block::Text) => self.stop(),
            Some(Block::Thinking) => {
                self.delta(&json!({"type": "signature_delta", "signature": SIGNATURE})) + &self.stop()
            }
        }
    }
}

impl Wire for AnthropicWire {
    fn open(&mut self) -> String {
        event("message_start", &json!({"message": self.message()}))
    }

    fn text(&mut self, text: &str) -> String {
        self.switch_to(Block::Text) + &self.delta(&json!({"type": "text_delta", "text": text}))
    }

    fn reasoning(&mut self, text: &str) -> String {
        self.switch_to(Block::Thinking) + &self.delta(&json!({"type": "thinking_delta", "thinking": text}))
    }

    fn tool_call(&mut self, call: &ToolCall) -> String {
        let mut frames = self.close_block();
        let id = self.tool_id(self.next_index);
        frames.push_str(&self.start(&json!({"type": "tool_use", "id": id, "name": call.name, "input": {}})));
        let arguments = call.arguments.to_string();
        frames.push_str(&self.delta(&json!({"type": "input_json_delta", "partial_json": arguments})));
        frames + &self.stop()
    }

    fn fail(&mut self, message: &str) -> String {
        event("error", &error_body(Protocol::Anthropic, 500, message))
    }

    fn close(&mut self, finish: Finish) -> String {
        let delta = json!({"stop_reason": stop_reason(finish), "stop_sequence": null});
        let usage = json!({"output_tokens": self.output_tokens()});
        self.close_block()
            + &event("message_delta", &json!({"delta": delta, "usage": usage}))
            + &event("message_stop", &json!({}))
    }

    fn whole(&mut self, pieces: &[Piece<'_>], finish: Finish) -> Value {
        let blocks = pieces.iter().enumerate().map(|(index, piece)| match piece {
            Piece::Text(text) => json!({"type": "text", "text": text}),
            Piece::Reasoning(text) => {
                json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
            }
            Piece::ToolCall(call) => json!({
                "type": "tool_use",
                "id": self.tool_id(index),
                "name": call.name,
                "input": call.arguments,
            }),
        });
        let mut message = self.message();
        message["content"] = blocks.collect();
        message["stop_reason"] = json!(stop_reason(finish));
        message["usage"]["output_tokens"] = json!(self.output_tokens());
        message
    }
}

/// The signature of thinking blocks. Clients send it back, but this server does not check it.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

/// Returns an event; its data carries the event's name as `type`.
fn event(name: &str, data: &Value) -> String {
    let mut data = data.clone();
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::ToolCalls => "tool_use",
        Finish::Length => "max_tokens",
        Finish::ContentFilter => "refusal",
    }
}
