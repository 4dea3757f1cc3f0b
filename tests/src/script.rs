//! The script of `fake-opencode`: its acts for each subcommand, as JSON.

use crate::serve_script::Serving;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The environment variable that names the script file.
pub const SCRIPT_VARIABLE: &str = "FAKE_OPENCODE_SCRIPT";

/// An executable `opencode` that is a link to the fake finds its script's path in the file `opencode.script` beside it,
/// regardless of the environment; this is the suffix.
pub const POINTER_SUFFIX: &str = "script";

/// The default version that the fake prints for `--version`.
pub const DEFAULT_VERSION: &str = "1.18.33";

/// The script of a `fake-opencode`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The output of `--version`.
    pub version: String,
    /// The value of `{{session}}` for command lines without `--session`.
    pub session: String,
    /// The acts by subcommand.
    ///
    /// A key is the first words of the command line (`run`, `session list`); the longest matching key is used, and the
    /// empty key matches everything. A value contains one list of acts per invocation, in order; further invocations
    /// use the last list.
    pub commands: BTreeMap<String, Vec<Vec<Act>>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            session: "ses_fake00000000000000000000".to_owned(),
            commands: BTreeMap::new(),
        }
    }
}

impl Script {
    /// Returns the longest key whose words are the first words of `argv`, with its lists of acts.
    #[must_use]
    pub fn find(&self, argv: &[String]) -> Option<(&str, &[Vec<Act>])> {
        let fits = |key: &str| {
            let words: Vec<&str> = key.split_whitespace().collect();
            words.len() <= argv.len() && words.iter().zip(argv).all(|(word, argument)| word == argument)
        };
        self.commands
            .iter()
            .filter(|(key, _)| fits(key))
            .max_by_key(|(key, _)| key.split_whitespace().count())
            .map(|(key, lists)| (key.as_str(), lists.as_slice()))
    }
}

/// One act of the fake.
///
/// In every text `{{session}}`, `{{cwd}}`, `{{home}}` and `{{pid}}` are replaced. After the last act the fake exits
/// with 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Writes lines of a recording's stdout.
    EmitRecording {
        /// The recording: a directory relative to the script or to `crates/process/recordings/run`.
        recording: String,
        /// The first line to write, from 0.
        #[serde(default)]
        from: usize,
        /// The line to stop before; the end if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<usize>,
        /// The pause after each line, in milliseconds.
        #[serde(default)]
        line_pause_ms: u64,
    },
    /// Replays a recording: its stdout, its stderr, and its exit code or signal.
    Replay {
        /// The recording: a directory relative to the script or to `crates/process/recordings/run`.
        recording: String,
    },
    /// Writes a text to stdout, without adding a newline.
    Stdout {
        /// The text to write.
        text: String,
    },
    /// Writes bytes to stdout, which need not be UTF-8.
    StdoutBytes {
        /// The bytes as hexadecimal digits; blanks are skipped.
        hex: String,
    },
    /// Writes a text to stderr, without adding a newline.
    Stderr {
        /// The text to write.
        text: String,
    },
    /// Writes a large amount of output.
    Flood {
        /// The stream to write to.
        stream: Stream,
        /// The number of bytes, newlines included.
        bytes: u64,
        /// The length of a line in bytes, its newline included; 100 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line_length: Option<usize>,
        /// All of it is one line that ends in a newline.
        #[serde(default)]
        one_line: bool,
    },
    /// Pauses.
    Pause {
        /// The pause in milliseconds.
        ms: u64,
    },
    /// Writes a text to stdout in two halves with a pause between them.
    Split {
        /// The text to write.
        text: String,
        /// The place of the split, in bytes; the middle if absent. It may be inside a character.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<usize>,
        /// The pause between the halves, in milliseconds.
        pause_ms: u64,
    },
    /// Stalls, at most [`STALL_LIMIT_S`], so that a forgotten fake ends.
    Stall {},
    /// Reads stdin to the end and logs it. `run` begins with it unless its list has this or [`Act::NoReadStdin`].
    ReadStdin {},
    /// Does nothing, and keeps `run` from reading stdin first.
    NoReadStdin {},
    /// Ignores signals from now on.
    IgnoreSignals {
        /// The signals to ignore.
        signals: Vec<SignalName>,
    },
    /// Exits as soon as a signal arrives, from now on.
    OnSignal {
        /// The signal to exit on.
        signal: SignalName,
        /// The exit code.
        code: i32,
    },
    /// Starts a sleeping process, and continues when that process has recorded itself in the pids file.
    Spawn {
        /// How the process escapes.
        kind: SpawnKind,
        /// The time until the process exits by itself, in seconds; at most [`SLEEP_LIMIT_S`].
        duration_s: u64,
        /// Whether the process ignores `INT`, `TERM` and `HUP`.
        #[serde(default)]
        ignore_signals: bool,
        /// Whether the process keeps stdout and stderr open; otherwise its streams are `/dev/null`.
        #[serde(default)]
        hold_output: bool,
        /// For [`SpawnKind::ForkStorm`] and [`SpawnKind::Chain`]: the maximum number of processes, at most
        /// [`STORM_LIMIT`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
    },
    /// Starts a process that keeps stdout and stderr open after the fake has exited.
    HoldStdoutOpen {
        /// The time until the process exits by itself, in seconds; at most [`SLEEP_LIMIT_S`].
        duration_s: u64,
    },
    /// Writes a file, relative to the working directory.
    WriteFile {
        /// The path of the file.
        path: PathBuf,
        /// The content of the file.
        text: String,
    },
    /// Waits until a file exists, relative to the working directory: the test decides when the fake continues.
    WaitForFile {
        /// The path of the file.
        path: PathBuf,
    },
    /// Closes stdout.
    CloseStdout {},
    /// Answers HTTP on loopback until it is killed. It prints its address on stdout like the real opencode.
    Serve(Box<Serving>),
    /// Exits.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// Does another act in a directory.
    In {
        /// The directory to work in.
        directory: PathBuf,
        /// The act to perform there.
        act: Box<Act>,
    },
    /// Sends a signal to its parent, which is its supervisor if it has one.
    SignalParent {
        /// The signal to send.
        signal: SignalName,
    },
    /// Sends itself a signal.
    KillSelf {
        /// The signal to send.
        signal: SignalName,
    },
}

/// The time in seconds after which a stalled or waiting fake gives up.
pub const STALL_LIMIT_S: u64 = 600;

/// The maximum lifetime of a sleeping process, in seconds.
pub const SLEEP_LIMIT_S: u64 = 300;

/// The maximum number of processes of a fork bomb.
pub const STORM_LIMIT: u32 = 400;

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A signal by its short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignalName {
    /// The terminal was closed.
    Hup,
    /// Ctrl-C.
    Int,
    /// A request to exit.
    Term,
    /// Crash: abort.
    Abrt,
    /// Crash: bad memory access.
    Segv,
    /// Immediate end.
    Kill,
    /// Stop until continued.
    Stop,
}

/// How a spawned process escapes its starter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnKind {
    /// The process does not escape: a plain child.
    Child,
    /// A session of its own, like the commands of opencode's shell tool.
    Setsid,
    /// A session of its own, and its parent has exited.
    DoubleFork,
    /// A fork bomb: processes that start others as fast as they can, and replace those that exit.
    ForkStorm,
    /// Many processes, each in its own session and the parent of the next one.
    Chain,
    /// A session of its own and an empty environment.
    ClearsEnvironment,
    /// A session of its own, its parent has exited, and its environment is empty.
    DoubleForkClearsEnvironment,
}

/// Returns the path of the file beside the script that ends in `.suffix`, such as `script.json.log`.
#[must_use]
pub fn beside(script: &Path, suffix: &str) -> PathBuf {
    let mut name = script.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(argv: &[&str]) -> Vec<String> {
        argv.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn longest_matching_key_is_used() {
        let json = r#"{"commands": {"session": [], "session list": [[]], "": [[], []]}}"#;
        let script: Script = serde_json::from_str(json).unwrap();
        let key = |argv: &[&str]| script.find(&words(argv)).map(|(key, _)| key.to_owned());
        assert_eq!(key(&["session", "list", "--format", "json"]).unwrap(), "session list");
        assert_eq!(key(&["session"]).unwrap(), "session");
        assert_eq!(key(&["sessions"]).unwrap(), "");
    }

    #[test]
    fn unknown_keys_are_refused() {
        for json in [
            r#"{"command": {}}"#,
            r#"{"commands": {"run": [[{"type": "exit", "code": 1, "x": 1}]]}}"#,
            r#"{"commands": {"run": [[{"type": "stall", "x": 1}]]}}"#,
            r#"{"commands": {"run": [[{"type": "dance"}]]}}"#,
            r#"{"commands": {"run": [[{"type": "on_signal", "signal": "SIGINT", "code": 1}]]}}"#,
        ] {
            assert!(serde_json::from_str::<Script>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_script_survives_json() {
        let acts = vec![Act::Stall {}, Act::KillSelf { signal: SignalName::Segv }, Act::Exit { code: 3 }];
        let script = Script { commands: [("run".to_owned(), vec![acts])].into(), ..Script::default() };
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(serde_json::from_str::<Script>(&json).unwrap(), script);
    }
}
