//! A program that embeds the library, for tests that end it during a turn.
//!
//! `LINE=first|within|none embedding-program TRANSPORT OPENCODE END`: `LINE` is where `supervisor::init` is called,
//! passed as a variable because a supervisor inherits it, and `END` is how the program ends once its directory has a
//! file `end`. A variable `MODEL` chooses the model.

use opencode_runner::{Runner, Transport, supervisor};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// The exit code of a program that calls `exit`.
const EXIT: i32 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::var("LINE")?.as_str() {
        "none" => run(),
        "first" => {
            supervisor::init();
            run()
        }
        _ => init_and_run(),
    }
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    turn().await
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn init_and_run() -> Result<(), Box<dyn Error>> {
    supervisor::init();
    turn().await
}

#[expect(clippy::exit, clippy::panic, reason = "these are among the ways in which a program ends")]
async fn turn() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, transport, opencode, end] = arguments.as_slice() else { return Err("three arguments are needed".into()) };
    let transport = if transport == "run" { Transport::Run } else { Transport::Serve };
    let mut builder = Runner::builder().transport(transport).opencode(opencode);
    if let Ok(model) = std::env::var("MODEL") {
        builder = builder.model(model.as_str());
    }
    let runner = builder.build().await?;
    runner.start("hello").await?;
    while !Path::new("end").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    match end.as_str() {
        "exit" => std::process::exit(EXIT),
        "abort" => std::process::abort(),
        "panic" => panic!("on purpose"),
        // The test ends it.
        _ => std::future::pending().await,
    }
}
