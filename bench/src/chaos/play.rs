//! Runs a case: starts the command, injects the fault, and waits for its end.

use crate::checks;
use crate::outcome::{GUARANTEED, Outcome, Played, message};
use crate::plan::{Fault, Format, Plan, Transport, When};
use opencode_run_bench::programs::Programs;
use opencode_run_tests::{Fake, FakeScript, Sandbox};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The time after which a case counts as hanging on any machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(5);
/// The number of characters of stdout that are shown for a violation.
const MAX_SHOWN_CHARS: usize = 3000;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the file that signals that there is something to end.
pub(crate) fn ready(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("ready")
}

/// Runs a case; returns the violation as an error.
pub(crate) fn play(plan: &Plan, sandbox: &Sandbox, programs: &Programs, slack: Duration) -> Result<Played, String> {
    let script = FakeScript::new(sandbox, &programs.fake).on(plan.transport.name(), plan.course.acts.clone());
    let fake = if plan.transport == Transport::Serve2 { script.opencode2() } else { script }.write();
    let mut running = Running::start(plan, sandbox, &fake, &programs.opencode_run)?;
    let happened = running.inject_fault(plan, sandbox, &fake)?;
    let outcome = running.wait()?;
    let ended = Instant::now();
    let took = happened.map(|happened| ended.saturating_duration_since(happened));
    let all_exited = wait_until_none_alive(sandbox, GUARANTEED + slack)?;
    let violated = |what: String| {
        // A stream of JSON is long, and its end is the most informative part.
        let stdout = outcome.stdout.as_deref().unwrap_or_default();
        let stdout: String = stdout.chars().skip(stdout.chars().count().saturating_sub(MAX_SHOWN_CHARS)).collect();
        let status = outcome.status;
        let stderr = &outcome.stderr;
        let words = words(plan);
        Err(format!("{what}\n  {status:?}, stdout: {stdout:?}, stderr: {stderr:?}\n  asked: {words:?}"))
    };
    if let Some(took) = took
        && took > GUARANTEED + slack
    {
        return violated(format!("the command ended {took:?} after the fault"));
    }
    match checks::check(plan, sandbox, &outcome, fake.log().is_empty())
        .and_then(|()| checks::resume(plan, sandbox, programs))
    {
        Ok(()) => Ok(Played { ended: describe_end(&outcome), took, all_exited }),
        Err(what) => violated(what),
    }
}

fn describe_end(outcome: &Outcome) -> String {
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
    match plan.fault {
        Fault::Timeout(ms) => {
            limit = format!("{ms}ms");
            words.extend(["--timeout", &limit]);
        }
        Fault::IdleTimeout(ms) => {
            limit = format!("{ms}ms");
            words.extend(["--idle-timeout", &limit]);
        }
        // If nothing more is printed, the missing reader is not noticed, so the turn needs a limit.
        Fault::CloseStdout => words.extend(["--timeout", "4s"]),
        _ => {}
    }
    words.into_iter().map(str::to_owned).chain([message(plan)]).collect()
}

/// Waits until no process of a sandbox is alive; returns the time that took.
fn wait_until_none_alive(sandbox: &Sandbox, limit: Duration) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let alive = sandbox.suspects().alive();
        if alive.is_empty() {
            return Ok(began.elapsed());
        }
        if began.elapsed() > limit {
            sandbox.suspects().kill_all();
            return Err(format!("processes still alive after {limit:?}, now killed: {alive:?}"));
        }
        sleep(POLL_INTERVAL);
    }
}

/// The running command.
struct Running {
    child: Child,
    began: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: JoinHandle<Vec<u8>>,
    /// A stdout that is not read and will be closed.
    unread: Option<std::process::ChildStdout>,
}

impl Running {
    fn start(plan: &Plan, sandbox: &Sandbox, fake: &Fake, program: &Path) -> Result<Self, String> {
        let mut command = sandbox.command(program);
        command.arg("--opencode").arg(fake.executable()).args(words(plan));
        let (child, stdout, stderr) = spawn(&mut command)?;
        let (stdout, unread) = match plan.fault {
            Fault::CloseStdout => (None, Some(stdout)),
            _ => (Some(read(stdout)), None),
        };
        Ok(Self { child, began: Instant::now(), stdout, stderr: read(stderr), unread })
    }

    /// Injects the fault; returns its time if the command must end because of it.
    fn inject_fault(&mut self, plan: &Plan, sandbox: &Sandbox, fake: &Fake) -> Result<Option<Instant>, String> {
        if matches!(plan.fault, Fault::Nothing | Fault::Timeout(_) | Fault::IdleTimeout(_)) {
            return Ok(None);
        }
        if !self.wait_until(plan.when, &ready(sandbox))? {
            return Ok(None);
        }
        let at = Instant::now();
        match plan.fault {
            Fault::Interrupt => self.signal(Signal::INT),
            Fault::InterruptTwice => {
                self.signal(Signal::INT);
                sleep(Duration::from_millis(100));
                self.signal(Signal::INT);
            }
            Fault::Terminate => self.signal(Signal::TERM),
            Fault::HangUp => self.signal(Signal::HUP),
            Fault::Kill => self.signal(Signal::KILL),
            Fault::KillOpencode => kill_opencode(fake, plan.transport.name()),
            Fault::CloseStdout => {
                drop(self.unread.take());
                // The command notices the closed pipe only when it prints something.
                return Ok(None);
            }
            Fault::Nothing | Fault::Timeout(_) | Fault::IdleTimeout(_) => {}
        }
        Ok(Some(at))
    }

    /// Waits until it is time for the fault, and returns whether the command is still running.
    fn wait_until(&mut self, when: When, ready: &Path) -> Result<bool, String> {
        let after = |began: Instant, ms| began.elapsed() >= Duration::from_millis(ms);
        let mut since = None;
        while !self.has_ended()? {
            if self.began.elapsed() > HANG_TIMEOUT {
                return Err(self.give_up("opencode did not start anything that can be ended"));
            }
            match when {
                When::Start(ms) if after(self.began, ms) => return Ok(true),
                When::Ready(ms) if since.is_some_and(|since| after(since, ms)) => return Ok(true),
                When::Ready(_) if since.is_none() && ready.exists() => since = Some(Instant::now()),
                _ => sleep(POLL_INTERVAL),
            }
        }
        Ok(false)
    }

    fn has_ended(&mut self) -> Result<bool, String> {
        Ok(self.child.try_wait().map_err(|error| error.to_string())?.is_some())
    }

    fn signal(&self, signal: Signal) {
        // The child was not reaped, so its pid was not reused. It may have exited meanwhile, which is fine.
        kill_process(Pid::from_child(&self.child), signal).ok();
    }

    fn give_up(&mut self, why: &str) -> String {
        self.child.kill().ok();
        self.child.wait().ok();
        format!("{why} within {HANG_TIMEOUT:?}: killed")
    }

    fn wait(mut self) -> Result<Outcome, String> {
        while !self.has_ended()? {
            if self.began.elapsed() > HANG_TIMEOUT {
                return Err(self.give_up("the command did not end"));
            }
            sleep(POLL_INTERVAL);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let text =
            |reader: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned();
        Ok(Outcome { status, stdout: self.stdout.map(text), stderr: text(self.stderr) })
    }
}

/// Starts a command without stdin, and returns it with its pipes.
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

/// Kills the opencode of this case if it is running.
fn kill_opencode(fake: &Fake, command: &str) {
    let log = fake.log_of(command);
    let at_work = log.iter().filter(|invocation| invocation.exit.is_none());
    for pid in at_work.filter_map(|invocation| Pid::from_raw(i32::try_from(invocation.pid).ok()?)) {
        kill_process(pid, Signal::KILL).ok();
    }
}

impl Plan {
    /// Returns whether the output format is JSON.
    pub(crate) fn prints_json(&self) -> bool {
        self.format != Format::Text
    }
}
