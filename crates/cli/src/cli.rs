//! The command: arguments, terminal, signals, exit codes. Nothing here is a part of the library's interface.

mod allowed;
mod args;
mod asking;
mod commands;
mod console;
mod error;
mod exit_code;
mod found_file;
mod input_file;
mod keyboard;
mod log;
mod message;
mod models;
mod monitor;
mod nonblocking;
mod output;
mod question;
mod signals;
mod stderr;
mod turn;
mod turn_options;
mod watch;

pub use commands::main;
