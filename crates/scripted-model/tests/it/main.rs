//! The server over real HTTP on loopback.

mod client;
#[cfg(feature = "cli")]
mod command;
mod failures;
mod http;
