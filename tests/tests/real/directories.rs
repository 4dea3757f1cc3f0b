//! Directories whose path opencode decodes once more than HTTP does.

use crate::stage::{Running, Stage, shell};
use std::process::Command;

/// Realistic paths: Jenkins' branch folders, and all characters with a meaning in a URL.
const ESCAPES: [&str; 2] = ["a%2Fb %ff", "a%20b"];
const OTHERS: [&str; 2] = ["100%", "a b+c#d?e=f&g \u{1f600}"];

/// Returns whether a server of the installed version works in directories with escapes: 1.14.41 does, 1.15.13 does not.
fn serves_escapes(stage: &Stage) -> bool {
    let printed =
        Command::new(&stage.opencode).arg("--version").env("HOME", stage.sandbox.path("home")).output().unwrap();
    let version = String::from_utf8(printed.stdout).unwrap();
    let mut numbers = version.trim().split('.').map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) <= (1, 14)
}

fn assert_works_in(stage: &Stage, name: &str, transport: &str) {
    let file = stage.write(&format!("workspace/{name}/attached %41.txt"), "ATTACHED");
    let directory = file.parent().unwrap();
    let path = directory.to_str().unwrap();
    let arguments = ["-m", "stub/gpt-4", "--output-format", "json", "--transport", transport, "--dir", path];
    let arguments = arguments.into_iter().chain(["--file", file.to_str().unwrap(), "where?"]);
    let json = Running::start(stage.command(arguments)).end().with_code(0).json();
    assert_eq!((json["output"].as_str(), json["task_dir"].as_str()), (Some("Done."), Some(path)), "{json}");
    assert!(directory.join("made.txt").is_file(), "{name}");
    let requests = stage.requests();
    let body = requests.last().unwrap().body.to_string();
    assert!(body.contains("ATTACHED"), "{name}: {body}");
    // One continued session is enough, in the directory with the most special characters.
    if transport == "serve" && name.contains('#') {
        let arguments = ["--output-format", "json", "--session", json["session_id"].as_str().unwrap(), "on"];
        let continued = Running::start(stage.command(arguments)).end().with_code(0).json();
        assert_eq!((&continued["session_id"], &continued["task_dir"]), (&json["session_id"], &json["task_dir"]));
    }
}

fn assert_refused(stage: &Stage, name: &str, transport: &str) {
    let directory = stage.write(&format!("workspace/{name}/a.txt"), "").parent().unwrap().to_owned();
    for option in ["--dir", "--workspace"] {
        let arguments = ["-m", "stub/gpt-4", "--transport", transport, option, directory.to_str().unwrap(), "where?"];
        let done = Running::start(stage.command(arguments)).end().with_code(2);
        assert!(done.stderr.contains(directory.to_str().unwrap()) && done.stderr.contains("`%`"), "{}", done.stderr);
    }
    let entries = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(entries, 1, "no task directory is left in {name}");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn server_works_in_escaped_directories() {
    let stage = Stage::new(shell("pwd; echo made > made.txt", "Done."));
    for name in OTHERS {
        assert_works_in(&stage, name, "serve");
    }
    let check = if serves_escapes(&stage) { assert_works_in } else { assert_refused };
    for name in ESCAPES {
        check(&stage, name, "serve");
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn run_refuses_directories_with_escapes() {
    let stage = Stage::new(shell("pwd; echo made > made.txt", "Done."));
    for name in OTHERS {
        assert_works_in(&stage, name, "run");
    }
    for name in ESCAPES {
        assert_refused(&stage, name, "run");
    }
    stage.end();
}
