//! Commands that run no turn.

use crate::stage::{Stage, entries, name};
use opencode_run_scripted_model::Script;
use opencode_run_tests::PINNED_OPENCODE;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn demo_runs_turns_and_saves_transcript() {
    let mut stage = Stage::new(Script::new());
    // The user's own configuration does not matter for it.
    stage.sandbox.set("OPENCODE_CONFIG_CONTENT", "{}");
    let done = stage.run(["demo", "--workspace", "shown"]).with_code(0);
    assert!(
        done.stdout.contains("Done: hello.txt") && done.stdout.contains("turn 2 of the same session"),
        "{}",
        done.stdout
    );
    let tasks = entries(&stage.sandbox.path("workspace/shown"));
    assert_eq!(tasks.len(), 1);
    assert!(name(&tasks[0]).starts_with("task_demo_"));
    assert_eq!(std::fs::read_to_string(tasks[0].join("hello.txt")).unwrap(), "Hello from opencode!\n");
    let transcript = tasks[0].join("conversation.md");
    assert!(done.stderr.lines().last().unwrap().contains(transcript.to_str().unwrap()), "{}", done.stderr);
    let text = std::fs::read_to_string(transcript).unwrap();
    assert!(text.contains("What did I ask you to write?") && text.contains("hello.txt"), "{text}");
    assert_eq!(stage.requests().len(), 0, "the user's own model is not asked");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn setup_keeps_a_complete_installation() {
    let mut stage = Stage::new(Script::always("Done."));
    // `setup` installs to `VERSION/node_modules/.bin/opencode`; another installation cannot show this.
    let Some(installed) = stage.opencode.ancestors().nth(3).filter(|dir| dir.join("installed.json").is_file()) else {
        return stage.end();
    };
    let folder = stage.sandbox.path("home/.cache/opencode-run/opencode");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(installed, folder.join(PINNED_OPENCODE)).unwrap();
    std::fs::remove_file(stage.sandbox.path("bin/opencode")).unwrap();
    // Without npm nothing could be installed.
    let git = stage.sandbox.path("bin/git");
    let real_git = std::process::Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout;
    std::os::unix::fs::symlink(String::from_utf8(real_git).unwrap().trim(), git).unwrap();
    stage.sandbox.set("PATH", stage.sandbox.path("bin"));
    let since = Instant::now();
    let done = stage.run(["setup"]).with_code(0);
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    let path = folder.join(PINNED_OPENCODE).join("node_modules/.bin/opencode");
    assert_eq!(Path::new(done.stdout.trim_end()), path);
    assert!(done.stderr.contains("already installed"), "{}", done.stderr);

    // An opencode that is not on PATH is found where `setup` installed it.
    let done = stage.run(["doctor"]);
    assert!(done.stdout.contains(PINNED_OPENCODE) && done.stdout.contains(path.to_str().unwrap()), "{}", done.stdout);
    assert_eq!(stage.turn(["hello"]).with_code(0).json()["output"], "Done.");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn doctor_reports_state_and_problems() {
    let stage = Stage::new(Script::new());
    stage.dot_env("MODEL_CODE_BASEURL={url}\nMODEL_CODE_APIKEY=sk-1234\nMODEL_CODE_MODEL=m\n");
    let done = stage.run(["doctor", "--output-format", "json"]).with_code(0);
    let json = done.json();
    assert_eq!(json["ok"], true, "{json}");
    let message = |check: &str| {
        let findings = json["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).unwrap()["message"].to_string()
    };
    assert!(message("opencode").contains(stage.sandbox.path("bin/opencode").to_str().unwrap()));
    assert!(message("model sources").contains("code: m at 127.0.0.1"), "{}", message("model sources"));
    assert!(message("endpoints").contains("does not list m"), "{}", message("endpoints"));
    assert!(!done.stdout.contains("sk-1234"));
    let done = stage.run(["doctor", "--offline"]).with_code(0);
    assert!(done.stdout.contains("endpoints: not probed because of --offline"), "{}", done.stdout);
    assert_eq!(entries(&stage.sandbox.workspace()).len(), 1, "the .env alone");

    let done = stage.run(["doctor", "--opencode", "missing"]).with_code(4);
    assert!(done.stdout.contains("error    opencode: "), "{}", done.stdout);
    let file = stage.write("wrong.env", "MODEL_CODE_BASEURL=ftp://x\n");
    stage.run(["doctor", "--config", file.to_str().unwrap()]).with_code(3);
    stage.end();
}
