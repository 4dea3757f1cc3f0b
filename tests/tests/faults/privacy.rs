//! Information about the command that other processes of the same user, such as the agent's tools, can read. Readable
//! files are reported.
//!
//! The superuser can read everything: if the tests run as root, the command runs as an unprivileged user.

use crate::support::{Case, PLAIN, Running, deaf, plain, spawn, stdout};
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::worker_of;
use rustix::process::{Signal, geteuid};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// The user id of an unprivileged account that every Linux has.
const NOBODY: u32 = 65534;

/// Makes a command run as an unprivileged user.
fn as_plain_user(command: &mut Command) -> &mut Command {
    if geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// Gives the sandbox to that user. Returns false if that user cannot reach the programs under test.
fn give_away(case: &Case) -> bool {
    fn give(path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            for entry in std::fs::read_dir(path).unwrap() {
                give(&entry.unwrap().path());
            }
        }
    }
    if !geteuid().is_root() {
        return true;
    }
    give(case.sandbox.root());
    let reachable = |path: &Path| {
        let open = |folder: &Path| folder.metadata().unwrap().permissions().mode() & 0o001 != 0;
        path.canonicalize().unwrap().ancestors().all(open)
    };
    let reached = reachable(case.fake.executable());
    if !reached {
        let why = "the tests run as root, and their programs are in a folder that nobody else may enter";
        writeln!(std::io::stderr(), "skipped: {why}").ok();
    }
    reached
}

fn read(pid: u32, file: &str) -> Output {
    as_plain_user(Command::new("cat").arg(format!("/proc/{pid}/{file}"))).output().unwrap()
}

fn start(case: &Case) -> Running {
    let running = Running::spawn(as_plain_user(&mut case.command(&["hello"])));
    case.wait_until_ready();
    running
}

#[test]
fn environment_and_memory_are_unreadable() {
    let case = Case::stalling([plain(0, 2)]);
    if !give_away(&case) {
        return;
    }
    let running = start(&case);
    let monitor = running.child.id();
    for process in [monitor, worker_of(monitor).unwrap()] {
        for file in ["environ", "mem", "maps", "auxv", "fd/0"] {
            let output = read(process, file);
            assert!(!output.status.success() && output.stdout.is_empty(), "{file} was read: {output:?}");
        }
    }
    // The agent's own data is readable in the same way: so the test proves that the command protects itself.
    let opencode = read(case.fake.log_of("run")[0].pid, "environ");
    assert!(String::from_utf8_lossy(&opencode.stdout).contains("OPENCODE_RUN_MARKER="), "{opencode:?}");
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn protected_command_works_as_usual() {
    let kinds = [SpawnKind::Setsid, SpawnKind::DoubleFork, SpawnKind::DoubleForkClearsEnvironment];
    let case = Case::stalling([deaf(), plain(0, 2)].into_iter().chain(kinds.map(spawn)));
    if !give_away(&case) {
        return;
    }
    for signal in [Signal::INT, Signal::KILL] {
        let running = start(&case);
        running.signal(signal);
        case.sandbox.assert_nothing_alive();
        running.wait();
        std::fs::remove_file(case.ready_file()).unwrap();
    }
    let case = Case::doing([Act::Pause { ms: 10 }, plain(0, 3)]);
    assert!(give_away(&case));
    Running::spawn(as_plain_user(&mut case.command(&["hello"]))).wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn exposed_key_is_reported_once() {
    let case = Case::replaying(PLAIN);
    let file = case.sandbox.workspace().join(".env");
    std::fs::write(
        &file,
        "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY=sk-1234567890\n",
    )
    .unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let said = |arguments: &[&str]| {
        let outcome = case.run(arguments);
        outcome.assert_code(0);
        assert!(!outcome.stderr.contains("sk-1234567890"), "{outcome:?}");
        outcome.stderr.lines().filter(|line| line.contains("contains a key")).map(str::to_owned).collect::<Vec<_>>()
    };
    mode(0o600);
    assert_eq!(said(&["hello"]), Vec::<String>::new(), "it is beside the task's directory");
    let within = said(&["--dir", ".", "-q", "hello"]);
    assert!(within.len() == 1 && within[0].contains("in the agent's working directory: "), "{within:?}");
    mode(0o644);
    let open = said(&["hello"]);
    assert!(open.len() == 1 && open[0].contains("chmod 600 .env"), "{open:?}");
    assert_eq!(said(&["--no-env", "hello"]), Vec::<String>::new());
}

#[test]
fn key_in_answer_is_redacted() {
    const KEY: &str = "sk-very-secret-0123456789";
    let text = format!(
        "{{\"type\":\"text\",\"sessionID\":\"{{{{session}}}}\",\"part\":{{\"id\":\"prt_2\",\"messageID\":\"msg_1\",\
         \"type\":\"text\",\"text\":\"It is {KEY}, I think.\",\"time\":{{\"start\":1,\"end\":2}}}}}}\n"
    );
    let case = Case::doing([plain(0, 1), stdout(&text), plain(2, 3)]);
    let file = case.sandbox.path("keys.env");
    let source =
        format!("MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY={KEY}\n");
    std::fs::write(&file, source).unwrap();
    let common = ["--config", file.to_str().unwrap(), "--save-markdown=../talk.md", "-vvv", "--output-format"];
    for format in ["text", "json", "stream-json"] {
        let outcome = case.run(&[&common[..], &[format, "hello"]].concat());
        outcome.assert_code(0);
        assert!(outcome.stdout.contains("It is [redacted], I think."), "{format}: {outcome:?}");
        let talk = std::fs::read_to_string(case.sandbox.path("talk.md")).unwrap();
        for written in [&outcome.stdout, &outcome.stderr, &talk] {
            assert!(!written.contains(KEY), "{format}: {written}");
        }
    }
}
