//! Many parallel commands in one workspace, whose opencodes share one database, which does not exist at the start.

use crate::stage::{Running, Stage};
use opencode_run_scripted_model::{Script, When};
use std::collections::BTreeSet;

/// The number of parallel commands. Each has an opencode of half a gigabyte.
const AT_ONCE: usize = 3;

#[track_caller]
fn all_complete(transport: &str) {
    let stage = Stage::new(Script::new().rule(When::agent().reply("Answer to: {last_user}")));
    let arguments = ["-m", "stub/gpt-4", "--output-format", "json", "--transport", transport];
    let running: Vec<Running> = (0..AT_ONCE)
        .map(|number| {
            Running::start(stage.command(arguments.into_iter().chain([format!("question {number}").as_str()])))
        })
        .collect();
    let mut directories = BTreeSet::new();
    for (number, running) in running.into_iter().enumerate() {
        let object = running.end().with_code(0).json();
        assert_eq!(object["output"], format!("Answer to: question {number}"), "{object}");
        directories.insert(object["task_dir"].to_string());
    }
    assert_eq!(directories.len(), AT_ONCE, "each has its own");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn parallel_processes_work() {
    all_complete("run");
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn parallel_servers_work() {
    all_complete("serve");
}
