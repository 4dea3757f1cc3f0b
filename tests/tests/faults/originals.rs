//! Faults of the original runner, one test each.

use crate::support::{Case, PLAIN, PLAIN_TEXT, plain, spawn, wait_until};
use opencode_run_tests::Sandbox;
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_runner::{RunState, Runner, Transport};
use std::ffi::OsString;
use std::fs;

fn environment(sandbox: &Sandbox) -> Vec<(OsString, OsString)> {
    sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

async fn runner(case: &Case) -> Runner {
    let builder = Runner::builder().transport(Transport::Run).workspace(case.sandbox.workspace());
    let builder = builder.opencode(case.fake.executable());
    builder.environment(environment(&case.sandbox)).build().await.unwrap()
}

#[tokio::test]
async fn session_is_continued() {
    let case = Case::replaying(PLAIN);
    let runner = runner(&case).await;
    runner.run("first").await.unwrap();
    let session = runner.session_id().unwrap();
    assert!(session.as_str().starts_with("ses_"), "{session}");
    runner.run("second").await.unwrap();
    let runs = case.fake.log_of("run");
    assert_eq!((runs[0].flag("--session"), runs[1].flag("--session")), (None, Some(session.as_str())));
    assert_eq!(runner.conversation().turns.len(), 2);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn opencode_works_in_task_directory() {
    let mut case = Case::replaying(PLAIN);
    let elsewhere = case.sandbox.home();
    case.sandbox.set("PWD", &elsewhere);
    let outcome = crate::support::Running::spawn(case.command(&["hello"]).env("PWD", &elsewhere)).wait();
    outcome.assert_code(0);
    let run = &case.fake.log_of("run")[0];
    assert_eq!(run.env["PWD"], run.cwd.to_str().unwrap(), "opencode believes PWD");
    assert_eq!(case.task_dirs(), [run.cwd.canonicalize().unwrap()]);
    assert!(run.cwd.join(".git").is_dir(), "its own repository");
    case.sandbox.assert_nothing_alive();
}

#[tokio::test]
async fn turn_runs_until_last_step() {
    let recording = "1.18.33/tool-then-text";
    let emit = |from, to| Act::EmitRecording { recording: recording.into(), from, to: Some(to), line_pause_ms: 0 };
    let case = Case::new(|script, sandbox| {
        let ready = Act::WriteFile { path: sandbox.path("ready"), text: String::new() };
        let go = Act::WaitForFile { path: sandbox.path("go") };
        script.on("run", [emit(0, 4), ready, go, emit(4, 7)])
    });
    let runner = runner(&case).await;
    runner.start("hello").await.unwrap();
    while runner.recent_events(10).len() < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(runner.state(), RunState::Running, "its first step has ended, the turn has not");
    fs::write(case.sandbox.path("go"), "").unwrap();
    let turn = runner.wait().await.unwrap();
    assert_eq!((turn.state, turn.steps), (RunState::Completed, 2));
    case.sandbox.assert_nothing_alive();
}

#[tokio::test]
async fn watching_loses_no_output() {
    let case = Case::stalling([plain(0, 2)]);
    let runner = runner(&case).await;
    runner.start("hello").await.unwrap();
    while runner.current_output().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for _ in 0..3 {
        assert_eq!(runner.current_output(), PLAIN_TEXT);
        assert_eq!(runner.recent_events(10).len(), 2);
    }
    assert!(runner.kill());
    assert_eq!(runner.wait().await.unwrap().output(), PLAIN_TEXT);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn interrupt_kills_the_tool() {
    let case = Case::stalling([plain(0, 2), spawn(SpawnKind::Setsid)]);
    let running = case.start(&["hello"]);
    case.wait_until_ready();
    assert!(case.fake.spawned()[0].is_alive());
    running.signal(rustix::process::Signal::INT);
    running.wait().assert_code(130);
    wait_until("the tool's process is gone", || !case.fake.spawned()[0].is_alive());
    case.sandbox.assert_nothing_alive();
}

#[test]
fn model_source_configures_opencode() {
    let case = Case::replaying(PLAIN);
    let text = "MODEL_CODE_BASEURL=http://127.0.0.1:9/v1\nMODEL_CODE_APIKEY=sk-secret\nMODEL_CODE_MODEL=m-1\n\
                MODEL_CODE_TEMPERATURE=0.25\nMODEL_CODE_MAX_TOKENS=321\n";
    fs::write(case.sandbox.workspace().join(".env"), text).unwrap();
    for (arguments, has_key) in [(&["--no-gateway"][..], true), (&[], false)] {
        let outcome = case.run(&[&["--model-source-type", "code", "hello"], arguments].concat());
        outcome.assert_code(0);
        let run = case.fake.log_of("run").pop().unwrap();
        let configuration = &run.env["OPENCODE_CONFIG_CONTENT"];
        for value in ["m-1", "0.25"] {
            assert!(configuration.contains(value), "{value}: {configuration}");
        }
        // With the gateway only the provider sees the address and the key: the suite `real` tests that.
        assert_eq!(configuration.contains("http://127.0.0.1:9/v1"), has_key, "{configuration}");
        assert_eq!(run.env.values().any(|value| value.contains("sk-secret")), has_key, "the key");
        assert!(run.env.values().any(|value| value.contains("321")), "the limit of tokens");
        assert!(run.flag("--model").is_some_and(|model| model.ends_with("/m-1")), "{:?}", run.argv);
        assert!(!run.argv.concat().contains("sk-secret") && !outcome.stderr.contains("sk-secret"));
    }
}

#[test]
fn prompt_arrives_verbatim() {
    for prompt in ["two words", "\"quoted\" 'too' \\ $HOME `x`", "--help me", "a\nb\n", "ünï ✓"] {
        let case = Case::replaying(PLAIN);
        case.run(&[&format!("--message={prompt}")]).assert_code(0);
        let run = &case.fake.log_of("run")[0];
        assert_eq!(run.stdin.as_deref(), Some(prompt));
        assert!(!run.argv.iter().any(|word| word.contains(prompt)), "{:?}", run.argv);
    }
}

#[test]
fn empty_message_does_not_complete() {
    let case = Case::replaying("1.18.33/empty-message");
    case.run(&[""]).assert_code(2);
    assert!(case.fake.log_of("run").is_empty());
}

#[test]
fn nonzero_exit_does_not_complete() {
    let (outcome, object) = Case::doing([plain(0, 3), Act::Exit { code: 1 }]).run_json(&["hello"]);
    outcome.assert_code(1);
    assert_eq!(object["state"], "error");
}

#[test]
fn transcript_is_saved_as_requested() {
    let case = Case::replaying(PLAIN);
    let (outcome, object) = case.run_json(&["--save-markdown=here.md", "hello"]);
    outcome.assert_code(0);
    let path = case.sandbox.workspace().join("here.md");
    assert!(fs::read_to_string(&path).unwrap().contains(PLAIN_TEXT));
    assert_eq!(fs::canonicalize(object["transcript"].as_str().unwrap()).unwrap(), path.canonicalize().unwrap());
    let (_, object) = case.run_json(&["--save-markdown", "hello"]);
    assert!(object["transcript"].as_str().unwrap().ends_with("/conversation.md"), "{object}");
}

#[test]
fn fallback_transcript_is_named() {
    let case = Case::replaying(PLAIN);
    fs::create_dir(case.sandbox.workspace().join("conversation.md")).unwrap();
    let (outcome, object) = case.run_json(&["--dir", ".", "--save-markdown", "hello"]);
    outcome.assert_code(1);
    assert_eq!((&object["state"], &object["error"]["kind"]), (&"completed".into(), &"io".into()));
    let transcript = object["transcript"].as_str().unwrap();
    assert!(fs::read_to_string(transcript).unwrap().contains(PLAIN_TEXT));
    outcome.assert_says(&[&format!("the transcript was saved to {transcript} instead")]);
    assert!(!outcome.stderr.contains("transcript: "), "{outcome:?}");
}

#[test]
fn task_stays_in_its_workspace() {
    let case = Case::replaying(PLAIN);
    case.run(&["--task-name", "../x", "hello"]).assert_code(3);
    assert!(case.fake.log_of("run").is_empty() && case.task_dirs().is_empty());
}

#[test]
fn isolated_home_is_deleted_afterwards() {
    let mut case = Case::replaying(PLAIN);
    case.sandbox.set("OPENCODE_CONFIG_CONTENT", "{\"theme\": \"mine\"}");
    case.run(&["--isolated", "hello"]).assert_code(0);
    let run = &case.fake.log_of("run")[0];
    let home = &run.env["HOME"];
    assert!(home.contains("opencode-run-home-") && !std::path::Path::new(home).exists(), "{home}");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        assert!(run.env[name].starts_with(home.as_str()), "{name}");
    }
    assert!(!run.env.values().any(|value| value.contains("mine")), "the user's own configuration");
}
