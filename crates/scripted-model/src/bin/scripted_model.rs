//! The `scripted-model` command: runs a scripted model server until the process is ended.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use opencode_run_scripted_model::{Options, Script, ScriptedModel};

/// Serve a model that answers from a script, on 127.0.0.1, until the process is ended.
///
/// Prints "listening on http://127.0.0.1:PORT/v1" when it is ready. OpenAI-compatible and Anthropic clients use
/// that base URL, Google clients the same with /v1beta.
#[derive(Debug, Parser)]
#[command(name = "scripted-model", version)]
struct Args {
    /// The script, a JSON file; without it every request gets a built-in answer
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Append each request to this file as a line of JSON, the client's key included
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let script = match args.script {
        Some(path) => {
            let json = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
            Script::from_json(&json)?
        }
        None => Script::new(),
    };
    let mut options = Options::default().port(args.port).kept_requests(0);
    options.log = args.log;
    let model = ScriptedModel::start_with(script, &options)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {}", model.base_url())?;
    stdout.flush()?;
    drop(stdout);
    model.serve_forever();
    Ok(())
}

/// Reports a failure and its causes on stderr; a closed stderr is ignored.
fn report(error: &dyn Error) {
    let mut line = format!("scripted-model: failed to {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    writeln!(io::stderr(), "{line}").ok();
}
