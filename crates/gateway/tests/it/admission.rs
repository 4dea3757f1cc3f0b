//! Who may use a path.

use std::time::Duration;

use opencode_run_gateway::{Account, AdmitError, Gateway, Limits, LivePath, Options, Protocol};

use crate::support::{Answer, Recorder, send, upstream};

async fn provider() -> Recorder {
    Recorder::new(200, "application/json", "{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1}}").await
}

fn open(provider: &Recorder, grace: Duration) -> LivePath {
    let mut options = Options::default();
    options.admission_grace = grace;
    let gateway = Gateway::start_with(options).unwrap();
    gateway.open(&upstream(&provider.server.url(), Protocol::OpenAiCompatible)).unwrap()
}

async fn from(path: &LivePath, session: &str) -> Answer {
    send(path, "chat/completions", &[("x-session-id", session)], "{}").await
}

#[tokio::test]
async fn a_session_that_is_not_admitted_is_refused() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let account = Account::unlimited();
    from(&path, "ses_1").await.assert_fault(403, "gateway_session_not_admitted");
    let admission = path.admit("ses_1", &account).unwrap();
    assert_eq!(from(&path, "ses_1").await.status, 200);
    from(&path, "ses_2").await.assert_fault(403, "gateway_session_not_admitted");
    send(&path, "chat/completions", &[], "{}").await.assert_fault(403, "gateway_session_not_admitted");
    drop(admission);
    from(&path, "ses_1").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!((path.traffic().requests, path.traffic().refused), (1, 4));
    assert_eq!((account.traffic().requests, account.traffic().refused), (1, 0));
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn each_header_by_which_opencode_names_a_session_is_known() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let _admission = path.admit("ses_1", &Account::unlimited()).unwrap();
    for name in ["X-Session-Id", "x-opencode-session", "x-session-affinity"] {
        assert_eq!(send(&path, "chat/completions", &[(name, "ses_1")], "{}").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn sub_agents_use_what_their_parent_may() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let account = Account::unlimited();
    let admission = path.admit("ses_1", &account).unwrap();
    let child = [("x-opencode-session", "ses_2"), ("x-parent-session-id", "ses_1")];
    let grandchild = [("x-opencode-session", "ses_3"), ("x-parent-session-id", "ses_2")];
    send(&path, "chat/completions", &grandchild, "{}").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!(send(&path, "chat/completions", &child, "{}").await.status, 200);
    assert_eq!(send(&path, "chat/completions", &grandchild, "{}").await.status, 200);
    admission.include("ses_9").unwrap();
    assert_eq!(from(&path, "ses_9").await.status, 200);
    assert_eq!((admission.traffic().requests, account.traffic().tokens.input), (3, 30));
    drop(admission);
    for session in ["ses_2", "ses_3", "ses_9"] {
        from(&path, session).await.assert_fault(403, "gateway_session_not_admitted");
    }
}

#[tokio::test]
async fn a_session_is_admitted_once_but_a_sub_agent_may_be_admitted_by_itself() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let (one, two) = (Account::unlimited(), Account::unlimited());
    let admission = path.admit("ses_1", &one).unwrap();
    assert_eq!(path.admit("ses_1", &two).unwrap_err(), AdmitError::Taken);
    admission.include("ses_2").unwrap();
    let own = path.admit("ses_2", &two).unwrap();
    assert_eq!(admission.include("ses_2").unwrap_err(), AdmitError::Taken);
    from(&path, "ses_2").await;
    assert_eq!((one.traffic().requests, two.traffic().requests), (0, 1));
    drop(admission);
    assert_eq!(from(&path, "ses_2").await.status, 200, "it has its own admission");
    drop(own);
    assert!(path.admit("ses_1", &one).is_ok());
}

#[tokio::test]
async fn a_request_may_come_a_little_before_the_admission() {
    let provider = provider().await;
    let path = open(&provider, crate::support::LIMIT);
    let account = Account::unlimited();
    let (answer, _admission) = tokio::join!(from(&path, "ses_1"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        path.admit("ses_1", &account).unwrap()
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn anyone_may_use_a_path_that_is_for_anyone() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let (all, own) = (Account::unlimited(), Account::unlimited());
    let admission = path.admit_anyone(&all).unwrap();
    assert_eq!(path.admit_anyone(&all).unwrap_err(), AdmitError::Taken);
    assert_eq!(send(&path, "chat/completions", &[], "{}").await.status, 200);
    assert_eq!(from(&path, "ses_1").await.status, 200);
    let _session = path.admit("ses_1", &own).unwrap();
    assert_eq!(from(&path, "ses_1").await.status, 200);
    assert_eq!((all.traffic().requests, own.traffic().requests), (2, 1), "a session's own admission comes first");
    drop(admission);
    from(&path, "ses_2").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!(from(&path, "ses_1").await.status, 200);
}

#[tokio::test]
async fn one_account_may_be_used_on_several_paths() {
    let provider = provider().await;
    let (one, two) = (open(&provider, Duration::ZERO), open(&provider, Duration::ZERO));
    let account = Account::new(Limits { max_requests: Some(2), ..Limits::default() }).unwrap();
    let admissions = (one.admit("ses_1", &account).unwrap(), two.admit("ses_1", &account).unwrap());
    assert_eq!(from(&one, "ses_1").await.status, 200);
    assert_eq!(from(&two, "ses_1").await.status, 200);
    from(&one, "ses_1").await.assert_fault(403, "gateway_limit_reached");
    assert_eq!((admissions.0.traffic().requests, admissions.1.traffic().requests), (1, 1));
    assert_eq!((account.traffic().requests, account.traffic().refused), (2, 1));
}

#[tokio::test]
async fn nothing_shows_a_key_or_a_path() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let admission = path.admit("ses_1", &Account::unlimited()).unwrap();
    let token = path.base_url().rsplit('/').next().unwrap().to_owned();
    let shown = format!("{path:?} {admission:?} {:?}", upstream("http://x", Protocol::Google));
    assert!(!shown.contains(&token) && !shown.contains(crate::support::KEY), "{shown}");
    assert!(!path.placeholder().is_empty() && path.placeholder() != crate::support::KEY);
}
