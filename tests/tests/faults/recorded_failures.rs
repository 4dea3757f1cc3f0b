//! Replays failures of the real opencode: the exit code and the kind of failure of each.

use crate::support::Case;

/// The recording; the exit code; the kind of failure; the message.
const FAILURES: [(&str, i32, &str, &str); 17] = [
    ("unknown-model", 1, "model_not_found", "Model not found: stub/nope"),
    ("unknown-provider", 1, "model_not_found", "Model not found: nope/x"),
    ("model-without-slash", 1, "model_not_found", "Model not found"),
    ("error-400", 1, "provider", "status 400"),
    ("error-401", 1, "provider", "status 401"),
    ("error-403", 1, "provider", "status 403"),
    ("error-404", 1, "provider", "status 404"),
    ("error-429", 1, "provider", "status 429"),
    ("error-500", 1, "provider", "status 500"),
    ("error-html", 1, "provider", "status 404"),
    ("error-after-tool", 1, "provider", "too much"),
    ("connection-refused", 1, "provider", "Cannot connect to API"),
    ("stream-cut", 1, "provider", "Connection reset"),
    ("stream-error", 1, "provider", "overloaded"),
    ("finish-content-filter", 1, "provider", "content filter"),
    ("refused", 1, "permission", "external_directory"),
    ("refused-beside-another", 1, "permission", "external_directory"),
];

#[test]
fn each_recorded_failure_has_its_kind() {
    for (recording, code, kind, words) in FAILURES {
        let case = Case::replaying(&format!("1.18.33/{recording}"));
        let (outcome, object) = case.run_json(&["hello"]);
        outcome.assert_code(code);
        assert_eq!(object["error"]["kind"], kind, "{recording}: {object}");
        assert!(object["error"]["message"].as_str().unwrap().contains(words), "{recording}: {object}");
        assert_eq!(object["state"], "error");
        outcome.assert_says(&["error: ", words]);
    }
}

#[test]
fn unknown_agent_is_an_error() {
    let case = Case::replaying("1.18.33/unknown-agent");
    let (outcome, object) = case.run_json(&["--agent", "nope", "hello"]);
    outcome.assert_code(2);
    assert_eq!(object["error"]["kind"], "usage");
    outcome.assert_says(&["agent `nope` was not found", "hint: "]);
}

#[test]
fn recovered_error_is_not_failure() {
    for recording in ["error-429-recovered", "stream-cut-once", "failed-tool", "failed-command", "denied-by-rule"] {
        let case = Case::replaying(&format!("1.18.33/{recording}"));
        let (outcome, object) = case.run_json(&["hello"]);
        outcome.assert_code(0);
        assert!(object["error"].is_null() && object["state"] == "completed", "{recording}: {object}");
        assert_ne!(object["output"], "", "{recording}");
    }
}

#[test]
fn cut_answer_completes_with_warning() {
    let case = Case::replaying("1.18.33/finish-length");
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    outcome.assert_says(&["warning: the answer was cut"]);
    assert_eq!(object["finish_reason"], "length");
}
