//! Leases: which clients may use a route.

use std::time::Duration;

use opencode_run_gateway::{Gateway, GatewayOptions, LeaseError, Protocol, Route, UsageBudget, UsageLimits};

use crate::support::{Answer, Recorder, send, upstream};

async fn provider() -> Recorder {
    Recorder::new(200, "application/json", "{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1}}").await
}

fn open(provider: &Recorder, grace: Duration) -> Route {
    let mut options = GatewayOptions::default();
    options.lease_grace = grace;
    let gateway = Gateway::start_with(options).unwrap();
    gateway.open(&upstream(&provider.server.url(), Protocol::OpenAiCompatible)).unwrap()
}

async fn from(path: &Route, session: &str) -> Answer {
    send(path, "chat/completions", &[("x-session-id", session)], "{}").await
}

#[tokio::test]
async fn session_without_lease_is_rejected() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let budget = UsageBudget::unlimited();
    from(&path, "ses_1").await.assert_fault(403, "gateway_session_not_admitted");
    let lease = path.lease("ses_1", &budget).unwrap();
    assert_eq!(from(&path, "ses_1").await.status, 200);
    from(&path, "ses_2").await.assert_fault(403, "gateway_session_not_admitted");
    send(&path, "chat/completions", &[], "{}").await.assert_fault(403, "gateway_session_not_admitted");
    drop(lease);
    from(&path, "ses_1").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!((path.traffic().requests, path.traffic().refused), (1, 4));
    assert_eq!((budget.traffic().requests, budget.traffic().refused), (1, 0));
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn all_session_headers_are_known() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let _lease = path.lease("ses_1", &UsageBudget::unlimited()).unwrap();
    for name in ["X-Session-Id", "x-opencode-session", "x-session-affinity"] {
        assert_eq!(send(&path, "chat/completions", &[(name, "ses_1")], "{}").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn sub_agents_inherit_lease() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let budget = UsageBudget::unlimited();
    let lease = path.lease("ses_1", &budget).unwrap();
    let child = [("x-opencode-session", "ses_2"), ("x-parent-session-id", "ses_1")];
    let grandchild = [("x-opencode-session", "ses_3"), ("x-parent-session-id", "ses_2")];
    send(&path, "chat/completions", &grandchild, "{}").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!(send(&path, "chat/completions", &child, "{}").await.status, 200);
    assert_eq!(send(&path, "chat/completions", &grandchild, "{}").await.status, 200);
    lease.include("ses_9").unwrap();
    assert_eq!(from(&path, "ses_9").await.status, 200);
    assert_eq!((lease.traffic().requests, budget.traffic().tokens.input), (3, 30));
    drop(lease);
    for session in ["ses_2", "ses_3", "ses_9"] {
        from(&path, session).await.assert_fault(403, "gateway_session_not_admitted");
    }
}

#[tokio::test]
async fn sub_agent_may_get_own_lease() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let one = UsageBudget::unlimited();
    let two = UsageBudget::unlimited();
    let lease = path.lease("ses_1", &one).unwrap();
    assert_eq!(path.lease("ses_1", &two).unwrap_err(), LeaseError::AlreadyLeased);
    lease.include("ses_2").unwrap();
    let own = path.lease("ses_2", &two).unwrap();
    assert_eq!(lease.include("ses_2").unwrap_err(), LeaseError::AlreadyLeased);
    from(&path, "ses_2").await;
    assert_eq!((one.traffic().requests, two.traffic().requests), (0, 1));
    drop(lease);
    assert_eq!(from(&path, "ses_2").await.status, 200, "it has its own admission");
    drop(own);
    assert!(path.lease("ses_1", &one).is_ok());
}

#[tokio::test]
async fn request_waits_briefly_for_lease() {
    let provider = provider().await;
    let path = open(&provider, crate::support::LIMIT);
    let budget = UsageBudget::unlimited();
    let (answer, _lease) = tokio::join!(from(&path, "ses_1"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        path.lease("ses_1", &budget).unwrap()
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn lease_to_anyone_accepts_all_sessions() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let all = UsageBudget::unlimited();
    let own = UsageBudget::unlimited();
    let lease = path.lease_to_anyone(&all).unwrap();
    assert_eq!(path.lease_to_anyone(&all).unwrap_err(), LeaseError::AlreadyLeased);
    assert_eq!(send(&path, "chat/completions", &[], "{}").await.status, 200);
    assert_eq!(from(&path, "ses_1").await.status, 200);
    let _session = path.lease("ses_1", &own).unwrap();
    assert_eq!(from(&path, "ses_1").await.status, 200);
    assert_eq!((all.traffic().requests, own.traffic().requests), (2, 1), "a session's own lease comes first");
    drop(lease);
    from(&path, "ses_2").await.assert_fault(403, "gateway_session_not_admitted");
    assert_eq!(from(&path, "ses_1").await.status, 200);
}

#[tokio::test]
async fn routes_can_share_budget() {
    let provider = provider().await;
    let one = open(&provider, Duration::ZERO);
    let two = open(&provider, Duration::ZERO);
    let budget = UsageBudget::new(UsageLimits { max_requests: Some(2), ..UsageLimits::default() }).unwrap();
    let leases = (one.lease("ses_1", &budget).unwrap(), two.lease("ses_1", &budget).unwrap());
    assert_eq!(from(&one, "ses_1").await.status, 200);
    assert_eq!(from(&two, "ses_1").await.status, 200);
    from(&one, "ses_1").await.assert_fault(403, "gateway_limit_reached");
    assert_eq!((leases.0.traffic().requests, leases.1.traffic().requests), (1, 1));
    assert_eq!((budget.traffic().requests, budget.traffic().refused), (2, 1));
}

#[tokio::test]
async fn debug_hides_key_and_token() {
    let provider = provider().await;
    let path = open(&provider, Duration::ZERO);
    let lease = path.lease("ses_1", &UsageBudget::unlimited()).unwrap();
    let token = path.base_url().rsplit('/').next().unwrap().to_owned();
    let shown = format!("{path:?} {lease:?} {:?}", upstream("http://x", Protocol::Google));
    assert!(!shown.contains(&token) && !shown.contains(crate::support::KEY), "{shown}");
    assert!(!path.placeholder().is_empty() && path.placeholder() != crate::support::KEY);
}
