//! Files, directories and programs that are missing, of another kind, or not readable.

use crate::support::{Case, HANG, PLAIN, Running, Transport, assert_gone, ready_and_stall, spawn, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, SpawnKind};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Asserts that these arguments are refused in text and in JSON, and that no task directory is left.
#[track_caller]
fn assert_refused(case: &Case, arguments: &[&str], code: i32, kind: &str, words: &[&str]) {
    let text = case.run(arguments);
    text.assert_code(code);
    text.assert_says(words);
    assert_eq!(text.stdout, "");
    let (json, object) = case.run_json(arguments);
    json.assert_code(code);
    assert_eq!(object["error"]["kind"], kind, "{object}");
    assert!(object["task_dir"].is_null(), "{object}");
    assert!(case.task_dirs().is_empty(), "{:?}", case.task_dirs());
    assert!(case.fake.log_of("run").is_empty(), "nothing ran");
}

#[test]
fn file_as_workspace_is_refused() {
    let case = Case::replaying(PLAIN);
    let file = case.sandbox.path("file");
    fs::write(&file, "kept").unwrap();
    let path = file.to_str().unwrap();
    assert_refused(&case, &["--workspace", path, "hello"], 3, "config", &["is not a directory", path]);
    let below = format!("{path}/below");
    assert_refused(
        &case,
        &["--workspace", &below, "hello"],
        3,
        "config",
        &["cannot create a task directory", "hint: "],
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn unwritable_workspace_is_refused() {
    let case = Case::replaying(PLAIN);
    // The kernel lets no user write there, not even the superuser, for whom permissions are ignored.
    assert_refused(
        &case,
        &["--workspace", "/proc", "hello"],
        3,
        "config",
        &["cannot create a task directory in /proc"],
    );
    assert_refused(&case, &["--workspace", "/proc/new", "hello"], 3, "config", &["cannot create a task directory"]);
    if rustix::process::geteuid().is_root() {
        return;
    }
    let locked = case.sandbox.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let path = locked.to_str().unwrap();
    assert_refused(&case, &["--workspace", path, "hello"], 3, "config", &["cannot create a task directory", "hint: "]);
}

#[test]
fn invalid_working_directory_is_refused() {
    let case = Case::replaying(PLAIN);
    assert_refused(&case, &["--dir", "nowhere", "hello"], 2, "usage", &["cannot work in nowhere", "hint: "]);
    fs::write(case.sandbox.workspace().join("file"), "").unwrap();
    assert_refused(&case, &["--dir", "file", "hello"], 2, "usage", &["cannot work in file"]);
}

#[test]
fn unreadable_attachments_are_refused() {
    let case = Case::replaying(PLAIN);
    fs::create_dir(case.sandbox.workspace().join("folder")).unwrap();
    let files = [
        ("missing.txt", "there is no such file"),
        ("folder", "it is a directory"),
        (".", "it is a directory"),
        ("/dev/zero", "it is longer than 32 MiB"),
    ];
    for (file, why) in files {
        assert_refused(&case, &["--file", file, "hello"], 2, "usage", &[&format!("cannot attach {file}: {why}")]);
    }
}

#[test]
fn missing_or_invalid_env_file_is_refused() {
    let case = Case::replaying(PLAIN);
    assert_refused(&case, &["--config", "missing.env", "hello"], 3, "config", &["missing.env", "hint: "]);
    assert_refused(&case, &["--config", ".", "hello"], 3, "config", &["error: "]);
    fs::write(case.sandbox.workspace().join("latin1.env"), b"MODEL_CODE_MODEL=caf\xe9\n").unwrap();
    assert_refused(&case, &["--config", "latin1.env", "hello"], 3, "config", &["latin1.env", "UTF-8"]);
}

#[test]
fn invalid_utf8_in_discovered_env_warns() {
    let case = Case::replaying(PLAIN);
    fs::write(case.sandbox.workspace().join(".env"), b"OTHER=caf\xe9\nMODEL_CODE_MODEL=caf\xe9\n").unwrap();
    let outcome = case.run(&["hello"]);
    outcome.assert_code(0);
    outcome.assert_says(&["warning: ", ".env", "UTF-8"]);
}

#[test]
fn missing_or_binary_context_is_refused() {
    let case = Case::replaying(PLAIN);
    assert_refused(&case, &["--context-file", "missing.md", "hello"], 2, "usage", &["missing.md"]);
    fs::write(case.sandbox.workspace().join("latin1.md"), b"caf\xe9").unwrap();
    assert_refused(&case, &["--context-file", "latin1.md", "hello"], 2, "usage", &["latin1.md", "UTF-8"]);
}

#[test]
fn unwritable_transcript_is_reported() {
    let case = Case::replaying(PLAIN);
    assert_refused(&case, &["--save-markdown=no/folder/x.md", "hello"], 2, "usage", &["cannot be written"]);
    assert_refused(&case, &["--save-markdown=.", "hello"], 2, "usage", &["it is a directory"]);
}

#[test]
fn invalid_opencode_is_refused() {
    let case = Case::replaying(PLAIN);
    let plain = case.sandbox.path("plain");
    fs::write(&plain, "text").unwrap();
    let folder = case.sandbox.home();
    for (path, words) in [
        (folder.as_path(), "it is a directory"),
        (plain.as_path(), "it lacks the execute permission"),
        (Path::new("/nowhere/opencode"), "there is no opencode at"),
    ] {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["--output-format", "json", "hello", "--opencode"]).arg(path);
        let outcome = Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).wait();
        outcome.assert_code(4);
        outcome.assert_says(&[words, "hint: "]);
        assert_eq!(outcome.object()["error"]["kind"], "opencode");
    }
    assert!(case.task_dirs().is_empty());
    case.sandbox.assert_nothing_alive();
}

#[test]
fn program_other_than_opencode_is_refused() {
    for (acts, words) in [
        (vec![Act::Exit { code: 3 }], "does not answer --version"),
        (vec![Act::Stdout { text: "hello\n".into() }], "does not answer --version"),
        (vec![Act::Stdout { text: "1.0.0\n".into() }], "the oldest supported version is"),
        (vec![Act::Stdout { text: "2.0.0\n".into() }], "the oldest supported version is 2.0.4"),
        (vec![Act::Stdout { text: "3.0.0\n".into() }], "are not supported yet"),
        (vec![Act::Stdout { text: "1.15.13\n".into() }], "is not supported by `run`"),
    ] {
        let case = Case::new(|script, _| script.on("--version", acts));
        assert_refused(&case, &["hello"], 4, "opencode", &[words, "hint: "]);
    }
}

#[test]
fn interrupt_before_the_turn_is_reported() {
    // The last one is a server that never listens.
    for (command, session) in [("--version", None), ("export", Some("--session=ses_1")), ("serve", None)] {
        for signal in [Signal::INT, Signal::KILL] {
            let case = Case::new(|script, sandbox| {
                let child = spawn(SpawnKind::DoubleForkClearsEnvironment);
                script.on(command, [child].into_iter().chain(ready_and_stall(sandbox)))
            });
            // In server mode the server is queried for the session.
            let case = if session.is_some() { case } else { case.on(Transport::Serve) };
            let running = case.start(&["--output-format", "json", session.unwrap_or("--quiet"), "hello"]);
            case.wait_until_ready();
            running.signal(signal);
            case.sandbox.assert_nothing_alive();
            let outcome = running.wait();
            if signal == Signal::INT {
                outcome.assert_code(130);
                assert_eq!(outcome.object()["state"], "interrupted", "{command}");
                assert!(case.task_dirs().is_empty(), "{command}");
            }
        }
    }
}

#[test]
fn key_command_obeys_the_time_limit() {
    let case = Case::replaying(PLAIN);
    let config = case.sandbox.path("models.env");
    let asked = "setsid sleep 600; echo sk-1";
    let source = format!(
        "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY_COMMAND=\"{asked}\"\n"
    );
    fs::write(&config, source).unwrap();
    for further in [&[][..], &["--session", "ses_1"]] {
        let arguments = [&["--config", config.to_str().unwrap(), "--timeout", "1s"], further, &["hello"]].concat();
        let (outcome, object) = case.run_json(&arguments);
        outcome.assert_code(124);
        assert!(outcome.elapsed < Duration::from_mins(1), "{outcome:?}");
        outcome.assert_says(&["the command for the key of the model source `default` did not end within 1s", "hint: "]);
        assert_eq!(object["error"]["kind"], "timeout");
        assert!(case.fake.log_of("run").is_empty() && case.task_dirs().is_empty(), "nothing ran");
    }
}

#[test]
fn key_file_may_be_a_pipe() {
    let case = Case::replaying(PLAIN);
    let config = case.sandbox.path("models.env");
    let key = case.sandbox.path("key");
    fifo(&key);
    let source = "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY_FILE=key\n";
    fs::write(&config, source).unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "hello"];
    let (outcome, object) = case.run_json(&[&["--timeout", "1s"], &arguments[..]].concat());
    outcome.assert_code(124);
    outcome.assert_says(&["the file for the key of the model source `default` did not end within 1s", "hint: "]);
    assert_eq!(object["error"]["kind"], "timeout");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let running = case.start(&arguments);
        let _writer = wait_for_reader(&key);
        running.signal(signal);
        running.wait().assert_code(code);
    }
    let mut doctor = case.sandbox.command(opencode_run_bin!());
    doctor.args(["doctor", "--offline", "--config"]).arg(&config);
    doctor.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::spawn(&mut doctor);
    let writer = wait_for_reader(&key);
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    drop(writer);
    assert!(case.fake.log_of("run").is_empty() && case.task_dirs().is_empty(), "nothing ran");
    let running = case.start(&arguments);
    fs::write(&key, "sk-1\n").unwrap();
    running.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

/// Waits until a process opens a FIFO for reading. That process keeps waiting while the returned file is open.
fn wait_for_reader(fifo: &Path) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let opened = std::cell::OnceCell::new();
    wait_until("the FIFO is read", || options.open(fifo).is_ok_and(|file| opened.set(file).is_ok()));
    opened.into_inner().unwrap()
}

#[test]
fn key_command_ends_with_the_run() {
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let case = Case::replaying(PLAIN);
        let config = case.sandbox.path("models.env");
        let ready = case.sandbox.path("ready");
        let asked = format!("setsid sh -c 'echo > {}; sleep 600'; echo sk-1", ready.display());
        let source = format!(
            "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY_COMMAND=\"{asked}\"\n"
        );
        fs::write(&config, source).unwrap();
        let running = case.start(&["--config", config.to_str().unwrap(), "hello"]);
        case.wait_until_ready();
        running.signal(signal);
        case.sandbox.assert_nothing_alive();
        let outcome = running.wait();
        if let Some(code) = code {
            outcome.assert_code(code);
            assert!(case.task_dirs().is_empty());
        }
        assert!(case.fake.log_of("run").is_empty(), "nothing ran");
    }
}

#[test]
fn interrupt_ends_the_wait_for_files() {
    for option in ["--context-file", "--config"] {
        let case = Case::replaying(PLAIN);
        let path = case.sandbox.path("fifo");
        fifo(&path);
        let mut running = case.start(&[option, path.to_str().unwrap(), "hello"]);
        // The wait is not visible; a signal that arrives before it is handled as well.
        std::thread::sleep(Duration::from_millis(700));
        running.began = Instant::now();
        running.signal(Signal::INT);
        let outcome = running.wait_for(HANG);
        outcome.assert_code(130);
        assert!(outcome.elapsed < Duration::from_secs(10), "{option}: {outcome:?}");
        assert!(case.task_dirs().is_empty());
        assert_gone(&case.sandbox.path("ready"));
        case.sandbox.assert_nothing_alive();
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
