//! The command `opencode-run`: arguments, terminal, signals, exit codes.
//!
//! Not an interface: it exists so that the end-to-end suites can build the command as a binary of their own
//! package. To use opencode from Rust, depend on `opencode-runner`.

mod advice;
mod allowed;
mod args;
mod asking;
mod attachments;
mod closed_streams;
mod commands;
mod console;
mod error;
mod exit_code;
mod found_file;
mod input_file;
mod keyboard;
mod live;
mod log;
mod message;
mod messages;
mod mistyped;
mod models;
mod monitor;
mod nonblocking;
mod open_files;
mod output;
mod package_name;
mod question;
mod rich;
mod screen;
mod short_text;
mod signals;
mod stderr;
mod stderr_room;
mod styled;
mod surroundings;
mod terminal_modes;
mod turn;
mod turn_options;
mod turn_session;
mod warnings;
mod word_wrap;

pub use commands::main;
