//! Another local user or the agent changes or plants files that the command trusts or replaces.

use crate::faults_support::{Case, PLAIN, PLAIN_TEXT, Running};
use opencode_run_tests::{Sandbox, opencode_run_bin};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns the same command, started with a umask that removes no permission.
fn with_open_umask(sandbox: &Sandbox, command: &Command) -> Command {
    let mut shell = sandbox.command("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Puts a program where `setup` installs opencode. The program creates a file, which is returned with the directories
/// above it.
fn install(sandbox: &mut Sandbox) -> (PathBuf, Vec<PathBuf>) {
    sandbox.set("PATH", "/usr/bin:/bin");
    let cache = sandbox.home().join(".cache");
    let version = opencode_runner::TESTED_OPENCODE;
    let bin = cache.join("opencode-run/opencode").join(version).join("node_modules/.bin");
    std::fs::create_dir_all(&bin).unwrap();
    let proof = sandbox.path("was-run");
    let program = bin.join("opencode");
    std::fs::write(&program, format!("#!/bin/sh\n: > {}\necho {version}\n", proof.display())).unwrap();
    let mut places: Vec<_> =
        program.ancestors().take_while(|place| place.starts_with(&cache)).map(Path::to_owned).collect();
    for place in &places {
        set_mode(place, 0o755);
    }
    places.push(sandbox.home());
    (proof, places)
}

#[test]
fn exposed_opencode_is_not_run() {
    let mut sandbox = Sandbox::new();
    let (proof, places) = install(&mut sandbox);
    let run = |sandbox: &Sandbox, arguments: &[&str]| {
        let mut command = sandbox.command(opencode_run_bin!());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::spawn(&mut command).wait()
    };
    for place in places {
        set_mode(&place, 0o777);
        for arguments in [&["x"][..], &["models"], &["doctor", "--offline"]] {
            let outcome = run(&sandbox, arguments);
            outcome.assert_code(4);
            let said = outcome.stderr + &outcome.stdout;
            assert!(said.contains(&format!("is not run: other users can write to {}", place.display())), "{said}");
        }
        assert!(!proof.exists(), "{}", place.display());
        set_mode(&place, 0o755);
    }
    run(&sandbox, &["doctor", "--offline"]);
    assert!(proof.exists(), "it is run if no other user can change it");
    sandbox.assert_nothing_alive();
}

#[test]
fn directories_are_private_despite_open_umask() {
    let case = Case::replaying(PLAIN);
    for dir in [".cache", ".config", ".local"] {
        std::fs::remove_dir_all(case.sandbox.home().join(dir)).unwrap();
    }
    Running::spawn(&mut with_open_umask(&case.sandbox, &case.command(&["hello"]))).wait().assert_code(0);
    // The npm fails after the directories are created.
    let bin = case.sandbox.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("npm"), "#!/bin/sh\nexit 1\n").unwrap();
    set_mode(&bin.join("npm"), 0o755);
    let mut setup = case.sandbox.command(opencode_run_bin!());
    setup.arg("setup");
    let mut setup = with_open_umask(&case.sandbox, &setup);
    Running::spawn(setup.env("PATH", format!("{}:/usr/bin:/bin", bin.display()))).wait().assert_code(4);
    // The real opencode creates the others according to the umask.
    let of_opencode = [".config", ".local", ".local/share", ".local/share/opencode"];
    let ours = [".cache", ".cache/opencode-run", ".cache/opencode-run/opencode", ".local/state/opencode-run/journals"];
    for dir in ours.into_iter().chain(of_opencode) {
        assert_eq!(mode(&case.sandbox.home().join(dir)), 0o700, "{dir}");
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn exposed_journals_are_not_trusted() {
    let case = Case::replaying(PLAIN);
    case.run(&["hello"]).assert_code(0);
    let [task] = case.task_dirs().try_into().unwrap();
    let state = case.sandbox.home().join(".local/state");
    set_mode(&state, 0o777);
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.arg("resume").arg(&task).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = Running::spawn(&mut command).wait();
    outcome.assert_code(3);
    outcome.assert_says(&["the journals are not used: other users can write to", "chmod go-w"]);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    outcome.assert_says(&["warning: the journals are not used"]);
    assert!(object["journal"].is_null(), "{object}");
}

#[test]
fn transcript_ignores_planted_mode() {
    let case = Case::replaying(PLAIN);
    let task = case.sandbox.workspace().join("mine");
    std::fs::create_dir(&task).unwrap();
    let program = case.sandbox.path("program");
    std::fs::write(&program, "not ours").unwrap();
    set_mode(&program, 0o6777);
    let transcript = task.join("conversation.md");
    symlink(&program, &transcript).unwrap();
    case.run(&["--dir", "mine", "--save-markdown", "hello"]).assert_code(0);
    assert!(transcript.symlink_metadata().unwrap().is_file());
    assert_eq!((mode(&transcript) & 0o7111, mode(&program)), (0, 0o6777));
    assert_eq!(std::fs::read_to_string(&program).unwrap(), "not ours");
    set_mode(&transcript, 0o4755);
    case.run(&["--dir", "mine", "--save-markdown", "hello"]).assert_code(0);
    assert_eq!(mode(&transcript), 0o644);
}

#[test]
fn transcript_does_not_replace_pipes_or_devices() {
    let case = Case::replaying(PLAIN);
    let fifo = case.sandbox.workspace().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("/dev/null", case.sandbox.workspace().join("link")).unwrap();
    for path in ["fifo", "link", "/dev/null", "/dev/stdout", "/dev/fd/1"] {
        let outcome = case.run(&[&format!("--save-markdown={path}"), "hello"]);
        outcome.assert_code(2);
        outcome.assert_says(&["it is not a regular file", "--print-markdown"]);
    }
    assert!(case.fake.log_of("run").is_empty(), "no turn is paid for");
    // The agent plants the file during the turn: the answer is still printed, and the transcript is saved elsewhere.
    std::fs::create_dir(case.sandbox.workspace().join("mine")).unwrap();
    symlink(&fifo, case.sandbox.workspace().join("mine/conversation.md")).unwrap();
    let outcome = case.run(&["--dir", "mine", "--save-markdown", "hello"]);
    outcome.assert_code(1);
    assert_eq!(outcome.stdout, format!("{PLAIN_TEXT}\n"));
    outcome.assert_says(&["the transcript was saved to", "it is not a regular file"]);
}

#[test]
fn readable_sessions_are_reported_once() {
    let case = Case::replaying(PLAIN);
    let data = case.sandbox.home().join(".local/share/opencode");
    std::fs::create_dir_all(&data).unwrap();
    for place in data.ancestors().take_while(|place| *place != std::path::Path::new("/tmp")) {
        set_mode(place, 0o755);
    }
    let first = case.run(&["-q", "hello"]);
    first.assert_says(&["warning: other users can read opencode's sessions: chmod 700", data.to_str().unwrap()]);
    assert!(!case.run(&["hello"]).stderr.contains("other users can read"), "it is printed once");
    set_mode(&data, 0o700);
    std::fs::remove_dir_all(case.sandbox.home().join(".local/state")).unwrap();
    assert!(!case.run(&["hello"]).stderr.contains("other users can read"));
}
