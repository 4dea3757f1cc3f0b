//! opencode 1.

pub(crate) mod api;
pub(crate) mod arguments;
pub(crate) mod client;
pub(crate) mod compaction;
pub(crate) mod config_errors;
pub(crate) mod configuration;
pub(crate) mod ending;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod extensions;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod mcp_settings;
pub(crate) mod parts;
pub(crate) mod project;
#[cfg(test)]
mod recording;
pub(crate) mod refusals;
pub(crate) mod run;
pub(crate) mod session_model;
pub(crate) mod stderr;
pub(crate) mod stream;
pub(crate) mod turn;
pub(crate) mod undo;
