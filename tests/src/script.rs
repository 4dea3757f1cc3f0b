//! The script of `fake-opencode`: what it does for which subcommand, as JSON.

use crate::serve_script::Serving;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The environment variable that names the script file.
pub const SCRIPT_VARIABLE: &str = "FAKE_OPENCODE_SCRIPT";

/// An executable `opencode` that is a link to the fake finds its script's path in the file `opencode.script` beside it,
/// whatever the environment says; this is the suffix.
pub const POINTER_SUFFIX: &str = "script";

/// The version that the fake answers `--version` with unless its script says another.
pub const DEFAULT_VERSION: &str = "1.18.33";

/// All that one `fake-opencode` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// What `--version` prints.
    pub version: String,
    /// What `{{session}}` stands for where the command line has no `--session`.
    pub session: String,
    /// The acts by subcommand.
    ///
    /// A key is the first words of the command line (`run`, `session list`); the longest key that fits is taken, and the
    /// empty key fits everything. A value holds one list of acts an invocation, in the order of the invocations; further
    /// invocations do what the last list says.
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

/// One thing that the fake does.
///
/// In every text `{{session}}`, `{{cwd}}`, `{{home}}` and `{{pid}}` are replaced. After the last act the fake exits with 0.
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
        /// How long to wait after each line, in milliseconds.
        #[serde(default)]
        line_pause_ms: u64,
    },
    /// Does what a recording holds: its stdout, its stderr, its end (exit code or signal).
    Replay {
        /// The recording: a directory relative to the script or to `crates/process/recordings/run`.
        recording: String,
    },
    /// Writes a text to stdout, as it stands, without a newline of its own.
    Stdout {
        /// The text.
        text: String,
    },
    /// Writes bytes to stdout, which need not be UTF-8.
    StdoutBytes {
        /// The bytes as hexadecimal digits; blanks are skipped.
        hex: String,
    },
    /// Writes a text to stderr, as it stands, without a newline of its own.
    Stderr {
        /// The text.
        text: String,
    },
    /// Writes a lot.
    Flood {
        /// Where to.
        stream: Stream,
        /// How many bytes, newlines included.
        bytes: u64,
        /// The length of a line in bytes, its newline included; 100 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line_length: Option<usize>,
        /// All of it is one line that ends in a newline.
        #[serde(default)]
        one_line: bool,
    },
    /// Does nothing for a while.
    Pause {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Writes a text to stdout in two halves with a pause between them.
    Split {
        /// The text.
        text: String,
        /// Where to split, in bytes; in the middle if absent. It may be inside a character.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<usize>,
        /// How long to wait between the halves, in milliseconds.
        pause_ms: u64,
    },
    /// Does nothing for ever, which is [`STALL_LIMIT_S`] so that a forgotten one ends.
    Stall {},
    /// Reads stdin to its end and logs it. `run` begins with it unless its list has this or [`Act::NoReadStdin`].
    ReadStdin {},
    /// Does nothing, and keeps `run` from reading stdin first.
    NoReadStdin {},
    /// Ignores signals from now on.
    IgnoreSignals {
        /// Which.
        signals: Vec<SignalName>,
    },
    /// Ends at once when a signal comes, from now on.
    OnSignal {
        /// Which signal.
        signal: SignalName,
        /// The exit code.
        code: i32,
    },
    /// Starts a process that sleeps, and goes on when that process has recorded itself in the pids file.
    Spawn {
        /// How the process gets away.
        kind: SpawnKind,
        /// When it ends by itself, in seconds; at most [`SLEEP_LIMIT_S`].
        duration_s: u64,
        /// It ignores `INT`, `TERM` and `HUP`.
        #[serde(default)]
        ignore_signals: bool,
        /// It keeps stdout and stderr open; otherwise its streams are `/dev/null`.
        #[serde(default)]
        hold_output: bool,
        /// For [`SpawnKind::ForkStorm`] and [`SpawnKind::Chain`]: how many processes there are in all at most; at most [`STORM_LIMIT`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
    },
    /// Starts a process that keeps stdout and stderr open after the fake has ended.
    HoldStdoutOpen {
        /// When it ends by itself, in seconds; at most [`SLEEP_LIMIT_S`].
        duration_s: u64,
    },
    /// Writes a file, relative to the working directory.
    WriteFile {
        /// Where.
        path: PathBuf,
        /// The text.
        text: String,
    },
    /// Waits until a file exists, relative to the working directory: a test decides when the fake goes on.
    WaitForFile {
        /// Which file.
        path: PathBuf,
    },
    /// Closes stdout: its reader sees the end of it.
    CloseStdout {},
    /// Answers HTTP on loopback until it is ended. It says on stdout where it listens, as the real one does.
    Serve(Box<Serving>),
    /// Exits.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// Does an act of these in a directory.
    In {
        /// Where.
        directory: PathBuf,
        /// What.
        act: Box<Act>,
    },
    /// Sends its parent a signal, which is its supervisor if it has one.
    SignalParent {
        /// Which.
        signal: SignalName,
    },
    /// Sends itself a signal.
    KillSelf {
        /// Which.
        signal: SignalName,
    },
}

/// After how many seconds a stalled or waiting fake gives up.
pub const STALL_LIMIT_S: u64 = 600;

/// After how many seconds a sleeping process ends at the latest.
pub const SLEEP_LIMIT_S: u64 = 300;

/// How many processes a storm has at most.
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
    /// The terminal is gone.
    Hup,
    /// Ctrl-C.
    Int,
    /// Please end.
    Term,
    /// Crash: abort.
    Abrt,
    /// Crash: bad memory access.
    Segv,
    /// End at once.
    Kill,
    /// Stop until continued.
    Stop,
}

/// How a spawned process gets away from who looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnKind {
    /// It does not: a plain child.
    Child,
    /// A session of its own, as opencode's shell tool gives its commands.
    Setsid,
    /// A session of its own, and its parent has ended.
    DoubleFork,
    /// Many processes that start further ones as fast as they can, and replace those that die.
    ForkStorm,
    /// Many processes, each in a session of its own and the parent of the next one.
    Chain,
    /// A session of its own and an empty environment.
    ClearsEnvironment,
    /// A session of its own, its parent has ended, and its environment is empty.
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
    fn the_longest_key_that_fits_is_taken() {
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
