//! Plays a case: starts the command, does to it what is to happen, and waits for its end.

use crate::checks;
use crate::plan::{Format, Happens, Plan, When};
use crate::tally::PROMISED;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::{Fake, FakeScript, Sandbox};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// What takes longer than this hangs, whatever the machine does.
const HANG: Duration = Duration::from_mins(5);
/// How many characters of stdout are shown of a case in which something was violated.
const SHOWN: usize = 3000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A case in which everything held.
#[derive(Debug)]
pub(crate) struct Played {
    /// How the command ended, in words.
    pub(crate) ended: String,
    /// How long it took from what happened, where something happened while it ran.
    pub(crate) took: Option<Duration>,
    /// How long it took from there until nothing was alive.
    pub(crate) swept: Duration,
}

impl Played {
    /// Returns whether it took longer than is promised, by the slack of the machine.
    pub(crate) fn is_late(&self) -> bool {
        self.took.unwrap_or_default() + self.swept > PROMISED
    }
}

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// None where nobody read it to its end.
    pub(crate) stdout: Option<String>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Returns the file by which opencode says that there is something to end.
pub(crate) fn ready(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("ready")
}

/// Returns the message of a case, by which it is found again.
pub(crate) fn message(plan: &Plan) -> String {
    format!("hello from case {}", plan.case)
}

/// Plays a case; fails with what was violated.
pub(crate) fn play(plan: &Plan, sandbox: &Sandbox, programs: &Programs, slack: Duration) -> Result<Played, String> {
    let fake = FakeScript::new(sandbox, &programs.fake).on(plan.transport.name(), plan.course.acts.clone()).write();
    let mut running = Running::start(plan, sandbox, &fake, &programs.opencode_run)?;
    let happened = running.happen(plan, sandbox, &fake)?;
    let outcome = running.wait()?;
    let ended = Instant::now();
    let took = happened.map(|happened| ended.saturating_duration_since(happened));
    let swept = nothing_alive(sandbox, PROMISED + slack)?;
    let violated = |what: String| {
        // A stream of JSON is long, and what it ended with says most.
        let stdout = outcome.stdout.as_deref().unwrap_or_default();
        let stdout: String = stdout.chars().skip(stdout.chars().count().saturating_sub(SHOWN)).collect();
        let (status, stderr, words) = (outcome.status, &outcome.stderr, words(plan));
        Err(format!("{what}\n  {status:?}, stdout: {stdout:?}, stderr: {stderr:?}\n  asked: {words:?}"))
    };
    if let Some(took) = took
        && took > PROMISED + slack
    {
        return violated(format!("the command ended {took:?} after what happened"));
    }
    match checks::check(plan, sandbox, &outcome, fake.log().is_empty())
        .and_then(|()| checks::resume(plan, sandbox, programs))
    {
        Ok(()) => Ok(Played { ended: in_words(&outcome), took, swept }),
        Err(what) => violated(what),
    }
}

fn in_words(outcome: &Outcome) -> String {
    match (outcome.code(), outcome.status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// Returns the arguments of a case.
fn words(plan: &Plan) -> Vec<String> {
    let mut words =
        vec!["--transport", plan.transport.name(), "--output-format", plan.format.name(), "--save-markdown"];
    let limit;
    match plan.happens {
        Happens::Timeout(ms) => {
            limit = format!("{ms}ms");
            words.extend(["--timeout", &limit]);
        }
        Happens::IdleTimeout(ms) => {
            limit = format!("{ms}ms");
            words.extend(["--idle-timeout", &limit]);
        }
        // Nothing may be printed any more, and then nothing tells that nobody reads it.
        Happens::CloseStdout => words.extend(["--timeout", "4s"]),
        _ => {}
    }
    words.into_iter().map(str::to_owned).chain([message(plan)]).collect()
}

/// Waits until nothing of a sandbox is alive; returns how long that took.
fn nothing_alive(sandbox: &Sandbox, limit: Duration) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let alive = sandbox.suspects().alive();
        if alive.is_empty() {
            return Ok(began.elapsed());
        }
        if began.elapsed() > limit {
            sandbox.suspects().kill_all();
            return Err(format!("alive after {limit:?}, and killed now: {alive:?}"));
        }
        sleep(LOOK_EVERY);
    }
}

/// The command under way.
struct Running {
    child: Child,
    began: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: JoinHandle<Vec<u8>>,
    /// A stdout that will be closed, and that nobody reads until then.
    unread: Option<std::process::ChildStdout>,
}

impl Running {
    fn start(plan: &Plan, sandbox: &Sandbox, fake: &Fake, program: &Path) -> Result<Self, String> {
        let mut command = sandbox.command(program);
        command.arg("--opencode").arg(fake.executable()).args(words(plan));
        let (child, stdout, stderr) = spawn(&mut command)?;
        let (stdout, unread) = match plan.happens {
            Happens::CloseStdout => (None, Some(stdout)),
            _ => (Some(read(stdout)), None),
        };
        Ok(Self { child, began: Instant::now(), stdout, stderr: read(stderr), unread })
    }

    /// Does what is to happen; returns when that was, where it was something that the command ends by.
    fn happen(&mut self, plan: &Plan, sandbox: &Sandbox, fake: &Fake) -> Result<Option<Instant>, String> {
        if matches!(plan.happens, Happens::Nothing | Happens::Timeout(_) | Happens::IdleTimeout(_)) {
            return Ok(None);
        }
        if !self.wait_until(plan.when, &ready(sandbox))? {
            return Ok(None);
        }
        let at = Instant::now();
        match plan.happens {
            Happens::Interrupt => self.signal(Signal::INT),
            Happens::InterruptTwice => {
                self.signal(Signal::INT);
                sleep(Duration::from_millis(100));
                self.signal(Signal::INT);
            }
            Happens::Terminate => self.signal(Signal::TERM),
            Happens::HangUp => self.signal(Signal::HUP),
            Happens::Kill => self.signal(Signal::KILL),
            Happens::KillOpencode => kill_opencode(fake, plan.transport.name()),
            Happens::CloseStdout => {
                drop(self.unread.take());
                // It is noticed when something is printed.
                return Ok(None);
            }
            Happens::Nothing | Happens::Timeout(_) | Happens::IdleTimeout(_) => {}
        }
        Ok(Some(at))
    }

    /// Waits until it is time, and returns whether the command is still at work then.
    fn wait_until(&mut self, when: When, ready: &Path) -> Result<bool, String> {
        let after = |began: Instant, ms| began.elapsed() >= Duration::from_millis(ms);
        let mut since = None;
        while !self.has_ended()? {
            if self.began.elapsed() > HANG {
                return Err(self.give_up("opencode has not come so far that there is something to end"));
            }
            match when {
                When::Start(ms) if after(self.began, ms) => return Ok(true),
                When::Ready(ms) if since.is_some_and(|since| after(since, ms)) => return Ok(true),
                When::Ready(_) if since.is_none() && ready.exists() => since = Some(Instant::now()),
                _ => sleep(LOOK_EVERY),
            }
        }
        Ok(false)
    }

    fn has_ended(&mut self) -> Result<bool, String> {
        Ok(self.child.try_wait().map_err(|error| error.to_string())?.is_some())
    }

    fn signal(&self, signal: Signal) {
        // It has not been waited for, so its pid is its own. That it has ended meanwhile is no matter.
        kill_process(Pid::from_child(&self.child), signal).ok();
    }

    fn give_up(&mut self, why: &str) -> String {
        self.child.kill().ok();
        self.child.wait().ok();
        format!("{why} within {HANG:?}: killed")
    }

    fn wait(mut self) -> Result<Outcome, String> {
        while !self.has_ended()? {
            if self.began.elapsed() > HANG {
                return Err(self.give_up("the command did not end"));
            }
            sleep(LOOK_EVERY);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let text =
            |reader: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned();
        Ok(Outcome { status, stdout: self.stdout.map(text), stderr: text(self.stderr) })
    }
}

/// Starts a command with nothing on stdin, and returns its ends of the pipes.
pub(crate) fn spawn(
    command: &mut Command,
) -> Result<(Child, std::process::ChildStdout, std::process::ChildStderr), String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the command cannot be started: {error}"))?;
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok((child, stdout, stderr)),
        _ => Err("the command has no pipes".to_owned()),
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// Kills the opencode of this case, if it is at work.
fn kill_opencode(fake: &Fake, command: &str) {
    let log = fake.log_of(command);
    let at_work = log.iter().filter(|invocation| invocation.exit.is_none());
    for pid in at_work.filter_map(|invocation| Pid::from_raw(i32::try_from(invocation.pid).ok()?)) {
        kill_process(pid, Signal::KILL).ok();
    }
}

impl Plan {
    /// Returns whether what is printed is JSON.
    pub(crate) fn prints_json(&self) -> bool {
        self.format != Format::Text
    }
}
