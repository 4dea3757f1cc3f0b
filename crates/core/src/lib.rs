//! The model of a turn of the opencode agent: the events, the state machine of a turn, the conversation, and the
//! [`Executor`] trait, which other crates implement to run turns.
//!
//! # How it works
//!
//! ```text
//! Prompt ──► Executor::start ──► Signal… ──► TurnMachine (state machine) ──► Conversation
//!                ▲                  │
//!                └──── Control ◄────┘    interrupt · kill
//! ```
//!
//! [`TurnMachine`] is a plain synchronous value: [`TurnMachine::apply`] takes an input and returns the resulting
//! changes. It holds no lock, no channel and no clock, so every order of events can be tested without a process.
//! [`TurnRunner`] is the async shell around it: it feeds signals in, acts on the changes, enforces the limits, and
//! serves any number of readers.
//!
//! The crate does no I/O. Time is passed in as an argument or taken from tokio's clock.
//!
//! # Example
//!
//! An executor that answers from memory, and a turn on it:
//!
//! ```
//! use opencode_run_core::{
//!     Ending, Event, Executor, Observed, PartId, Prompt, RunState, Signal, StartError, StartedTurn, StepReason,
//!     Task, TurnRequest, TurnRunner, Usage,
//! };
//! use std::{sync::Arc, time::SystemTime};
//!
//! struct Parrot;
//!
//! #[async_trait::async_trait]
//! impl Executor for Parrot {
//!     async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
//!         let (turn, driver) = StartedTurn::channel(8);
//!         tokio::spawn(async move {
//!             let text = Event::Text { part: PartId::new("p1"), text: request.prompt.message };
//!             let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
//!             for event in [Event::StepStart, text, stop] {
//!                 driver.signals.send(Observed::new(event).into()).await.ok();
//!             }
//!             driver.signals.send(Signal::Ended(Ending::Finished)).await.ok();
//!         });
//!         Ok(turn)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runner = TurnRunner::new(Arc::new(Parrot), Task::new("parrot", "/tmp/parrot"));
//! let turn = runner.run(Prompt::new("hello"), SystemTime::UNIX_EPOCH).await?;
//! assert_eq!(turn.state, RunState::Completed);
//! assert_eq!(turn.output(), "hello");
//! # Ok(())
//! # }
//! ```

mod conversation;
mod entry;
mod error_chain;
mod event;
mod event_log;
mod executor;
mod failure;
mod limits;
mod model;
mod options;
mod output_view;
mod permission;
mod prompt;
mod recorder;
mod redact;
mod remedy;
mod state;
mod task;
mod tool;
mod traffic;
mod turn;
mod turn_error;
mod turn_event;
mod turn_runner;
mod turn_start;
mod turn_warnings;
mod usage;
mod user_request;
mod warning;

#[cfg(feature = "mock")]
pub mod mock;

pub use conversation::{Conversation, Dropped, TurnRecord};
pub use entry::{Entry, EntryContent};
pub use error_chain::ErrorChain;
pub use event::{Event, PartId, RawJson, ReportedError, SessionId, StepReason};
pub use event_log::{EventItem, Events};
pub use executor::{Control, Ending, Executor, Signal, StartError, StartedTurn, TurnDriver, TurnRequest};
pub use failure::{FailureKind, LimitKind, ProcessExit, TurnFailure};
pub use limits::{Limit, Limits};
pub use model::{
    InputType, ModelChoice, ModelConfig, ModelName, ModelNameError, ModelParameter, ModelProblem, ModelSourceType,
    ProviderPackage, RESERVED_HEADERS, UnknownInputType, UnknownSourceType,
};
pub use options::TurnOptions;
pub use output_view::OutputView;
pub use permission::{PermissionAnswer, PermissionHandler, PermissionPolicy};
pub use prompt::Prompt;
pub use recorder::Recorder;
pub use redact::{MIN_SECRET_BYTES, Redactor, RedactorStream};
pub use remedy::Remedy;
pub use state::RunState;
pub use task::Task;
pub use tool::{ToolCall, ToolState};
pub use traffic::{Budget, ModelTraffic};
pub use turn::{Changes, Input, MAX_ENTRIES, MAX_TOOL_TIMEOUT, MAX_UNKNOWN_STEPS, TOOL_TIMEOUT, TurnMachine};
pub use turn_error::TurnError;
pub use turn_event::{Observed, TurnEvent};
pub use turn_runner::{RunError, StillRunning, TurnHandle, TurnRunner};
pub use turn_start::TurnStart;
pub use usage::Usage;
pub use user_request::{PermissionRequest, QuestionRequest};
pub use warning::{Warning, WarningCode};

/// The secret string type that a [`ModelConfig`] holds its key in, re-exported so that callers need not depend on it.
pub use secrecy::{ExposeSecret, SecretString};
