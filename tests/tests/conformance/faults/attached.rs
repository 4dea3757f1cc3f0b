//! An attached server.

use super::support::{PLAIN, PLAIN_TEXT, assert_answered, ended, start_until};
use crate::stage::LIMIT;
use opencode_run_core::{Conversation, Event, FailureKind, RunError, StartError, Task, TurnRunner};
use opencode_run_process::ServeExecutor;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

/// A server that the executor did not start.
struct Theirs {
    sandbox: Sandbox,
    child: Child,
    url: String,
    fake: Fake,
}

impl Theirs {
    fn start(version: &str, serving: Serving) -> Self {
        Self::start_with(version, &["serve"], "OPENCODE_SERVER_PASSWORD", serving)
    }

    /// Starts a server of opencode 2. It ends with its stdin.
    fn start2(version: &str, serving: Serving) -> Self {
        Self::start_with(version, &["serve", "--stdio"], "OPENCODE_PASSWORD", serving)
    }

    fn start_with(version: &str, arguments: &[&str], password: &str, serving: Serving) -> Self {
        let sandbox = Sandbox::new();
        let fake =
            FakeScript::new(&sandbox, fake_opencode_bin!()).version(version).on("serve", [serving.act()]).write();
        let mut command = sandbox.command(fake.executable());
        command.args(arguments).env(password, "theirs").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line[line.find("http").unwrap()..].trim_end_matches(['"', '}', '\n']).to_owned();
        Self { sandbox, child, url, fake }
    }

    async fn attach(&self, password: Option<&str>) -> Result<ServeExecutor, StartError> {
        let attached = ServeExecutor::attach(&self.url, None, password.map(str::to_owned));
        tokio::time::timeout(LIMIT, attached).await.unwrap()
    }

    fn end(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it is not ours to end");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.sandbox.assert_nothing_alive();
    }
}

#[tokio::test]
async fn attached_server_is_left_alone() {
    let theirs = Theirs::start("1.18.33", Serving::replaying(PLAIN));
    let executor = theirs.attach(Some("theirs")).await.unwrap();
    let runner = TurnRunner::new(Arc::new(executor.clone()), Task::new("task", theirs.sandbox.workspace()));
    assert_answered(&runner.run("hello".into(), SystemTime::now()).await.unwrap(), PLAIN_TEXT);
    executor.shutdown().await;
    drop((runner, executor));
    theirs.end();
}

#[tokio::test]
async fn attached_server_of_opencode_2_is_left_alone() {
    let theirs = Theirs::start2("opencode v2.0.14", Serving::replaying("v2/plain-text"));
    let executor = theirs.attach(Some("theirs")).await.unwrap();
    let runner = TurnRunner::new(Arc::new(executor.clone()), Task::new("task", theirs.sandbox.workspace()));
    assert_answered(&runner.run("hello".into(), SystemTime::now()).await.unwrap(), PLAIN_TEXT);
    drop((runner, executor));
    theirs.end();
    // 2.0.0 to 2.0.3 have other routes.
    let early = RouteFault::new("GET /api/info", Fault::page());
    let version = Fault::Reply {
        status: 200,
        content_type: "application/json".to_owned(),
        body: r#"{"healthy":true,"version":"2.0.2"}"#.to_owned(),
    };
    let theirs = Theirs::start2(
        "opencode v2.0.2",
        Serving::default().fault(early).fault(RouteFault::new("GET /api/health", version)),
    );
    let error = theirs.attach(Some("theirs")).await.unwrap_err();
    assert!(error.kind == FailureKind::Opencode && error.message.contains("2.0.2"), "{error}");
    theirs.end();
}

#[tokio::test]
async fn foreign_turn_in_session_is_noticed() {
    let long = TurnRule::every([TurnAct::replay("1.18.33/abort-text")]).said("long");
    let theirs =
        Theirs::start("1.18.33", Serving::default().turn(long).turn(TurnRule::every([TurnAct::replay(PLAIN)])));
    let executor = theirs.attach(Some("theirs")).await.unwrap();
    let task = || Task::new("task", theirs.sandbox.workspace());
    let runner = TurnRunner::new(Arc::new(executor.clone()), task());
    for _ in 0..4 {
        assert_answered(&runner.run("hello".into(), SystemTime::now()).await.unwrap(), PLAIN_TEXT);
    }
    // A new session needs no check, and a known one only if the stream was late.
    let asked = theirs.fake.log_of("serve")[0].requests_of("GET /session/status").len();
    assert!((1..=3).contains(&asked), "{asked}");

    let mut conversation = Conversation::new(task());
    conversation.session = runner.session_id();
    let others = theirs.attach(Some("theirs")).await.unwrap();
    let other = TurnRunner::with_conversation(Arc::new(others.clone()), conversation);
    start_until(&other, "long", |event| matches!(event.observed.event, Event::TextDelta { .. })).await;
    let refused = tokio::time::timeout(LIMIT, runner.run("me too".into(), SystemTime::now())).await.unwrap();
    assert!(matches!(&refused, Err(RunError::Start(error)) if error.kind == FailureKind::Busy), "{refused:?}");
    assert!(other.kill());
    ended(&other).await;
    assert_answered(&runner.run("hello".into(), SystemTime::now()).await.unwrap(), PLAIN_TEXT);
    drop((runner, executor, other, others));
    theirs.end();
}

#[tokio::test]
async fn wrong_credentials_are_reported() {
    for theirs in [
        Theirs::start("1.18.33", Serving::replaying(PLAIN)),
        Theirs::start2("opencode v2.0.14", Serving::replaying("v2/plain-text")),
    ] {
        for password in [None, Some("mine")] {
            let error = theirs.attach(password).await.unwrap_err();
            assert_eq!(error.kind, FailureKind::Config);
            assert!(
                error.message.contains("password")
                    && error.remedy.unwrap().to_string().contains("OPENCODE_SERVER_PASSWORD")
            );
        }
        theirs.end();
    }
}

#[tokio::test]
async fn unsupported_version_is_refused() {
    for (version, why) in [("1.0.185", "1.0.185"), ("2.0.0", "2.0.0"), ("soon", "version")] {
        let theirs = Theirs::start(version, Serving::replaying(PLAIN));
        let error = theirs.attach(Some("theirs")).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Opencode);
        assert!(error.message.contains(why), "{error}");
        theirs.end();
    }
}

#[tokio::test]
async fn other_server_is_refused() {
    let theirs =
        Theirs::start("1.18.33", Serving::default().fault(RouteFault::new("GET /global/health", Fault::page())));
    assert_eq!(theirs.attach(Some("theirs")).await.unwrap_err().kind, FailureKind::Opencode);
    theirs.end();
    let nobody = ServeExecutor::attach("http://127.0.0.1:1", None, None).await.unwrap_err();
    assert_eq!(nobody.kind, FailureKind::Opencode);
    for url in ["nonsense", "ftp://127.0.0.1:1", ""] {
        assert_eq!(ServeExecutor::attach(url, None, None).await.unwrap_err().kind, FailureKind::Usage, "{url}");
    }
    let error = ServeExecutor::attach("http://me:1234567890@127.0.0.1:1", None, None).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Usage);
    assert!(!format!("{error:?}").contains("1234567890"), "{error:?}");
}
