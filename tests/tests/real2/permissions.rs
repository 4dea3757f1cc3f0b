//! Answers to permission requests, and what opencode keeps of them.

use crate::stage;
use crate::stage::Stage;
use opencode_run_scripted_model::{Part, Script, When};
use opencode_runner::{PermissionAnswer, PermissionPolicy, RunState, Runner};
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Runs a turn in a new session on a new server, which reads a file outside its directory. Returns the patterns that the
/// answer `always` would have allowed, of each permission request.
async fn asked(stage: &Stage, directory: &Path, answer: &PermissionAnswer) -> Vec<Vec<String>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let answer = answer.clone();
    let policy = PermissionPolicy::ask(move |ask| {
        list.lock().unwrap().push(ask.always);
        std::future::ready(answer.clone())
    });
    let variables = stage.sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone()));
    let runner = Runner::builder().dir(directory).environment(variables).opencode(&stage.opencode);
    let runner = runner.model("stub/gpt-4").permissions(policy).build().await.unwrap();
    let record = runner.run("go").await.unwrap();
    assert_eq!((record.state, record.output().as_str()), (RunState::Completed, "Done."), "{:?}", record.failure);
    drop(runner);
    stage.sandbox.assert_nothing_alive();
    let asked = asked.lock().unwrap();
    asked.clone()
}

#[tokio::test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
async fn only_always_is_kept_for_the_project() {
    let read = Part::tool_call("read", json!({"path": "/etc/hostname"}));
    let stage = stage(Script::new().rule(When::agent().after_tools(0).reply(read)).rule(When::agent().reply("Done.")));
    let new_project = |name: &str| {
        let directory = stage.sandbox.path(name);
        let line = "git init -q . && git -c user.name=t -c user.email=t@example.com commit --allow-empty -qm one";
        std::fs::create_dir(&directory).unwrap();
        let mut command = stage.sandbox.command("sh");
        assert!(command.current_dir(&directory).args(["-c", line]).status().unwrap().success());
        directory
    };
    let project = new_project("project");
    let patterns = vec![vec!["/etc/*".to_owned()]];
    assert_eq!(asked(&stage, &project, &PermissionAnswer::Once).await, patterns);
    assert_eq!(asked(&stage, &project, &PermissionAnswer::Once).await, patterns, "`once` was kept");
    assert_eq!(asked(&stage, &project, &PermissionAnswer::Always).await, patterns);
    assert!(asked(&stage, &project, &PermissionAnswer::Once).await.is_empty(), "`always` was not kept");
    let other = new_project("other");
    assert_eq!(asked(&stage, &other, &PermissionAnswer::Once).await, patterns, "`always` is kept for other projects");
    stage.end();
}
