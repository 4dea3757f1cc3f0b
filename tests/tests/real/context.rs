//! The system prompt of a task.

use crate::stage::{Stage, entries};
use opencode_run_scripted_model::Script;
use std::os::unix::fs::PermissionsExt;

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn context_file_reaches_the_model() {
    let mut stage = Stage::new(Script::always("Understood."));
    let own = stage.write("own.md", "THE-USERS-OWN");
    stage.configure(&serde_json::json!({"instructions": [own]}));
    let text = "Answer in verse.\n\n# \"Quoted\" {env:HOME} {file:/etc/hostname} $HOME ünïcödé\n";
    let file = stage.write("workspace/context.md", text);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
    let done = stage.turn(["--context-file", "context.md", "hello"]).with_code(0);
    let told = stage.request().system_text();
    assert!(told.contains(text.trim()), "{told}");
    assert!(told.contains("THE-USERS-OWN"), "{told}");
    let directory = done.json()["task_dir"].as_str().unwrap().to_owned();
    assert_eq!(entries(directory.as_ref()).len(), 1, "only .git");
    stage.end();
}
