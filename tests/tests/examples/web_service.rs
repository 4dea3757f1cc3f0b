//! The web service: tasks of many clients on one server of opencode.

use super::{User, sleeping};
use opencode_run_scripted_model::{Answer, When};
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use opencode_run_tests::{FakeScript, Sandbox, fake_opencode_bin};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// The time limit on a busy machine: longer is a hang.
const LIMIT: Duration = Duration::from_mins(2);

/// The number of parallel tasks.
const TASKS: usize = 20;

/// The memory that all processes may take while that many tasks run, in bytes: it is 650 to 700 MB, and up to 100 MB more
/// until opencode's runtime has collected its garbage, which it does later on a busy machine.
const MAX_MEMORY: u64 = 850 << 20;

/// A running service.
struct Service {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Service {
    fn start(sandbox: &Sandbox) -> Self {
        let mut command = sandbox.command(example!("web-service"));
        command.args(["127.0.0.1:0", &TASKS.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, stdout, address }
    }

    /// Posts a prompt and returns the response after its head.
    fn post(&self, prompt: &str) -> Client {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = prompt.len();
        write!(stream, "POST /tasks HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{prompt}").unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Client { status: head.split(' ').nth(1).unwrap().to_owned(), stream }
    }

    /// Sends SIGTERM, and returns the reports of the clients after the service has exited successfully.
    fn stop(mut self, clients: impl IntoIterator<Item = Client>) -> Vec<Value> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let reports = clients.into_iter().map(Client::report).collect();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!((self.child.wait().unwrap().code(), rest.as_str()), (Some(0), "stopped\n"));
        reports
    }
}

/// A client that reads the events of its task.
struct Client {
    status: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Reads up to an event of this kind and returns its data.
    fn event(&mut self, kind: &str) -> Value {
        let mut line = String::new();
        while self.stream.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().strip_prefix("event: ") == Some(kind) {
                line.clear();
                self.stream.read_line(&mut line).unwrap();
                return serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            }
            line.clear();
        }
        panic!("no event {kind}");
    }

    /// Reads up to the report, the last event.
    fn report(mut self) -> Value {
        let report = self.event("report");
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.trim(), "");
        report
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the number of task directories that are left.
fn task_dirs(sandbox: &Sandbox) -> usize {
    let names = fs::read_dir(sandbox.path("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("task_web")).count()
}

#[test]
fn web_service() {
    let mut sandbox = Sandbox::new();
    let tool =
        Act::Spawn { kind: SpawnKind::Setsid, duration_s: 60, ignore_signals: true, hold_output: false, count: None };
    let serving = Serving::doing([tool.into(), TurnAct::replay("1.18.33/abort-tool")])
        .turn(TurnRule::every([TurnAct::replay("1.18.33/plain-text")]).said("Say hello"));
    let serving = Serving { turns: serving.turns.into_iter().rev().collect(), ..serving };
    let fake = FakeScript::new(&sandbox, fake_opencode_bin!()).on("serve", [serving.act()]).write();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([fake.bin_dir().to_owned()].into_iter().chain(std::env::split_paths(&path)));
    sandbox.set("PATH", path.unwrap());
    let service = Service::start(&sandbox);

    let report = service.post("Say hello.").report();
    assert_eq!(
        (report["state"].as_str(), report["output"].as_str()),
        (Some("completed"), Some("Hello from the model."))
    );
    wait_until("the directory is removed", || task_dirs(&sandbox) == 0);

    let mut clients: Vec<Client> = (0..TASKS).map(|_| service.post("Wait.")).collect();
    assert_eq!(service.post("One more.").status, "503");
    for client in &mut clients {
        assert_eq!(client.status, "200");
        client.event("tool");
    }
    assert_eq!((fake.log_of("serve").len(), task_dirs(&sandbox)), (1, TASKS));

    let alive = || fake.spawned().iter().filter(|process| process.is_alive()).count();
    assert_eq!(alive(), TASKS);
    clients.truncate(2);
    wait_until("the tasks of the others have ended", || alive() == 2 && task_dirs(&sandbox) == 2);
    let report = service.post("Say hello.").report();
    assert_eq!(report["state"], "completed", "a slot is free again");

    for report in service.stop(clients) {
        assert_eq!(report["state"], "interrupted");
    }
    assert_eq!((fake.log_of("serve").len(), task_dirs(&sandbox)), (1, 0));
    sandbox.assert_nothing_alive();
}

/// Returns the memory of all processes of a sandbox in bytes: of shared pages, each has its proportional share.
fn memory(sandbox: &Sandbox) -> u64 {
    let share = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let share = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
        share.unwrap_or(0u64) << 10
    };
    sandbox.suspects().alive().into_iter().map(|(pid, _)| share(pid)).sum()
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn web_service_on_real_opencode() {
    let hello = When::agent().said("Say hello").reply(Answer::text("Hello."));
    let user = User::new(sleeping().into_iter().chain([hello]));
    let sandbox = &user.sandbox;
    let source =
        format!("MODEL_DEFAULT_BASEURL={}\nMODEL_DEFAULT_APIKEY=sk-1\nMODEL_DEFAULT_MODEL=m\n", user.model.base_url());
    fs::write(sandbox.workspace().join(".env"), source).unwrap();
    let service = Service::start(sandbox);
    let report = service.post("Say hello.").report();
    assert_eq!((report["state"].as_str(), report["output"].as_str()), (Some("completed"), Some("Hello.")), "{report}");

    let count = |is: fn(&str) -> bool| sandbox.suspects().alive().iter().filter(|(_, line)| is(line)).count();
    let tools = || count(|line| line.starts_with("sleep 60"));
    let mut clients: Vec<Client> = (0..TASKS).map(|_| service.post("Run sleep 60.")).collect();
    wait_until("all tools run", || tools() == TASKS);
    // Its supervisor names it, too.
    assert_eq!(count(|line| line.contains(" serve ") && !line.contains("__watch")), 1);
    let bytes = memory(sandbox);
    println!("{TASKS} tasks: {} MB in all processes", bytes >> 20);
    assert!(bytes < MAX_MEMORY, "{} MB", bytes >> 20);

    clients.truncate(2);
    wait_until("the tasks of the others have ended", || tools() == 2 && task_dirs(sandbox) == 2);
    let report = service.post("Say hello.").report();
    assert_eq!(report["state"], "completed", "{report}");
    for report in service.stop(clients) {
        assert_eq!(report["state"], "interrupted");
    }
    assert_eq!(task_dirs(sandbox), 0);
    sandbox.assert_nothing_alive_within(Duration::ZERO);
}
