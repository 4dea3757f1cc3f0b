//! Directories around opencode that are missing, moved or deleted.

use crate::stage::{Stage, shell};
use opencode_run_scripted_model::Script;

const TRANSPORTS: [&str; 2] = ["serve", "run"];

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn directory_that_cannot_be_written_is_named() {
    let mut stage = Stage::new(Script::always("Done."));
    for name in ["XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"] {
        let before = stage.sandbox.env()[std::ffi::OsStr::new(name)].clone();
        stage.sandbox.set(name, "/dev/null/x");
        for transport in TRANSPORTS {
            let done = stage.turn(["--transport", transport, "hello"]);
            let error = done.json()["error"].clone();
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("/dev/null/x") && !message.contains("Bun v"), "{name} {transport}: {error}");
            let hint = error["hint"].as_str().unwrap();
            assert!(hint.contains("writable") || hint.contains("set TMPDIR"), "{name} {transport}: {error}");
        }
        stage.sandbox.set(name, before);
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn directory_deleted_by_the_agent_is_still_named() {
    for transport in TRANSPORTS {
        let stage = Stage::new(shell("rm -rf \"$PWD\"", "Done."));
        let mut chat = stage.chat(["-m", "stub/gpt-4", "--transport", transport]);
        let first = chat.next_turn("one");
        assert!(first["task_dir"].as_str().unwrap().contains("/task_task_"), "{transport}: {first}");
        chat.next_turn("two");
        let done = chat.end().with_code(2);
        assert!(done.stderr.contains("no longer exists"), "{transport}: {}", done.stderr);
        stage.sandbox.assert_nothing_alive();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn moved_session_directory_is_named() {
    let stage = Stage::new(Script::always("Done."));
    let old = stage.sandbox.workspace().join("old");
    let new = stage.sandbox.workspace().join("new");
    std::fs::create_dir(&old).unwrap();
    let session = stage.turn(["--dir", "old", "one"]).with_code(0).json()["session_id"].as_str().unwrap().to_owned();
    std::fs::rename(&old, &new).unwrap();
    for (transport, dir) in [("serve", &["--dir", "new"][..]), ("run", &["--dir", "new"]), ("run", &[])] {
        let arguments = ["--transport", transport, "--session", session.as_str()];
        let done = stage.turn(arguments.into_iter().chain(dir.iter().copied()).chain(["again"])).with_code(2);
        let message = done.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&session) && message.contains("/old, which no longer exists"), "{message}");
    }
    stage.end();
}
