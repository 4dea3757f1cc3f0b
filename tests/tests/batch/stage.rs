//! A sandbox with a tasks file and a fake opencode that answers every task.

use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin, opencode_run_bin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The time limit on a busy machine: longer is a hang.
pub(crate) const HANG: Duration = Duration::from_mins(3);

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    fake: Fake,
}

impl Stage {
    /// Creates `tasks` tasks, each with a turn that takes this time.
    pub(crate) fn new(tasks: usize, turn: Duration) -> Self {
        let ms = u64::try_from(turn.as_millis()).unwrap();
        Self::doing(tasks, [Act::Pause { ms }.into(), TurnAct::replay("1.18.33/plain-text")])
    }

    /// Creates `tasks` tasks, whose turns do these acts.
    pub(crate) fn doing(tasks: usize, acts: impl IntoIterator<Item = TurnAct>) -> Self {
        let serving = Serving::doing(acts).act();
        Self::serving(tasks, |fake| fake.on("serve", [serving]))
    }

    /// Creates `tasks` tasks, with this script of the servers.
    pub(crate) fn serving(tasks: usize, script: impl FnOnce(FakeScript) -> FakeScript) -> Self {
        let sandbox = Sandbox::new();
        let fake = script(FakeScript::new(&sandbox, fake_opencode_bin!()));
        let fake = fake.on("models", [Act::Stdout { text: "stub/gpt-4\n".into() }]).write();
        let line = |number: usize| format!("{{\"id\":\"t{number}\",\"prompt\":\"task {number}\"}}\n");
        std::fs::write(sandbox.path("tasks.jsonl"), (0..tasks).map(line).collect::<Vec<_>>().concat()).unwrap();
        Self { sandbox, fake }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// Returns the command `batch` on the tasks with this results file.
    pub(crate) fn batch(&self, results: &Path, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(opencode_run_bin!());
        command.arg("batch").arg(self.path("tasks.jsonl")).arg("--results").arg(results);
        command.arg("--opencode").arg(self.fake.executable()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the batch to its end.
    pub(crate) fn run(&self, results: &Path, arguments: &[&str]) -> Output {
        self.batch(results, arguments).output().unwrap()
    }

    /// Starts the batch with its stderr in a file.
    pub(crate) fn start(&self, results: &Path, arguments: &[&str], log: &str) -> Child {
        let log = std::fs::File::create(self.path(log)).unwrap();
        self.batch(results, arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

/// Returns the lines of a results file, each of which must be a result.
pub(crate) fn lines(results: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(results).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the number of completed results by task, and checks that no attempt occurs twice.
pub(crate) fn completed(results: &Path) -> BTreeMap<String, usize> {
    let mut attempts = std::collections::BTreeSet::new();
    let mut completed = BTreeMap::new();
    for line in lines(results) {
        let id = line["id"].as_str().unwrap().to_owned();
        assert!(attempts.insert((id.clone(), line["attempt"].as_u64().unwrap())), "an attempt occurs twice: {line}");
        *completed.entry(id).or_default() += usize::from(line["state"] == "completed");
    }
    completed
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < HANG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}
