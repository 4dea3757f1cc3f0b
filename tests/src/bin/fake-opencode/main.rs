//! `fake-opencode`: stands in for the `opencode` executable and plays a script.
//!
//! The script is the JSON file that `FAKE_OPENCODE_SCRIPT` names, or the one that the file `opencode.script` beside a
//! link to this executable names; see [`opencode_run_tests::script`].

mod acts;
mod invocation;
mod journal;
mod output;
mod recordings;
mod script_path;
mod serve;
mod sleeper;
mod spawn;

use invocation::Invocation;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code of a fake that could not play its script: a mistake in the test.
pub(crate) const BROKEN: u8 = 70;

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let done =
        if argv.first().is_some_and(|word| word == sleeper::HIDDEN) { sleeper::main(&argv[1..]) } else { play(&argv) };
    match done {
        Ok(code) => code,
        Err(error) => {
            writeln!(std::io::stderr(), "fake-opencode: failed to {error}").ok();
            ExitCode::from(BROKEN)
        }
    }
}

fn play(argv: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let invocation = Arc::new(Invocation::begin(argv)?);
    let code = acts::perform_all(&invocation)?;
    invocation.journal.exit(code)?;
    // A parent sees only the low byte.
    Ok(ExitCode::from(code.to_le_bytes()[0]))
}
