//! Performs the acts of the script.

use crate::invocation::Invocation;
use crate::output::{flood, from_hex, write};
use crate::{recordings, serve, spawn};
use opencode_run_tests::recording::End;
use opencode_run_tests::script::{Act, STALL_LIMIT_S, SignalName, Stream};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The interval of checking for an awaited file.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Performs all acts and returns the exit code.
pub(crate) fn perform_all(invocation: &Arc<Invocation>) -> Result<i32, Box<dyn Error>> {
    for act in &invocation.acts {
        let ended = match act {
            Act::Serve(serving) => {
                serve::serve(invocation, serving)?;
                None
            }
            act => perform(invocation, act, invocation.directory())?,
        };
        if let Some(code) = ended {
            return Ok(code);
        }
    }
    Ok(0)
}

/// Performs one act; returns the exit code if it was the last. Spawned processes work in `directory`.
pub(crate) fn perform(invocation: &Invocation, act: &Act, directory: &Path) -> Result<Option<i32>, Box<dyn Error>> {
    match act {
        Act::EmitRecording { recording, from, to, line_pause_ms } => {
            emit(invocation, recording, *from, *to, *line_pause_ms)?;
        }
        Act::Replay { recording } => return replay(invocation, recording),
        Act::Stdout { text } => write(Stream::Stdout, invocation.fill(text).as_bytes())?,
        Act::StdoutBytes { hex } => write(Stream::Stdout, &from_hex(hex)?)?,
        Act::Stderr { text } => write(Stream::Stderr, invocation.fill(text).as_bytes())?,
        Act::Flood { stream, bytes, line_length, one_line } => flood(*stream, *bytes, *line_length, *one_line)?,
        Act::Pause { ms } => sleep(Duration::from_millis(*ms)),
        Act::Split { text, at, pause_ms } => split(&invocation.fill(text), *at, *pause_ms)?,
        Act::Stall {} => {
            sleep(Duration::from_secs(STALL_LIMIT_S));
            return Err("stall any longer".into());
        }
        Act::ReadStdin {} => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            invocation.journal.stdin(&bytes)?;
        }
        Act::NoReadStdin {} => {}
        Act::IgnoreSignals { signals } => {
            for &signal in signals {
                signal_hook::flag::register(number(signal), Arc::default())?;
            }
        }
        Act::OnSignal { signal, code } => {
            let armed = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_shutdown(number(*signal), *code, armed)?;
        }
        Act::Spawn { kind, duration_s, ignore_signals, hold_output, count } => {
            let how = spawn::How {
                directory,
                ignore_signals: *ignore_signals,
                hold_output: *hold_output,
                count: count.unwrap_or(50),
            };
            spawn::spawn(&invocation.script_path, *kind, *duration_s, &how)?;
        }
        Act::HoldStdoutOpen { duration_s } => spawn::hold_output(&invocation.script_path, directory, *duration_s)?,
        Act::WriteFile { path, text } => std::fs::write(path, invocation.fill(text))?,
        Act::WaitForFile { path } => wait_for(path)?,
        Act::CloseStdout {} => rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?,
        Act::Serve(_) => return Err("serve from inside of a turn".into()),
        Act::Exit { code } => return Ok(Some(*code)),
        Act::In { directory, act } => return perform(invocation, act, directory),
        Act::SignalParent { signal } => {
            let parent = rustix::process::getppid().ok_or("it has no parent")?;
            let signal = Signal::from_named_raw(number(*signal)).ok_or("no such signal")?;
            kill_process(parent, signal)?;
        }
        Act::KillSelf { signal } => kill_self(*signal)?,
    }
    Ok(None)
}

fn emit(
    invocation: &Invocation,
    name: &str,
    from: usize,
    to: Option<usize>,
    line_pause_ms: u64,
) -> Result<(), Box<dyn Error>> {
    let recording = recordings::load(invocation, name)?;
    let to = to.unwrap_or(recording.stdout.len());
    for line in recording.stdout.iter().take(to).skip(from) {
        let line = recordings::fit(invocation, &recording, line) + "\n";
        write(Stream::Stdout, line.as_bytes())?;
        sleep(Duration::from_millis(line_pause_ms));
    }
    Ok(())
}

fn replay(invocation: &Invocation, name: &str) -> Result<Option<i32>, Box<dyn Error>> {
    let recording = recordings::load(invocation, name)?;
    emit(invocation, name, 0, None, 0)?;
    write(Stream::Stderr, invocation.fill(&recording.stderr).as_bytes())?;
    match recording.about.end {
        End::Code(code) => Ok(Some(code)),
        End::Signal(signal) => {
            kill_self(signal)?;
            Ok(None)
        }
    }
}

fn split(text: &str, at: Option<usize>, pause_ms: u64) -> io::Result<()> {
    let bytes = text.as_bytes();
    let (first, second) = bytes.split_at(at.unwrap_or(bytes.len() / 2).min(bytes.len()));
    write(Stream::Stdout, first)?;
    sleep(Duration::from_millis(pause_ms));
    write(Stream::Stdout, second)
}

fn wait_for(path: &Path) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(STALL_LIMIT_S);
    while !path.exists() {
        if Instant::now() > deadline {
            return Err(format!("wait any longer for {}", path.display()));
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Ends by the signal's default action, regardless of registered handlers.
fn kill_self(signal: SignalName) -> Result<(), Box<dyn Error>> {
    if signal == SignalName::Kill {
        kill_process(getpid(), Signal::KILL)?;
    } else {
        signal_hook::low_level::emulate_default_handler(number(signal))?;
    }
    Ok(())
}

pub(crate) fn number(signal: SignalName) -> i32 {
    match signal {
        SignalName::Hup => SIGHUP,
        SignalName::Int => SIGINT,
        SignalName::Term => SIGTERM,
        SignalName::Abrt => SIGABRT,
        SignalName::Segv => SIGSEGV,
        SignalName::Kill => SIGKILL,
        SignalName::Stop => SIGSTOP,
    }
}
