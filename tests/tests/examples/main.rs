//! Runs every example of the library: most on the real opencode, with a scripted model in the user's configuration.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

use opencode_run_scripted_model::{Answer, Part, Rule, Script, ScriptedModel, Usage, When};
use opencode_run_tests::serve_script::Serving;
use opencode_run_tests::{FakeScript, Sandbox, fake_opencode_bin, real_opencode};
use serde_json::json;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The time limit of an example on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);

/// The binary of an example, from the same build as this test.
macro_rules! example {
    ($name:literal) => {
        opencode_run_tests::locate(concat!("example-", $name), env!(concat!("CARGO_BIN_EXE_example-", $name)))
    };
}

mod single_crates;
mod web_service;

/// A user whose opencode has one model.
struct User {
    sandbox: Sandbox,
    model: ScriptedModel,
}

impl User {
    fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let opencode = real_opencode();
        let script = rules.into_iter().fold(Script::new(), Script::rule);
        let model = ScriptedModel::start(script).unwrap();
        let mut sandbox = Sandbox::new();
        let path = std::env::var_os("PATH").unwrap();
        let folder = opencode.parent().unwrap().to_owned();
        let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path))).unwrap();
        sandbox.set("PATH", path);
        sandbox.set("OPENCODE_DISABLE_MODELS_FETCH", "1");
        // An empty catalog, which halves the time of a turn.
        let catalog = sandbox.path("models.json");
        fs::write(&catalog, "{}").unwrap();
        sandbox.set("OPENCODE_MODELS_PATH", catalog);
        let models = json!({"m": {}, "other": {}});
        let provider = json!({
            "npm": "@ai-sdk/openai-compatible", "name": "Stub", "models": models, "options": {"baseURL": model.base_url()},
        });
        let configuration = json!({"provider": {"stub": provider}, "model": "stub/m"});
        sandbox.set("OPENCODE_CONFIG_CONTENT", configuration.to_string());
        Self { sandbox, model }
    }

    /// Runs an example to its successful end within the time limit, and returns its output. Asserts that no process is
    /// left.
    #[track_caller]
    fn run(&self, example: PathBuf, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = end(&self.sandbox, example, arguments);
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        assert_eq!(stderr, "", "{stdout}");
        stdout
    }

    /// Returns the directory that an example prints.
    #[track_caller]
    fn task_dir(&self, stdout: &str) -> PathBuf {
        let line = stdout.lines().find_map(|line| line.strip_prefix("working in ")).unwrap();
        let directory = PathBuf::from(line);
        assert!(directory.starts_with(self.sandbox.path("tmp").canonicalize().unwrap()), "{stdout}");
        directory
    }

    /// Returns the requested models.
    fn models_asked(&self) -> Vec<String> {
        let requests = self.model.requests();
        requests.iter().filter(|request| request.has_tools()).map(|request| request.model().to_owned()).collect()
    }
}

/// Runs an example to its end within the time limit, and returns its status and output. Asserts that no process is
/// left.
#[track_caller]
fn end(sandbox: &Sandbox, example: PathBuf, arguments: &[&str]) -> (ExitStatus, String, String) {
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| sandbox.path(name));
    let mut child = sandbox
        .command(example)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout).unwrap())
        .stderr(File::create(&stderr).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < LIMIT, "it still runs after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let [stdout, stderr] = [stdout, stderr].map(|file| fs::read_to_string(file).unwrap());
    sandbox.assert_nothing_alive();
    (status, stdout, stderr)
}

fn bash(command: &str) -> Part {
    Part::tool_call("bash", json!({"command": command, "description": "Run it"}))
}

fn writing_hello() -> [Rule; 3] {
    [
        When::agent().said("Write hello.txt").after_tools(0).reply(bash("echo hello > hello.txt")),
        When::agent().said("Write hello.txt").after_tools(1).reply(Answer::text("It is written.")),
        When::agent().said("What did you write").reply(Answer::text("hello.txt, in turn {turn}.")),
    ]
}

fn sleeping() -> [Rule; 1] {
    [When::agent().said("sleep 60").after_tools(0).reply(bash("sleep 60"))]
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn quick_start() {
    let user = User::new(writing_hello());
    let stdout = user.run(example!("quick-start"), &[]);
    let directory = user.task_dir(&stdout);
    assert!(stdout.contains("\nIt is written.\nhello.txt, in turn 2.\n"), "{stdout}");
    assert_eq!(fs::read_to_string(directory.join("hello.txt")).unwrap(), "hello\n");
    assert!(directory.join("conversation.md").is_file(), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn blocking() {
    let user = User::new(writing_hello());
    let stdout = user.run(example!("blocking"), &[]);
    assert!(stdout.contains("\nIt is written.\n") && stdout.contains(" step_finish\n"), "{stdout}");
    assert!(stdout.ends_with("\nhello.txt, in turn 2.\n") && !stdout.contains("unknown"), "{stdout}");
    assert!(!user.task_dir(&stdout).exists(), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn choose_model() {
    let user = User::new([]);
    let stdout = user.run(example!("choose-model"), &[]);
    assert_eq!(stdout.matches("completed by opencode's own choice").count(), 2, "{stdout}");
    assert_eq!(user.models_asked(), ["m", "m"]);
    let stdout = user.run(example!("choose-model"), &["stub/m", "stub/other"]);
    assert!(stdout.contains("completed by stub/m") && stdout.contains("completed by stub/other"), "{stdout}");
    assert_eq!(user.models_asked()[2..], ["m", "other"]);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn shared_servers() {
    let user = User::new([When::agent().reply(Answer::text("Hello, {model}."))]);
    let stdout = user.run(example!("shared-servers"), &[]);
    assert_eq!(stdout.matches("Hello").count(), 3, "{stdout}");
    let base_url = user.model.base_url();
    let stdout = user.run(example!("shared-servers"), &[&base_url, "m", "sk-one", "sk-two", "sk-three"]);
    assert_eq!(stdout.matches("Hello").count(), 3, "{stdout}");
    assert!(!stdout.contains("sk-"), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn multi_turn() {
    let user = User::new([When::agent().reply(Answer::text("turn {turn}").usage(Usage::new(10, 2)))]);
    let stdout = user.run(example!("multi-turn"), &[]);
    assert!(stdout.contains("completed: turn 3\n3 turns, 36 tokens\n"), "{stdout}");
    assert!(stdout.ends_with("completed: turn 4\n"), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn model_source() {
    let mut user = User::new([]);
    let stdout = user.run(example!("model-source"), &[]);
    assert!(stdout.contains("completed by opencode's own choice"), "{stdout}");
    let url = user.model.base_url();
    user.sandbox.set("BASE_URL", url);
    user.sandbox.set("API_KEY", "sk-example");
    let stdout = user.run(example!("model-source"), &["of-the-source"]);
    assert!(stdout.contains("completed by of-the-source"), "{stdout}");
    let requests = user.model.requests();
    let request = requests.iter().rfind(|request| request.has_tools()).unwrap();
    assert_eq!(request.model(), "of-the-source");
    assert_eq!(request.header("authorization"), Some("Bearer sk-example"));
    assert_eq!((&request.body["temperature"], &request.body["max_tokens"]), (&json!(0.2), &json!(4000)));
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn env_file() {
    let user = User::new([]);
    let stdout = user.run(example!("env-file"), &[]);
    assert!(stdout.contains("completed by opencode's own choice"), "{stdout}");
    let file = user.sandbox.workspace().join(".env");
    let url = user.model.base_url();
    fs::write(&file, format!("MODEL_WRITE_BASEURL={url}\nMODEL_WRITE_MODEL=writer\nMODEL_PLAN_MODLE=x\n")).unwrap();
    let stdout = user.run(example!("env-file"), &[]);
    assert!(stdout.contains("warning: ") && stdout.contains("write: writer at 127.0.0.1:"), "{stdout}");
    assert!(stdout.contains("completed by writer"), "{stdout}");
    let host = url.strip_prefix("http://").unwrap();
    fs::write(&file, format!("MODEL_DEFAULT_BASEURL=http://{host}\nMODEL_DEFAULT_MODEL=named\n")).unwrap();
    let stdout = user.run(example!("env-file"), &[file.to_str().unwrap()]);
    assert!(stdout.contains("completed by named"), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn monitor() {
    let rules = [
        When::agent().after_tools(0).reply(bash("sleep 2")),
        When::agent().after_tools(1).reply(Answer::text("Here it is.")),
    ];
    let user = User::new(rules);
    let stdout = user.run(example!("monitor"), &[]);
    assert!(stdout.contains("running: 0 bytes of output"), "{stdout}");
    assert!(stdout.contains(" tool\n") && stdout.contains("one of the last: step_finish"), "{stdout}");
    assert!(stdout.lines().any(|line| line.starts_with("completed in") && line.ends_with(": Here it is.")), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn interrupt() {
    let user = User::new(sleeping());
    let stdout = user.run(example!("interrupt"), &[]);
    assert!(stdout.contains("running after 5 s: interrupting\ninterrupted in "), "{stdout}");
    assert!(stdout.ends_with("interrupting again: false\n"), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn kill() {
    let user = User::new(sleeping());
    let stdout = user.run(example!("kill"), &[]);
    assert!(stdout.contains("killing nothing: false\nkilling the turn: true\ninterrupted: "), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn save_markdown() {
    let user = User::new([When::agent().reply(Answer::text("red, green, blue"))]);
    let stdout = user.run(example!("save-markdown"), &["copy.md"]);
    let [saved, copy] = [user.task_dir(&stdout).join("conversation.md"), user.sandbox.workspace().join("copy.md")]
        .map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(saved, copy);
    assert!(saved.contains("red, green, blue") && stdout.contains(&saved), "{stdout}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn full() {
    let rules = [
        When::agent().told("at most two sentences").turn(1).after_tools(0).reply(
            Answer::new([Part::text("I write it."), bash("echo 2 3 5 > primes.txt")]).usage(Usage::new(100, 10)),
        ),
        When::agent().turn(1).after_tools(1).reply(Answer::text("Done.").usage(Usage::new(120, 5))),
        When::agent().turn(2).reply(Answer::text("I wrote primes.")),
        When::agent().turn(3).reply(Answer::text("Ich schrieb Primzahlen.")),
    ];
    let user = User::new(rules);
    let assert_printed = |stdout: &str, models: [&str; 3]| {
        for text in ["I write it.", "Done.", "I wrote primes.", "Ich schrieb Primzahlen."] {
            assert!(stdout.contains(&format!("text: {text}\n")), "{stdout}");
        }
        let ended: Vec<&str> = stdout.lines().filter_map(|line| line.strip_prefix("completed by ")).collect();
        let by: Vec<&str> = ended.iter().map(|line| line.split(" after ").next().unwrap()).collect();
        assert_eq!(by, models, "{stdout}");
        assert!(stdout.contains("220 tokens in, 15 out"), "{stdout}");
        let directory = user.task_dir(stdout);
        assert!(directory.join("primes.txt").is_file() && directory.join("conversation.md").is_file(), "{stdout}");
    };
    let own = "opencode's own choice";
    assert_printed(&user.run(example!("full"), &[]), [own, own, own]);

    // The third turn keeps the model of the second: there is no source `default`.
    let url = user.model.base_url();
    let of = |role: &str, model: &str| format!("MODEL_{role}_BASEURL={url}\nMODEL_{role}_MODEL={model}\n");
    fs::write(user.sandbox.workspace().join(".env"), of("CODE", "coder") + &of("WRITE", "writer")).unwrap();
    assert_printed(&user.run(example!("full"), &[]), ["coder", "writer", "writer"]);
    let asked = user.models_asked();
    assert_eq!(asked[asked.len() - 4..], ["coder", "coder", "writer", "writer"], "{asked:?}");
}

#[test]
fn failed_turn_fails_the_program() {
    for example in [
        example!("quick-start"),
        example!("blocking"),
        example!("choose-model"),
        example!("multi-turn"),
        example!("model-source"),
        example!("env-file"),
        example!("monitor"),
        example!("save-markdown"),
        example!("full"),
    ] {
        let mut sandbox = Sandbox::new();
        let script = FakeScript::new(&sandbox, fake_opencode_bin!());
        let fake = script.on("serve", [Serving::replaying("1.18.33/error-400").act()]).write();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(fake.bin_dir().to_owned()).chain(std::env::split_paths(&path));
        sandbox.set("PATH", std::env::join_paths(path).unwrap());
        let (status, stdout, stderr) = end(&sandbox, example.clone(), &[]);
        assert_eq!(status.code(), Some(1), "{}: {stdout}\n{stderr}", example.display());
        assert!(stderr.contains("400"), "{}: {stdout}\n{stderr}", example.display());
    }
}

/// Returns the examples of all crates.
fn examples() -> Vec<PathBuf> {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let folders = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path().join("examples"));
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_example_is_run_by_tests() {
    let source = [include_str!("main.rs"), include_str!("single_crates.rs"), include_str!("web_service.rs")].concat();
    for example in examples() {
        let name = example.file_stem().unwrap().to_str().unwrap();
        let manifest = fs::read_to_string(example.ancestors().nth(2).unwrap().join("Cargo.toml")).unwrap();
        let tests_itself = manifest.contains(&format!("name = \"{name}\"\ntest = true"))
            && fs::read_to_string(&example).unwrap().contains("#[cfg(test)]");
        assert!(tests_itself || source.contains(&format!("\nfn {name}() {{")), "{name} has no test");
    }
}

#[test]
fn every_main_begins_with_the_supervisor() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let examples = fs::read_dir(root.join("crates/runner/examples")).unwrap().map(|entry| entry.unwrap().path());
    let pages = ["README.md", "crates/runner/src/lib.rs"].map(|page| root.join(page));
    for path in examples.chain(pages) {
        let text = fs::read_to_string(&path).unwrap().replace("//! ", "");
        let mains: Vec<&str> = text.split("fn main()").skip(1).collect();
        assert!(!mains.is_empty(), "{} has no main", path.display());
        for main in mains {
            let (_, body) = main.split_once("{\n").unwrap();
            let first = body.lines().next().unwrap().trim();
            assert!(first.starts_with("opencode_runner::supervisor::init();"), "{}: {first}", path.display());
        }
    }
}
