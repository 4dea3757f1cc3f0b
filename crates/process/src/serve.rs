//! A warm opencode: one server, many turns.

pub(crate) mod beginning;
pub(crate) mod hub;
pub(crate) mod lane;
pub(crate) mod lease;
mod models;
pub(crate) mod places;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod start_error;
pub(crate) mod sweeps;
pub(crate) mod turn;
