//! The stage of a test: a sandbox, the real opencode on its `PATH`, a scripted model, and few turns at a time.

use opencode_run_scripted_model::{Part, RecordedRequest, Rule, Script, ScriptedModel, When};
use opencode_run_tests::{Sandbox, opencode_run_bin, real_opencode};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The number of parallel tests: a turn of opencode takes both processors of a small machine.
const PLACES: usize = 2;
/// The timeout of every wait, long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to run a test; dropping it lets the next one run.
#[derive(Debug)]
struct Place;

impl Place {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = FREED.wait_while(taken, |taken| *taken >= PLACES).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

/// The cached version of the real opencode, for all tests: querying it takes a second of processor time.
const SHARED_VERSION: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/version.json");

fn remembered_version(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("home/.cache/opencode-run/version.json")
}

/// Copies the cached version into a sandbox, if an earlier test has queried it.
fn remember_version(sandbox: &Sandbox) {
    let remembered = remembered_version(sandbox);
    if Path::new(SHARED_VERSION).exists() {
        std::fs::create_dir_all(remembered.parent().unwrap()).unwrap();
        std::fs::copy(SHARED_VERSION, remembered).unwrap();
    }
}

/// Keeps the command's cached version for later tests.
fn share_version(sandbox: &Sandbox) {
    let own = format!("{SHARED_VERSION}.{}", std::process::id());
    if std::fs::copy(remembered_version(sandbox), &own).is_ok() {
        std::fs::rename(own, SHARED_VERSION).unwrap();
    }
}

/// A sandbox with a real opencode and a scripted model.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) model: ScriptedModel,
    pub(crate) opencode: PathBuf,
    _place: Place,
}

impl Stage {
    /// Returns a stage with the installed opencode.
    ///
    /// The user's own configuration of opencode, with a comment and a trailing comma, defines the model `stub/gpt-4`.
    /// opencode's catalog is empty, which halves the time of a turn.
    #[track_caller]
    pub(crate) fn new(script: Script) -> Self {
        Self::on(real_opencode(), script)
    }

    /// Returns a stage with this opencode.
    #[track_caller]
    pub(crate) fn on(opencode: PathBuf, script: Script) -> Self {
        let place = Place::take();
        let model = ScriptedModel::start(script).unwrap();
        let mut sandbox = Sandbox::new();
        let bin = sandbox.path("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(&opencode, bin.join("opencode")).unwrap();
        let path = sandbox.env().iter().find(|(name, _)| *name == "PATH").map(|(_, value)| value.clone());
        let others = path.iter().flat_map(std::env::split_paths);
        sandbox.set("PATH", std::env::join_paths(std::iter::once(bin).chain(others)).unwrap());
        let catalogue = sandbox.path("models.json");
        std::fs::write(&catalogue, "{}").unwrap();
        sandbox.set("OPENCODE_MODELS_PATH", catalogue);
        for name in ["OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD"] {
            sandbox.set(name, "1");
        }
        remember_version(&sandbox);
        let mut stage = Self { sandbox, model, opencode, _place: place };
        stage.configure(&json!({}));
        stage
    }

    /// Sets the user's own configuration of opencode: the provider `stub`, and more.
    pub(crate) fn configure(&mut self, more: &Value) {
        let stub = json!({
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": self.model.base_url(), "apiKey": "sk-stub"},
            "models": {"gpt-4": {"name": "gpt-4"}, "gpt-5": {"name": "gpt-5"}},
        });
        let mut providers = more["provider"].as_object().cloned().unwrap_or_default();
        providers.insert("stub".to_owned(), stub);
        let rest = more.as_object().unwrap().iter().filter(|(key, _)| *key != "provider");
        let rest = rest.map(|(key, value)| format!("\"{key}\": {value},\n")).collect::<Vec<_>>().concat();
        let providers = Value::Object(providers);
        let text = format!("{{\n// the user's own\n{rest}\"provider\": {providers}, /* and no more */\n}}");
        self.sandbox.set("OPENCODE_CONFIG_CONTENT", text);
    }

    /// Gives opencode its own catalog.
    pub(crate) fn with_catalogue(&mut self) {
        self.sandbox.set("OPENCODE_MODELS_PATH", "");
    }

    /// Writes the `.env` of the current directory; `{url}` stands for the model's base URL.
    pub(crate) fn dot_env(&self, text: &str) {
        self.write("workspace/.env", &text.replace("{url}", &self.model.base_url()));
    }

    /// Creates a file in the sandbox, with its parent directories.
    pub(crate) fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.sandbox.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns the command with these arguments, in the workspace, without a stdin.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.sandbox.command(opencode_run_bin!());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    #[track_caller]
    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Done {
        Running::start(self.command(arguments)).end()
    }

    /// Starts a chat that writes `stream-json`: its turns share one opencode.
    pub(crate) fn chat<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let mut command = self.command(["chat", "--output-format", "stream-json"].into_iter().chain(arguments));
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    /// Runs a turn on `stub/gpt-4` to its end, with the JSON of its result.
    #[track_caller]
    pub(crate) fn turn<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Done {
        self.run(["-m", "stub/gpt-4", "--output-format", "json"].into_iter().chain(arguments))
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.model.requests()
    }

    /// Returns the only request.
    #[track_caller]
    pub(crate) fn request(&self) -> Arc<RecordedRequest> {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        Arc::clone(&requests[0])
    }

    /// Waits for this number of requests.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        until("the model's requests", || self.model.request_count() >= count);
    }

    /// Returns the task directories in the workspace.
    pub(crate) fn task_dirs(&self) -> Vec<PathBuf> {
        entries(&self.sandbox.workspace()).into_iter().filter(|path| name(path).starts_with("task_")).collect()
    }

    /// Ends a test: asserts that no process is alive, the temp directory contains no file of ours, and opencode had no
    /// reason to request a title.
    #[track_caller]
    pub(crate) fn end(self) {
        self.sandbox.assert_nothing_alive();
        share_version(&self.sandbox);
        let left: Vec<_> =
            entries(&self.sandbox.path("tmp")).into_iter().filter(|path| name(path).contains("opencode-run")).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let titles = self.requests().iter().filter(|request| request.method == "POST" && !request.has_tools()).count();
        assert_eq!(titles, 0, "requests for a title");
    }
}

/// A running command.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Reader,
    stderr: Reader,
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Text that grows.
#[derive(Debug)]
struct Reader {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..read]);
            }
        });
        Self { text, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn end(self) -> String {
        self.thread.join().unwrap();
        String::from_utf8(std::mem::take(&mut *self.text.lock().unwrap())).unwrap()
    }
}

impl Running {
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Reader::new(child.stdout.take().unwrap());
        let stderr = Reader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Runs the next turn of a chat that writes `stream-json`, and returns its result.
    #[track_caller]
    pub(crate) fn next_turn(&mut self, message: &str) -> Value {
        let results = |text: String| -> Vec<Value> {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter(|line| line["type"] == "result").collect()
        };
        let before = results(self.stdout.so_far()).len();
        writeln!(self.child.stdin.as_ref().unwrap(), "{message}").unwrap();
        until("the result of a turn", || !self.is_running() || results(self.stdout.so_far()).len() > before);
        results(self.stdout.so_far()).pop().unwrap_or_else(|| panic!("{}", self.stderr.so_far()))
    }

    /// Writes to its stdin, which must be a pipe, and closes it.
    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.so_far()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the command's stdin and waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Done {
        drop(self.child.stdin.take());
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > LIMIT {
                self.child.kill().unwrap();
                panic!("not over after {LIMIT:?}:\n{}\n{}", self.stdout.so_far(), self.stderr.so_far());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let stdout = self.stdout.end();
        let stderr = self.stderr.end();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Done { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Done {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Returns the JSON on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < LIMIT, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the rules for a call of the tool `bash` and an answer after it.
pub(crate) fn shell(command: &str, answer: &str) -> Script {
    Script::new().rule(calls_shell(command)).rule(When::agent().after_tools(1).reply(answer))
}

/// Returns the rule for a call of the tool `bash` at the beginning of a turn.
pub(crate) fn calls_shell(command: &str) -> Rule {
    When::agent().after_tools(0).reply(bash(command))
}

/// Returns a call of the tool `bash`.
pub(crate) fn bash(command: &str) -> Part {
    Part::tool_call("bash", json!({"command": command, "description": "Do it"}))
}

/// Returns the entries of a directory.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Returns the last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
