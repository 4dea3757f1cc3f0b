//! A thousand pieces of text a second, on a terminal and into a pipe.

use crate::figures::ms;
use crate::processes::sample_until_exit;
use crate::report::Report;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::terminal::spawn_on_terminal;
use opencode_run_tests::{FakeScript, Sandbox};
use rustix::termios::Winsize;
use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

const SIZE: Winsize = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
/// A piece that is a line, so that the view is redrawn for nearly every piece.
const DELTA: &str = "word and more\n";

/// The end of a command's output.
#[derive(Clone, Copy)]
enum Output {
    Terminal,
    Pipe,
}

/// Measures the CPU time of our own process while text streams.
pub(crate) fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let count = if quick { 3000 } else { 10_000 };
    for (output, name) in [(Output::Terminal, "on a terminal"), (Output::Pipe, "into a pipe")] {
        // The start and the end cost the same for any number of deltas.
        let short = streaming(programs, output, 1000)?;
        let long = streaming(programs, output, 1000 + count)?;
        // A thousand a second: this many per cent of a core.
        let share = ms(long.saturating_sub(short)) * 100.0 / f64::from(count);
        let what = format!("streaming {name}: CPU time of 1000 deltas, as part of a second");
        report.row(&what, "<= 5 %", &format!("{share:.1} %"), share <= 5.0);
    }
    Ok(())
}

/// Runs a turn with this many deltas. Returns the CPU time of our own process.
fn streaming(programs: &Programs, output: Output, count: u32) -> Result<Duration, Box<dyn Error>> {
    let sandbox = Sandbox::new();
    let act = TurnAct::Speak { delta: DELTA.to_owned(), count: count.into(), at_once: 1, pause_ms: 1 };
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [Serving::doing([act]).act()]).write();
    let mut command: Command = sandbox.command(&programs.opencode_run);
    command.arg("--opencode").arg(fake.executable()).arg("--dir").arg(sandbox.workspace()).arg("Say much.");
    command.env("TERM", "xterm-256color").current_dir(sandbox.workspace());
    let (mut child, mut shown): (_, Box<dyn Read + Send>) = match output {
        Output::Terminal => {
            let (child, terminal, _) = spawn_on_terminal(&command, SIZE)?;
            (child, Box::new(terminal))
        }
        Output::Pipe => {
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let stdout = child.stdout.take().ok_or("no stdout")?;
            (child, Box::new(stdout))
        }
    };
    let usage = sample_until_exit(child.id());
    let reader = std::thread::spawn(move || {
        // Reading a terminal fails when its other end is closed.
        std::io::copy(&mut shown, &mut std::io::sink()).ok();
    });
    let done = child.wait()?;
    reader.join().map_err(|_| "the reading thread panicked")?;
    let usage = usage.join().map_err(|_| "the sampling thread panicked")?;
    if done.success() { Ok(usage.cpu) } else { Err(format!("opencode-run: {done}").into()) }
}
