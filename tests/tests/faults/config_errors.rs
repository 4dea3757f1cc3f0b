//! Configurations that opencode rejects at its start, before there is a session.

use crate::support::{Case, Transport};
use opencode_run_tests::script::Act;

const REFUSED: &str = "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mConfig file at /w/opencode.json is not valid JSON(C): \n\
                       --- JSONC Input ---\n{ \"apiKey\": \"sk-hidden\" \"x\": 1 }\n--- Errors ---\n\
                       CommaExpected at line 1, column 25\n   Line 1: { \"apiKey\": \"sk-hidden\" \"x\": 1 }\n         ^\n--- End ---\n";

#[test]
fn refused_configuration_has_its_reason() {
    for (transport, command) in [(Transport::Serve, "serve"), (Transport::Run, "run")] {
        let acts = || [Act::Stderr { text: REFUSED.to_owned() }, Act::Exit { code: 1 }];
        let case = Case::new(|script, _| script.on(command, acts())).on(transport);
        let message =
            "opencode does not accept its configuration: /w/opencode.json: CommaExpected at line 1, column 25";
        let text = case.run(&["hello"]);
        text.assert_code(3);
        text.assert_says(&[message, "hint: correct it"]);
        assert!(!text.stderr.contains("sk-hidden") && !text.stderr.contains("--session"), "{text:?}");
        let (json, object) = case.run_json(&["hello"]);
        json.assert_code(3);
        assert_eq!((&object["error"]["kind"], &object["error"]["message"]), (&"config".into(), &message.into()));
        assert!(case.task_dirs().is_empty(), "{:?}", case.task_dirs());
    }
}

#[test]
fn crash_without_session_suggests_no_session() {
    for code in [1, 132] {
        let acts = [Act::Stderr { text: "TypeError: undefined is not a function\n".to_owned() }, Act::Exit { code }];
        let case = Case::doing(acts);
        let (_, object) = case.run_json(&["hello"]);
        let hint = object["error"]["hint"].as_str().unwrap();
        assert!(!hint.contains("--session") && hint.contains("doctor"), "{object}");
    }
}
