//! State that the command inherits from its parent: ignored signals, and streams in any state.

use crate::support::{Case, HANG, PLAIN, PLAIN_TEXT, Running, plain, ready_and_stall, stdout, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, SignalName};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Returns the same command, started by a shell that ignores these signals, like `nohup` and `&`.
fn ignoring(case: &Case, signals: &str, arguments: &[&str]) -> Command {
    let command = case.command(arguments);
    let mut shell = case.sandbox.command("sh");
    shell.args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn ignored_signals_stay_ignored() {
    for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let go = |case: &Case| case.sandbox.path("go");
        let case = Case::new(|script, sandbox| {
            let wait = Act::WaitForFile { path: sandbox.path("go") };
            script.on("run", ready_and_stall(sandbox).into_iter().take(1).chain([wait, plain(0, 3)]))
        });
        let running = Running::spawn(&mut ignoring(&case, name, &["hello"]));
        case.wait_until_ready();
        let opencode = case.fake.log_of("run")[0].pid;
        running.signal(signal);
        // Without the fix the signal would have ended the turn in this time.
        sleep(Duration::from_millis(500));
        let status = std::fs::read_to_string(format!("/proc/{opencode}/status")).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_ne!(ignored & (1 << (signal.as_raw() - 1)), 0, "opencode inherits it: {name}");
        File::create(go(&case)).unwrap();
        let outcome = running.wait();
        outcome.assert_code(0);
        assert_eq!(outcome.stdout, format!("{PLAIN_TEXT}\n"), "{name}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn turn_ends_with_sigchld_blocked() {
    let case = Case::new(|script, _| script.replay("run", PLAIN));
    let command = case.command(&["hello"]);
    let mut blocking = case.sandbox.command("env");
    blocking.args(["--block-signal=CHLD", "--"]).arg(command.get_program()).args(command.get_args());
    blocking.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = Running::spawn(&mut blocking).wait_for(HANG);
    outcome.assert_code(0);
    assert_eq!(outcome.stdout, format!("{PLAIN_TEXT}\n"));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn other_signals_are_still_handled() {
    let case = Case::stalling([]);
    let running = Running::spawn(&mut ignoring(&case, "HUP", &["hello"]));
    case.wait_until_ready();
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn answer_is_printed_while_stderr_is_blocked() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for verbose in [&[][..], &["-v"], &["-vv"], &["-vvv"]] {
        for stderr in [full(), closed()] {
            let case = Case::replaying("1.18.33/tool-then-text");
            let mut command = case.command(&[verbose, &["--output-format", "json", "hello"]].concat());
            command.stderr(stderr);
            let outcome = Running::spawn(&mut command).wait();
            outcome.assert_code(0);
            assert_eq!(outcome.object()["state"], "completed", "{verbose:?}");
            case.sandbox.assert_nothing_alive();
        }
    }
    let case = Case::replaying(PLAIN);
    for arguments in [&["--no-such-option"][..], &["doctor", "--offline"], &["--opencode", "/none", "x"]] {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(full());
        let outcome = Running::spawn(&mut command).wait();
        assert!(outcome.code.is_some_and(|code| code != 101), "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn nonblocking_stdout_is_waited_for() {
    let answer = "0123456789abcdef".repeat(20_000);
    for format in ["text", "json", "stream-json"] {
        let text = json!({"type": "text", "part": {"id": "p", "text": answer}}).to_string();
        let case = Case::doing([plain(0, 1), stdout(&(text + "\n")), plain(2, 3)]);
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
        let mut command = case.command(&["--output-format", format, "hello"]);
        command.stdout(writer);
        let running = Running::spawn(&mut command);
        // From here on the command has the only writer.
        drop(command);
        let reading = std::thread::spawn(move || {
            sleep(Duration::from_millis(300));
            let mut text = String::new();
            File::from(reader).read_to_string(&mut text).unwrap();
            text
        });
        running.wait().assert_code(0);
        let printed = reading.join().unwrap();
        assert!(printed.contains(&answer), "{format}: {} bytes", printed.len());
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn nonblocking_stdin_is_waited_for() {
    let case = Case::replaying(PLAIN);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    let mut command = case.command(&["-"]);
    command.stdin(reader);
    let running = Running::spawn(&mut command);
    drop(command);
    sleep(Duration::from_millis(300));
    File::from(writer).write_all(b"late").unwrap();
    running.wait().assert_code(0);
    assert_eq!(case.fake.log_of("run")[0].stdin.as_deref(), Some("late"));
    case.sandbox.assert_nothing_alive();
}

/// Creates a FIFO without a writer.
fn fifo(case: &Case, name: &str) -> String {
    let path = case.sandbox.path(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn fifo_without_writer_delays_nothing() {
    for option in ["--json-schema", "--context-file", "--config", "--file"] {
        let case = Case::replaying(PLAIN);
        let fifo = fifo(&case, "fifo");
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
            let running = case.start(&[option, &fifo, "hello"]);
            let status = format!("/proc/{}/status", running.child.id());
            // The command opens the file after its signal handlers are installed.
            wait_until("the command catches signals", || {
                std::fs::read_to_string(&status).is_ok_and(|status| {
                    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
                    u64::from_str_radix(caught, 16).unwrap_or(0) & (1 << (signal.as_raw() - 1)) != 0
                })
            });
            running.signal(signal);
            running.wait_for(HANG).assert_code(code);
        }
        let (outcome, object) = case.run_json(&[option, &fifo, "--timeout", "1s", "hello"]);
        outcome.assert_code(124);
        assert_eq!(object["error"]["kind"], "timeout", "{option}: {object}");
        assert!(object["error"]["hint"].as_str().unwrap().contains("pipe"), "{option}: {object}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn endless_input_is_refused() {
    let case = Case::replaying(PLAIN);
    for option in ["--json-schema", "--context-file", "--file"] {
        let (outcome, object) = case.run_json(&[option, "/dev/zero", "hello"]);
        outcome.assert_code(2);
        assert!(object["error"]["message"].as_str().unwrap().contains("it is longer than"), "{option}: {object}");
        assert!(outcome.peak_kib < 150 << 10, "{option}: {} KiB", outcome.peak_kib);
    }
    let mut command = case.command(&["--output-format", "json", "-"]);
    command.stdin(File::open("/dev/zero").unwrap());
    let outcome = Running::spawn(&mut command).wait();
    outcome.assert_code(2);
    assert!(outcome.object()["error"]["message"].as_str().unwrap().contains("it is longer than"));
}

#[test]
fn schema_may_be_a_pipe() {
    let case = Case::replaying(PLAIN);
    let fifo = fifo(&case, "schema");
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, "\u{feff}[]").unwrap()
    });
    let (outcome, object) = case.run_json(&["--json-schema", &fifo, "hello"]);
    writer.join().unwrap();
    outcome.assert_code(2);
    assert!(object["error"]["message"].as_str().unwrap().contains("it is not a JSON object"), "{object}");
}

#[test]
fn server_killed_at_start_is_explained() {
    let case = Case::new(|script, _| script.on("serve", [Act::KillSelf { signal: SignalName::Kill }]))
        .on(crate::support::Transport::Serve);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(4);
    let error = &object["error"];
    assert!(error["message"].as_str().unwrap().contains("signal: 9 (SIGKILL)): stderr was empty"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("memory"), "{error}");
}

#[test]
fn exit_is_noticed_with_sigchld_ignored() {
    for arguments in [&["--transport", "run", "hello"][..], &["doctor", "--offline"]] {
        let case = Case::doing([plain(0, 2), Act::Exit { code: 7 }]);
        let mut command = case.sandbox.command("env");
        command.arg("--ignore-signal=CHLD").arg(opencode_run_bin!()).args(arguments);
        command.arg("--opencode").arg(case.fake.executable());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = Running::spawn(&mut command).wait();
        if arguments[0] == "doctor" {
            assert!(outcome.stdout.starts_with("ok       opencode:"), "{outcome:?}");
        } else {
            outcome.assert_code(1);
            outcome.assert_says(&["exit code 7"]);
        }
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn umask_priority_and_limits_are_inherited() {
    let case = Case::stalling([]);
    let command = case.command(&["hello"]);
    let mut shell = case.sandbox.command("sh");
    shell
        .args(["-c", "umask 027; ulimit -c 0; ulimit -n 321; exec nice -n 7 \"$0\" \"$@\""])
        .arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::spawn(&mut shell);
    case.wait_until_ready();
    let opencode = case.fake.log_of("run")[0].pid;
    let about = |file: &str| std::fs::read_to_string(format!("/proc/{opencode}/{file}")).unwrap();
    assert!(about("status").contains("Umask:\t0027\n"), "{}", about("status"));
    let limits = about("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(4), Some("321"), "{limits}");
    // The name of the program ends with a parenthesis; the 17th field after it is the priority.
    let stat = about("stat");
    assert_eq!(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16), Some("7"), "{stat}");
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn no_message_is_lost_on_nonblocking_stderr() {
    let case = Case::replaying(PLAIN);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
    // Longer than the capacity of a pipe.
    let missing = "x".repeat(100_000);
    let mut command = case.command(&["--title", &missing, "--max-cost", &missing, "hello"]);
    command.stderr(writer);
    let running = Running::spawn(&mut command);
    drop(command);
    let mut text = String::new();
    sleep(Duration::from_millis(300));
    File::from(reader).read_to_string(&mut text).unwrap();
    running.wait().assert_code(2);
    assert!(text.contains(&missing) && text.contains("--help"), "{} bytes", text.len());
}

#[test]
fn fifo_does_not_delay_other_commands() {
    let case = Case::replaying(PLAIN);
    let fifo = fifo(&case, "fifo");
    for arguments in [&["doctor", "--offline", "--config", &fifo][..], &["models", "--config", &fifo]] {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = Running::spawn(&mut command);
        // Gives the command time to open the file. If that is too short, the test passes anyway.
        sleep(Duration::from_millis(500));
        running.signal(Signal::TERM);
        running.wait().assert_code(143);
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn time_limit_includes_stdin() {
    let case = Case::replaying(PLAIN);
    for words in [&[][..], &["-"], &["review", "-"], &["--message", "-"], &["--file", "/dev/stdin", "review"]] {
        let mut command = case.command(&[&["--output-format", "json", "--timeout", "1s"], words].concat());
        command.stdin(Stdio::piped());
        let mut running = Running::spawn(&mut command);
        let _open = running.child.stdin.take();
        let outcome = running.wait();
        outcome.assert_code(124);
        let error = &outcome.object()["error"];
        assert_eq!(error["kind"], "timeout", "{words:?}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("stdin"), "{words:?}: {error}");
    }
    assert!(case.fake.log_of("run").is_empty() && case.task_dirs().is_empty(), "nothing ran");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn signal_ends_the_wait_for_stdin() {
    let case = Case::replaying(PLAIN);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut command = case.command(&["--output-format", "json", "-"]);
        command.stdin(Stdio::piped());
        let mut running = Running::spawn(&mut command);
        let _open = running.child.stdin.take();
        // Gives the command time to install its handlers. If that is too short, the signal itself ends the command.
        sleep(Duration::from_secs(1));
        running.signal(signal);
        let outcome = running.wait_for(HANG);
        outcome.assert_code(code);
        assert_eq!(outcome.object()["state"], "interrupted");
    }
    case.sandbox.assert_nothing_alive();
}
