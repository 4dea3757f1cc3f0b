//! Tests of the decoder with real, nearly real, and arbitrary lines.

mod malformed;
mod orders;
mod properties;
mod recordings;
mod replays;

use super::*;
use crate::protocol::v1::run::{RunAction, RunInput, RunPlan, RunProtocol};
use crate::protocol::v1::stderr;
use opencode_run_core::{Event, Input, ProcessExit, Prompt, Signal, TurnMachine, TurnRecord};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The recorded output of one run of the real opencode, and how it exited.
struct Recording {
    name: String,
    stdout: Vec<String>,
    stderr: Vec<String>,
    exit: ProcessExit,
    session: Option<SessionId>,
}

/// Reads all recordings, sorted by name.
fn recordings() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/run");
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let mut recordings: Vec<Recording> =
        folders(&root).iter().flat_map(|version| folders(version)).map(|folder| recording(&root, &folder)).collect();
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(recordings.len() > 40, "only {} recordings", recordings.len());
    recordings
}

fn recording(root: &Path, folder: &Path) -> Recording {
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let lines = |file: &str| text(file).lines().map(str::to_owned).collect();
    let about: Value = crate::json_text::parse_repaired(&text("about.json")).unwrap();
    let argv: Vec<&str> = about["argv"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let asked = argv.iter().position(|word| *word == "--session").map(|at| SessionId::new(argv[at + 1]));
    Recording {
        name: folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
        stdout: lines("stdout.jsonl"),
        stderr: lines("stderr.txt"),
        exit: exit(&about["end"]),
        session: asked,
    }
}

fn exit(end: &Value) -> ProcessExit {
    match (end["code"].as_i64(), end["signal"].as_str()) {
        (Some(code), None) => ProcessExit::Code(code.try_into().unwrap()),
        (None, Some("INT")) => ProcessExit::Signal(2),
        (None, Some("KILL")) => ProcessExit::Signal(9),
        (None, Some("TERM")) => ProcessExit::Signal(15),
        _ => panic!("a recording ends in a way that no test knows: {end}"),
    }
}

fn decode_json(line: &Value) -> Event {
    decode(line.to_string().as_bytes()).observed.event
}

/// A turn that is fed with opencode's output.
struct Replay {
    turn: TurnMachine,
    run: RunProtocol,
    stderr: Vec<String>,
}

impl Replay {
    fn new(recording: &Recording) -> Self {
        let turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        let plan = RunPlan { session: recording.session.clone(), agent: Some("nope".to_owned()), ..RunPlan::default() };
        Self { turn, run: RunProtocol::new(plan, Instant::now()), stderr: Vec::new() }
    }

    fn step(&mut self, input: RunInput<'_>) {
        let mut actions = Vec::new();
        self.run.step(Instant::now(), input, &mut actions);
        for action in actions {
            let input = match action {
                RunAction::Emit(Signal::Event(observed)) => Input::Event(*observed),
                RunAction::Emit(Signal::Session(session)) => Input::Session(session),
                RunAction::Finish(ending) => Input::Ended(ending),
                // The recorded process ends by itself.
                RunAction::Kill => continue,
                other => panic!("{other:?}"),
            };
            self.turn.apply(Duration::ZERO, &input);
        }
    }

    fn stdout<L: AsRef<[u8]>>(&mut self, lines: impl IntoIterator<Item = L>) {
        for line in lines {
            self.step(RunInput::Stdout(line.as_ref()));
        }
    }

    fn stderr<'l>(&mut self, lines: impl IntoIterator<Item = &'l String>) {
        for line in lines {
            let line = stderr::plain(line);
            self.step(RunInput::Stderr(&line));
            self.stderr.push(line);
        }
    }

    fn end(mut self, recording: &Recording) -> TurnRecord {
        let stderr = self.stderr.join("\n");
        self.step(RunInput::Exited(recording.exit));
        self.step(RunInput::Over { stderr: &stderr });
        self.turn.into_record()
    }
}

/// Replays a recording, stdout first.
fn replay(recording: &Recording) -> TurnRecord {
    replay_with(recording, &recording.stdout)
}

/// Replays a recording with another stdout.
fn replay_with(recording: &Recording, stdout: &[impl AsRef<[u8]>]) -> TurnRecord {
    let mut replay = Replay::new(recording);
    replay.stdout(stdout);
    replay.stderr(&recording.stderr);
    replay.end(recording)
}
