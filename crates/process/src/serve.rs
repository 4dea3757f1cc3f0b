//! Warm opencode servers: one server runs many turns.

pub(crate) mod directories;
pub(crate) mod dispatcher;
mod eviction;
pub(crate) mod extension_watch;
pub(crate) mod kill_batches;
pub(crate) mod lease;
pub(crate) mod mailbox;
mod memory_limit;
mod models;
mod pace;
pub(crate) mod pool;
pub(crate) mod process;
mod refusal;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod start_error;
pub(crate) mod turn;
pub(crate) mod unconfirmed_interrupt;
