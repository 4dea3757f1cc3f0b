//! Runs the command on the fake, with a time limit and its memory measured.

use opencode_run_tests::script::{Act, SignalName, SpawnKind, Stream};
use opencode_run_tests::serve_script::Serving;
use opencode_run_tests::terminal::spawn_on_terminal;
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin, opencode_run_bin};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Termios, Winsize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The time limit on a busy machine: longer is a hang.
pub(crate) const HANG: Duration = Duration::from_mins(1);

/// The interval of polling.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The recording used by most scripts: a step's start, a text, the step's end.
pub(crate) const PLAIN: &str = "1.18.33/plain-text";
pub(crate) const PLAIN_TEXT: &str = "Hello from the model.";
/// The recording of the same turn on opencode 2.
pub(crate) const PLAIN2: &str = "v2/plain-text";

/// A sandbox with a fake in it.
pub(crate) struct Case {
    pub(crate) sandbox: Sandbox,
    pub(crate) fake: Fake,
    transport: Transport,
}

/// The way in which opencode is used: one process per turn, a server, or a server of opencode 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Run,
    Serve,
    Serve2,
}

impl Case {
    pub(crate) fn new(script: impl FnOnce(FakeScript, &Sandbox) -> FakeScript) -> Self {
        let sandbox = Sandbox::new();
        let fake = script(FakeScript::new(&sandbox, fake_opencode_bin!()), &sandbox).write();
        Self { sandbox, fake, transport: Transport::Run }
    }

    /// Returns a case on a server of opencode 2.
    pub(crate) fn serving2(serving: Serving) -> Self {
        Self::new(|script, _| script.opencode2().on("serve", [serving.act()])).on(Transport::Serve2)
    }

    /// Returns the same case on another transport than `run`, for which most scripts are written.
    pub(crate) fn on(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// Returns a case whose `run` does these acts.
    pub(crate) fn doing(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::new(|script, _| script.on("run", acts))
    }

    /// Returns a case whose `run` does these acts, reports that it is ready, and stalls.
    pub(crate) fn stalling(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::new(|script, sandbox| script.on("run", acts.into_iter().chain(ready_and_stall(sandbox))))
    }

    pub(crate) fn replaying(recording: &str) -> Self {
        Self::new(|script, _| script.replay("run", recording))
    }

    /// Returns the command with the fake as its opencode and an empty stdin.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(opencode_run_bin!());
        let transport = match self.transport {
            Transport::Run => "run",
            Transport::Serve | Transport::Serve2 => "serve",
        };
        command.args(["--transport", transport, "--opencode"]).arg(self.fake.executable()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::spawn(&mut self.command(arguments))
    }

    /// Runs the command to its end, and asserts that no process is alive then.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.start(arguments).wait();
        self.sandbox.assert_nothing_alive();
        outcome
    }

    /// Runs the command with `--output-format json`, and returns its object too.
    #[track_caller]
    pub(crate) fn run_json(&self, arguments: &[&str]) -> (Outcome, Value) {
        let outcome = self.run(&[&["--output-format", "json"], arguments].concat());
        let object = outcome.object();
        (outcome, object)
    }

    pub(crate) fn ready_file(&self) -> PathBuf {
        self.sandbox.path("ready")
    }

    /// Waits until the fake reports that it is ready.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        let file = self.ready_file();
        wait_until("the fake is ready", || file.exists());
    }

    /// Returns the task directories in the workspace.
    pub(crate) fn task_dirs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.sandbox.workspace()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("task")).collect()
    }
}

/// Returns acts that report to the test that the fake is ready, and stall.
pub(crate) fn ready_and_stall(sandbox: &Sandbox) -> [Act; 2] {
    [Act::WriteFile { path: sandbox.path("ready"), text: String::new() }, Act::Stall {}]
}

/// Returns lines of the plain recording.
pub(crate) fn plain(from: usize, to: usize) -> Act {
    Act::EmitRecording { recording: PLAIN.to_owned(), from, to: Some(to), line_pause_ms: 0 }
}

pub(crate) fn stdout(text: &str) -> Act {
    Act::Stdout { text: text.to_owned() }
}

pub(crate) fn flood(stream: Stream, bytes: u64, one_line: bool) -> Act {
    Act::Flood { stream, bytes, line_length: None, one_line }
}

/// Returns a process that sleeps for a minute and ignores all signals but SIGKILL.
pub(crate) fn spawn(kind: SpawnKind) -> Act {
    Act::Spawn { kind, duration_s: 60, ignore_signals: true, hold_output: false, count: Some(60) }
}

pub(crate) fn deaf() -> Act {
    Act::IgnoreSignals { signals: vec![SignalName::Int, SignalName::Term, SignalName::Hup] }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(LOOK_EVERY);
    }
}

/// A running command whose output is read.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) began: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// The other end of its terminal, if it has one.
    terminal: Option<File>,
}

impl Running {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::from_child(command.spawn().unwrap())
    }

    /// Takes a started command, and reads the outputs that the test has not taken.
    pub(crate) fn from_child(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(read);
        let stderr = child.stderr.take().map(read);
        Self { child, began: Instant::now(), stdout, stderr, terminal: None }
    }

    /// Starts the command and leaves its stdout to the test.
    pub(crate) fn spawn_unread(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().map(read);
        Self { child, began: Instant::now(), stdout: None, stderr, terminal: None }
    }

    /// Starts the command on its own terminal, whose output is read.
    pub(crate) fn spawn_on_terminal(command: &Command) -> Self {
        Self::spawn_on_terminal_of(command, Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 })
    }

    /// Starts the command on a terminal of this size.
    pub(crate) fn spawn_on_terminal_of(command: &Command, size: Winsize) -> Self {
        Self::spawn_on_terminal_with(command, size).0
    }

    /// Starts the command on a terminal of this size, and returns the modes that the terminal had before.
    pub(crate) fn spawn_on_terminal_with(command: &Command, size: Winsize) -> (Self, Termios) {
        let (child, terminal, modes) = spawn_on_terminal(command, size).unwrap();
        (Self { child, began: Instant::now(), stdout: None, stderr: None, terminal: Some(terminal) }, modes)
    }

    /// Waits for the exit of a command on a terminal, and returns the terminal's output.
    pub(crate) fn screen(mut self) -> String {
        let terminal = self.take_terminal();
        let reader = std::thread::spawn(move || {
            // Reading fails when the other end is closed.
            BufReader::new(terminal).bytes().map_while(Result::ok).collect::<Vec<u8>>()
        });
        self.wait();
        String::from_utf8_lossy(&reader.join().unwrap()).into_owned()
    }

    /// Returns the other end of its terminal.
    pub(crate) fn take_terminal(&mut self) -> File {
        self.terminal.take().unwrap()
    }

    /// Closes its terminal.
    pub(crate) fn close_terminal(&mut self) {
        drop(self.terminal.take().unwrap());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(self) -> Outcome {
        self.wait_for(HANG)
    }

    /// Waits for the exit; a command that takes longer is killed, and the test fails.
    #[track_caller]
    pub(crate) fn wait_for(mut self, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = peak_kib.max(opencode_run_tests::peak_kib(self.child.id()).unwrap_or(0));
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("the command did not end within {limit:?}: killed");
            }
            sleep(LOOK_EVERY);
        };
        let elapsed = self.began.elapsed();
        let text = |reader: Option<JoinHandle<Vec<u8>>>| {
            reader.map(|reader| String::from_utf8_lossy(&reader.join().unwrap()).into_owned()).unwrap_or_default()
        };
        let stdout = text(self.stdout);
        let stderr = text(self.stderr);
        Outcome { code: status.code(), signal: status.signal(), stdout, stderr, elapsed, peak_kib }
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    /// The command's peak memory in KiB.
    pub(crate) peak_kib: u64,
}

impl Outcome {
    /// Returns the only object on stdout.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one object on one line: {self:?}");
        let object: Value = serde_json::from_str(&self.stdout).unwrap();
        let keys = ["task_name", "task_dir", "session_id", "state", "output", "model", "usage", "cost", "duration_ms"];
        for key in keys.into_iter().chain(["transcript", "error"]) {
            assert!(object.get(key).is_some(), "{key} is missing: {object}");
        }
        object
    }

    /// Asserts the exit code, and that there was no panic.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!((self.code, self.signal), (Some(code), None), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }

    /// Asserts that stderr contains all of these texts.
    #[track_caller]
    pub(crate) fn assert_says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "stderr lacks {word:?}: {self:?}");
        }
    }
}

/// Asserts that a path does not exist.
#[track_caller]
pub(crate) fn assert_gone(path: &Path) {
    assert!(!path.exists(), "{} is there", path.display());
}
