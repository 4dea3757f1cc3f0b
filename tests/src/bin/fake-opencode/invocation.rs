//! One start of the fake: its script, its place in the script, and its own data.

use crate::journal::Journal;
use crate::script_path;
use opencode_run_tests::script::{Act, Script, beside};
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One start of the fake.
pub(crate) struct Invocation {
    /// The path of the script.
    pub(crate) script_path: PathBuf,
    /// The acts, in order.
    pub(crate) acts: Vec<Act>,
    /// The log of this invocation.
    pub(crate) journal: Journal,
    /// The session in the command line, if any.
    pub(crate) asked_session: Option<String>,
    /// The version that the fake reports.
    pub(crate) version: String,
    /// Whether it plays a server of opencode 2.
    pub(crate) is_v2: bool,
    session: String,
    cwd: PathBuf,
}

impl Invocation {
    /// Reads the script, claims this invocation's place in it and logs the start.
    pub(crate) fn begin(argv: &[String]) -> Result<Self, Box<dyn Error>> {
        let script_path = script_path::find()?;
        let json = fs::read_to_string(&script_path)
            .map_err(|error| format!("read the script {}: {error}", script_path.display()))?;
        let script: Script = serde_json::from_str(&json)
            .map_err(|error| format!("use the script {}: {error}", script_path.display()))?;

        let cwd = std::env::current_dir()?;
        let asked_session = asked_session(argv);
        let session = asked_session.clone().unwrap_or_else(|| script.session.clone());
        let found = script.find(argv).map(|(key, lists)| (key.to_owned(), lists.to_vec()));
        let asks_version = argv.first().is_some_and(|word| word == "--version" || word == "-v");
        let (key, lists) = match found {
            Some((key, lists)) if !(key.is_empty() && asks_version) => (key, lists),
            _ if asks_version => {
                ("--version".to_owned(), vec![vec![Act::Stdout { text: format!("{}\n", script.version) }]])
            }
            _ => return Err(format!("find {argv:?} in the script {}", script_path.display()).into()),
        };
        let number = claim(&beside(&script_path, "state"), &key)?;
        let mut acts = lists.get(number).or_else(|| lists.last()).cloned().unwrap_or_default();
        let says_stdin = |act: &Act| matches!(act, Act::ReadStdin {} | Act::NoReadStdin {});
        if key == "run" && !acts.iter().any(says_stdin) {
            acts.insert(0, Act::ReadStdin {});
        }
        let journal = Journal::begin(&beside(&script_path, "log"), &key, number, argv, &cwd)?;
        let is_v2 = argv.iter().any(|word| word == "--stdio");
        Ok(Self { script_path, acts, journal, asked_session, version: script.version, is_v2, session, cwd })
    }

    /// Returns the directory of the script.
    pub(crate) fn script_dir(&self) -> &Path {
        self.script_path.parent().unwrap_or(Path::new("."))
    }

    /// Returns the directory in which it was started.
    pub(crate) fn directory(&self) -> &Path {
        &self.cwd
    }

    /// Replaces the placeholders in a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.fill_with(text, str::to_owned)
    }

    /// Replaces the placeholders in JSON, whose values are escaped for strings.
    pub(crate) fn fill_json(&self, text: &str) -> String {
        self.fill_with(text, |value| serde_json::Value::from(value).to_string().trim_matches('"').to_owned())
    }

    fn fill_with(&self, text: &str, escape: impl Fn(&str) -> String) -> String {
        text.replace("{{session}}", &escape(&self.session))
            .replace("{{cwd}}", &escape(&self.cwd.to_string_lossy()))
            .replace("{{home}}", &escape(&std::env::var("HOME").unwrap_or_default()))
            .replace("{{pid}}", &std::process::id().to_string())
    }
}

/// Returns the session from `--session`, `--session=` or `-s`.
fn asked_session(argv: &[String]) -> Option<String> {
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        if word == "--session" || word == "-s" {
            return words.next().cloned();
        }
        if let Some(session) = word.strip_prefix("--session=") {
            return Some(session.to_owned());
        }
    }
    None
}

/// Claims the next number of a subcommand, from 0; no two invocations get the same one, parallel ones included.
fn claim(state: &Path, key: &str) -> Result<usize, Box<dyn Error>> {
    fs::create_dir_all(state)?;
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    for number in 0.. {
        match fs::File::create_new(state.join(format!("{name}.{number}"))) {
            Ok(_) => return Ok(number),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err("claim a number: there are no more".into())
}
