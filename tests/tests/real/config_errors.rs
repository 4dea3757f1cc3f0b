//! Configuration files that opencode rejects: the reason is the same on both transports, complete, and quotes no key.

use crate::stage::{Done, Stage};
use opencode_run_scripted_model::Script;

const BOTH: [&str; 2] = ["serve", "run"];

#[track_caller]
fn assert_reason(stage: &Stage, transports: &[&str], file: &str, text: &str, words: &[&str]) {
    let path = stage.write(file, text);
    for transport in transports {
        let done: Done = stage.turn(["--transport", transport, "--dir", ".", "hello"]).with_code(3);
        let json = done.json();
        assert_eq!(json["error"]["kind"], "config", "{transport}: {json}");
        assert_eq!(json["session_id"], serde_json::Value::Null, "{transport}: {json}");
        let message = json["error"]["message"].as_str().unwrap();
        for word in words.iter().copied().chain([path.to_str().unwrap()]) {
            assert!(message.contains(word), "{transport}: no {word:?} in {json}");
        }
        assert!(!message.contains("sk-hidden") && !message.contains('\n'), "{transport}: {json}");
        assert_eq!(json["error"]["hint"], "correct it: opencode itself rejects it too", "{transport}: {json}");
        assert_eq!(json["task_dir"].as_str(), stage.sandbox.workspace().to_str(), "{transport}: {json}");
        assert!(!done.stderr.contains("--session"), "there is no session: {}", done.stderr);
        assert!(!done.stderr.contains("sk-hidden"), "{}", done.stderr);
    }
    std::fs::remove_file(path).unwrap();
    assert_eq!(stage.requests().len(), 0);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn broken_project_configuration_is_explained() {
    let stage = Stage::new(Script::always("Done."));
    let file = "workspace/opencode.json";
    assert_reason(
        &stage,
        &BOTH,
        file,
        "{\"username\": \"sk-hidden \\\"q\\\"\" \"share\": 1 }",
        &["CommaExpected at line 1, column 32"],
    );
    assert_reason(&stage, &BOTH, file, "{\"model\": 7, \"share\": \"maybe\"}", &["Expected string", "share", "model"]);
    let missing = stage.sandbox.workspace().join("missing");
    let words = ["{file:./missing}", missing.to_str().unwrap()];
    assert_reason(&stage, &BOTH, file, "{\"model\": \"{file:./missing}\"}", &words);
    // One transport: on "run" the reason has the form that the second configuration tests.
    assert_reason(&stage, &["serve"], file, "[]", &["got []"]);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn broken_agent_and_command_files_are_explained() {
    let stage = Stage::new(Script::always("Done."));
    let user = "home/.config/opencode/opencode.json";
    assert_reason(&stage, &["serve"], user, "{ nonsense", &["InvalidSymbol at line 1, column 3"]);
    let agent = "workspace/.opencode/agent/bad.md";
    assert_reason(&stage, &BOTH, agent, "---\nmode: nosuch\n---\nx", &["nosuch", "mode"]);
    // One transport: on "serve" the reason has the form of the agent file.
    assert_reason(&stage, &["run"], "workspace/.opencode/command/bad.md", "---\nagent: 7\n---\nx", &["agent"]);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn directory_or_unknown_agent_is_explained() {
    let stage = Stage::new(Script::always("Done."));
    let file = stage.sandbox.workspace().join("opencode.json");
    let message = |transport: &str| {
        let done = stage.turn(["--transport", transport, "--dir", ".", "hello"]).with_code(3);
        done.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    std::fs::create_dir(&file).unwrap();
    for transport in ["serve", "run"] {
        let message = message(transport);
        assert!(message.contains(&format!("{}: it cannot be read", file.display())), "{transport}: {message}");
    }
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "{\"default_agent\": \"nope\"}").unwrap();
    for transport in ["serve", "run"] {
        let message = message(transport);
        assert!(message.contains("default agent \"nope\" not found"), "{transport}: {message}");
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn byte_order_mark_is_accepted() {
    let stage = Stage::new(Script::always("Done."));
    stage.write("workspace/opencode.json", "\u{feff}{\"instructions\": [\"marked.md\"]}");
    stage.write("workspace/marked.md", "INSTRUCTIONS-OF-THE-FILE");
    for transport in ["serve", "run"] {
        stage.turn(["--transport", transport, "--dir", ".", "hello"]).with_code(0);
    }
    assert!(stage.requests().iter().all(|request| request.system_text().contains("INSTRUCTIONS-OF-THE-FILE")));
    stage.end();
}
