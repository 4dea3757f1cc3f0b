//! A turn without a model continues with the model source of the session's previous turn, or is refused.

use crate::support::{Case, Outcome, PLAIN, Running};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use std::fs;
use std::process::Stdio;

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

#[test]
fn task_continues_its_last_model() {
    let case = Case::replaying(PLAIN);
    let file = |name: &str, text: &str| {
        let path = case.sandbox.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let source = file("models.env", SOURCE);
    let plan = file("plan.env", "MODEL_PLAN_MODEL=stub/gpt-5\n");
    let (first, object) = case.run_json(&["--config", &source, "--model-source-type", "code", "First."]);
    first.assert_code(0);
    let dir = object["task_dir"].as_str().unwrap();
    let resume = |arguments: &[&str]| -> Outcome {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["resume", dir, "--transport", "run", "--opencode"]).arg(case.fake.executable()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::spawn(&mut command).wait()
    };
    let last_model = || case.fake.log_of("run").last().unwrap().flag("--model").map(str::to_owned);
    let of_source = Some("opencode-run-code/m-1".to_owned());
    resume(&["--config", &source, "Second."]).assert_code(0);
    assert_eq!(last_model(), of_source);

    // Without the source the turn is refused, and never runs on another model.
    for refused in [resume(&["--no-env", "More."]), resume(&["--config", &plan, "More."])] {
        refused.assert_code(3);
        refused.assert_says(&["model source `code`", "--config", "--model"]);
    }
    assert_eq!(case.fake.log_of("run").len(), 2);

    // The next turns continue with the model that is named instead.
    let named = Some("stub/gpt-5".to_owned());
    resume(&["--no-env", "--model", "stub/gpt-5", "Third."]).assert_code(0);
    assert_eq!(last_model(), named);
    resume(&["--config", &source, "Fourth."]).assert_code(0);
    assert_eq!(last_model(), named);
    resume(&["--no-env", "Fifth."]).assert_code(0);
    assert_eq!(last_model(), named);
    case.sandbox.assert_nothing_alive();
}
