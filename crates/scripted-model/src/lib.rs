//! A model server on loopback that answers from a script.
//!
//! It replaces a model provider: a demonstration runs on it without an account or a network, a test gets exactly
//! the answer, the delay or the failure that it needs, and a benchmark measures everything except the model. It
//! implements the three protocols that opencode's provider packages use, streaming and not:
//!
//! | protocol | base URL | requests |
//! | --- | --- | --- |
//! | OpenAI-compatible | [`ScriptedModel::base_url`] | `POST /chat/completions`, `GET /models` |
//! | Anthropic | [`ScriptedModel::base_url`] | `POST /messages`, `GET /models` |
//! | Google | [`ScriptedModel::google_base_url`] | `POST /models/NAME:generateContent`, `…:streamGenerateContent`, `GET /models` |
//!
//! # How it works
//!
//! A [`Script`] is an ordered list of [`Rule`]s. Each request gets the [`Reply`] of the first rule whose conditions
//! ([`When`]) are met and whose use limit is not reached. Otherwise a built-in reply is sent: "You said: …" if the
//! request offers tools, otherwise a short title. The reply is converted into the frames of the request's protocol
//! before the first byte is sent, and then only played: no lock is held while an answer streams, and delays occur
//! only if the script contains them.
//!
//! The server has its own thread and clock: it answers while the caller blocks, and a paused clock in a test does
//! not stop it. Every request is recorded, and [`RecordedRequest`] parses it in the same way for every protocol.
//!
//! # Example
//!
//! ```
//! use opencode_run_scripted_model::{Answer, Part, Script, ScriptedModel, Usage, When};
//! use serde_json::json;
//!
//! let script = Script::new()
//!     .rule(
//!         When::agent()
//!             .said("where are we")
//!             .after_tools(0)
//!             .reply(Part::tool_call("bash", json!({"command": "pwd", "description": "Print the folder"}))),
//!     )
//!     .rule(
//!         When::agent()
//!             .after_tools(1)
//!             .reply(Answer::text("We are here.").usage(Usage::new(120, 8))),
//!     );
//!
//! let model = ScriptedModel::start(script)?;
//! assert!(model.base_url().starts_with("http://127.0.0.1:"));
//! assert!(model.requests().is_empty());
//! # Ok::<(), opencode_run_scripted_model::ModelStartError>(())
//! ```
//!
//! The same script as a file, for [`Script::from_json`] and for the `scripted-model` command:
//!
//! ```json
//! {
//!   "rules": [
//!     {
//!       "when": {"tools": true, "last_user_contains": "where are we", "after_tools": 0},
//!       "reply": {"type": "answer", "parts": [
//!         {"type": "tool_call", "name": "bash", "arguments": {"command": "pwd", "description": "Print the folder"}}
//!       ]}
//!     },
//!     {
//!       "when": {"tools": true, "after_tools": 1},
//!       "reply": {
//!         "type": "answer",
//!         "parts": [{"type": "text", "text": "We are here."}],
//!         "usage": {"input": 120, "output": 8}
//!       }
//!     }
//!   ]
//! }
//! ```
//!
//! A rule without `tools` also answers opencode's title requests, which then count towards its `times` limit. Start
//! from [`When::agent`] to exclude them.

mod dialogue;
mod endpoint;
mod error_reply;
mod handler;
mod ledger;
mod log;
mod millis;
mod part;
mod placeholders;
mod playback;
mod recorded;
mod reply;
mod rulebook;
mod script;
mod server;
mod wire;

pub use dialogue::ToolResult;
pub use endpoint::Protocol;
pub use error_reply::ErrorReply;
pub use ledger::DEFAULT_KEPT_REQUESTS;
pub use part::{Part, ToolCall, Words};
pub use recorded::RecordedRequest;
pub use reply::{Answer, Finish, Reply, Usage};
pub use script::{Rule, Script, ScriptError, When};
pub use server::{ModelStartError, Options, ScriptedModel, WaitError};
