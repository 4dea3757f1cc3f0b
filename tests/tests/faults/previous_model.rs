//! A turn without a model continues with the model source of the session's previous turn, or is refused.

use crate::support::{Case, PLAIN};
use opencode_run_tests::script::Act;
use std::fs;

const SOURCE: &str = "MODEL_CODE_BASEURL=http://127.0.0.1:9/v1\nMODEL_CODE_MODEL=m-1\n";

/// Returns a session whose last turn ran on this model, in the format of an export.
fn case(session_model: &str) -> Case {
    let session_model = session_model.to_owned();
    Case::new(move |script, sandbox| {
        let directory = sandbox.workspace();
        let directory = directory.display();
        let text =
            format!("{{\"info\": {{\"id\": \"ses_1\", \"directory\": \"{directory}\", \"model\": {session_model}}}}}");
        script.on("export", [Act::Stdout { text }]).replay("run", PLAIN)
    })
}

#[test]
fn later_command_continues_the_source() {
    let case = case(r#"{"providerID": "opencode-run-code", "id": "m-1"}"#);
    let file = case.sandbox.path("models.env");
    fs::write(&file, SOURCE).unwrap();
    let continued = ["--session", "ses_1", "hello"];
    case.run(&[&["--config", file.to_str().unwrap()][..], &continued].concat()).assert_code(0);
    assert_eq!(case.fake.log_of("run")[0].flag("--model"), Some("opencode-run-code/m-1"));

    // First with a journal, then without one.
    for arguments in [&["--no-env"][..], &["--no-env", "--no-journal"]] {
        let refused = case.run(&[arguments, &continued].concat());
        refused.assert_code(3);
        refused.assert_says(&["model source `code`", "--config", "--model"]);
    }
    assert_eq!(case.fake.log_of("run").len(), 1);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn known_model_is_left_to_opencode() {
    let case = case(r#"{"providerID": "stub", "id": "m-1"}"#);
    case.run(&["--session", "ses_1", "hello"]).assert_code(0);
    assert_eq!(case.fake.log_of("run")[0].flag("--model"), None);
    case.sandbox.assert_nothing_alive();
}
