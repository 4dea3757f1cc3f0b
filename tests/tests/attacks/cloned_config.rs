//! A cloned repository whose configuration of opencode starts programs, chooses the model or changes permissions: it
//! causes one warning for each content, and an option makes opencode ignore it.

use crate::faults_support::{Case, PLAIN};
use std::fs;
use std::path::PathBuf;

/// Returns a case with a repository that contains these files.
fn cloned(files: &[(&str, &str)]) -> (Case, PathBuf) {
    let case = Case::replaying(PLAIN);
    let clone = case.sandbox.workspace().join("clone");
    fs::create_dir_all(clone.join(".git")).unwrap();
    fs::create_dir_all(clone.join("sub")).unwrap();
    for (name, text) in files {
        let file = clone.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    (case, clone)
}

const WARNING: &str = "warning: opencode obeys ";

#[test]
fn powerful_configuration_is_announced_once() {
    let (case, clone) = cloned(&[(".opencode/plugin/x.js", "a"), ("opencode.json", r#"{"model": "a/b"}"#)]);
    let sub = clone.join("sub");
    let run = |arguments: &[&str]| {
        let outcome = case.run(&[&["--dir", sub.to_str().unwrap(), "-q"], arguments, &["hello"]].concat());
        outcome.assert_code(0);
        outcome
    };
    let first = run(&[]);
    first.assert_says(&[
        WARNING,
        "opencode.json, which starts programs, chooses models or providers",
        "--no-project-config",
    ]);
    assert!(!run(&[]).stderr.contains(WARNING), "it is printed once");
    fs::write(clone.join(".opencode/plugin/x.js"), "b").unwrap();
    run(&[]).assert_says(&[WARNING]);
    fs::write(clone.join(".opencode/plugin/x.js"), "c").unwrap();
    assert!(!run(&["--no-project-config"]).stderr.contains(WARNING));
    let log = case.fake.log_of("run");
    let ignored: Vec<_> = log.iter().map(|run| run.env.contains_key("OPENCODE_DISABLE_PROJECT_CONFIG")).collect();
    assert_eq!(ignored, [false, false, false, true]);
}

#[test]
fn advisory_configuration_is_not_announced() {
    let (case, clone) = cloned(&[
        ("opencode.json", r#"{"theme": "dark", "instructions": ["x.md"]}"#),
        (".opencode/command/x.md", "x"),
        ("AGENTS.md", "x"),
    ]);
    let outcome = case.run(&["--dir", clone.to_str().unwrap(), "hello"]);
    outcome.assert_code(0);
    assert!(!outcome.stderr.contains("warning"), "{outcome:?}");
    // A directory that was created for the task has no configuration.
    let outcome = case.run(&["hello"]);
    assert!(!outcome.stderr.contains(WARNING), "{outcome:?}");
}
