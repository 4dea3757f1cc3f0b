//! The limits of a budget.

use opencode_run_gateway::{
    AnswerFault, Gateway, LeaseError, LimitReached, Prices, Protocol, Upstream, UsageBudget, UsageLimits,
};

use crate::support::{EVENTS, Recorder, Server, ask, chunk, post, read_request, read_to_end, until, upstream};
use tokio::io::AsyncWriteExt;

const USAGE: &str = "{\"usage\":{\"prompt_tokens\":1000000,\"completion_tokens\":100000}}";

fn limits() -> UsageLimits {
    UsageLimits::default()
}

#[tokio::test]
async fn exceeding_request_is_rejected() {
    let provider = Recorder::new(200, "application/json", USAGE).await;
    let gateway = Gateway::start().unwrap();
    for (limits, allowed, reached) in [
        (UsageLimits { max_requests: Some(3), ..limits() }, 3, LimitReached::Requests { max: 3, value: 3 }),
        (
            UsageLimits { max_tokens_total: Some(2_000_000), ..limits() },
            2,
            LimitReached::Tokens { max: 2_000_000, value: 2_200_000 },
        ),
        (UsageLimits { max_cost_usd: Some(5.0), ..limits() }, 2, LimitReached::Cost { max: 5.0, value: 8.0 }),
    ] {
        let prices = Some(Prices { input: 3.0, output: 10.0 });
        let path =
            gateway.open(&Upstream { prices, ..upstream(&provider.server.url(), Protocol::OpenAiCompatible) }).unwrap();
        let budget = UsageBudget::new(limits).unwrap();
        let mut watch = budget.watch_limit();
        let _lease = path.lease_to_anyone(&budget).unwrap();
        for _ in 0..allowed {
            assert_eq!(post(&path, "chat/completions", "{}").await.status, 200);
        }
        assert_eq!(budget.limit_reached(), None);
        post(&path, "chat/completions", "{}").await.assert_fault(403, "gateway_limit_reached");
        assert_eq!(budget.limit_reached(), Some(reached));
        assert_eq!(*watch.wait_for(Option::is_some).await.unwrap(), Some(reached));
        assert_eq!((budget.traffic().requests, budget.traffic().refused), (allowed, 1));
    }
}

#[tokio::test]
async fn cost_limit_requires_prices() {
    let gateway = Gateway::start().unwrap();
    let path = gateway.open(&upstream("http://127.0.0.1:1", Protocol::OpenAiCompatible)).unwrap();
    let budget = UsageBudget::new(UsageLimits { max_cost_usd: Some(1.0), ..limits() }).unwrap();
    assert_eq!(path.lease("ses_1", &budget).unwrap_err(), LeaseError::NoPrices);
    assert_eq!(path.lease_to_anyone(&budget).unwrap_err(), LeaseError::NoPrices);
}

#[tokio::test]
async fn other_models_are_rejected() {
    let provider = Recorder::new(200, "application/json", USAGE).await;
    let gateway = Gateway::start().unwrap();
    let model = Some("cheap".to_owned());
    let path =
        gateway.open(&Upstream { model, ..upstream(&provider.server.url(), Protocol::OpenAiCompatible) }).unwrap();
    let _lease = path.lease_to_anyone(&UsageBudget::unlimited()).unwrap();
    assert_eq!(post(&path, "chat/completions", "{\"model\":\"cheap\"}").await.status, 200);
    post(&path, "chat/completions", "{\"model\":\"dear\"}").await.assert_fault(403, "gateway_other_model");
    assert_eq!((provider.seen().len(), path.traffic().refused), (1, 1));
}

#[tokio::test]
async fn token_limit_requires_reports() {
    let provider = Recorder::new(200, "application/json", "{\"choices\":[]}").await;
    let gateway = Gateway::start().unwrap();
    let path = gateway.open(&upstream(&provider.server.url(), Protocol::OpenAiCompatible)).unwrap();
    let budget = UsageBudget::new(UsageLimits { max_tokens_total: Some(1000), ..limits() }).unwrap();
    let _lease = path.lease_to_anyone(&budget).unwrap();
    assert_eq!(post(&path, "embeddings", "{}").await.status, 200);
    assert_eq!(post(&path, "chat/completions", "{}").await.status, 200);
    post(&path, "chat/completions", "{}").await.assert_fault(403, "gateway_limit_reached");
    assert_eq!(budget.limit_reached(), Some(LimitReached::Unmetered { answers: 1 }));
}

#[tokio::test]
async fn early_disconnect_blocks_further_requests() {
    let begun = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n";
    let server = Server::tcp(move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(format!("{EVENTS}{}", chunk(begun)).as_bytes()).await.unwrap();
        read_to_end(&mut stream).await.ok();
    })
    .await;
    let gateway = Gateway::start().unwrap();
    let path = gateway.open(&upstream(&server.url(), Protocol::Anthropic)).unwrap();
    let budget = UsageBudget::new(UsageLimits { max_tokens_total: Some(1000), ..limits() }).unwrap();
    let _lease = path.lease_to_anyone(&budget).unwrap();
    let mut connection = ask(&path, "messages", &[], "{}").await;
    connection.head().await.unwrap();
    connection.chunk().await.unwrap();
    drop(connection);
    until("the end of the count", || budget.traffic().running == 0).await;
    post(&path, "messages", "{}").await.assert_fault(403, "gateway_limit_reached");
    assert_eq!(budget.limit_reached(), Some(LimitReached::Unmetered { answers: 1 }));
}

#[tokio::test]
async fn running_requests_count_towards_limit() {
    let provider = Recorder::new(200, "application/json", USAGE).await;
    let gateway = Gateway::start().unwrap();
    let path = gateway.open(&upstream(&provider.server.url(), Protocol::OpenAiCompatible)).unwrap();
    let budget = UsageBudget::new(UsageLimits { max_requests: Some(5), ..limits() }).unwrap();
    let _lease = path.lease_to_anyone(&budget).unwrap();
    let answers = futures_util::future::join_all((0..20).map(|_| post(&path, "chat/completions", "{}"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    assert_eq!(provider.seen().len(), 5);
}

#[tokio::test]
async fn unpriced_request_is_rejected() {
    let provider = Recorder::new(200, "application/json", USAGE).await;
    let gateway = Gateway::start().unwrap();
    let prices = Some(Prices { input: 1.0, output: 1.0 });
    let path =
        gateway.open(&Upstream { prices, ..upstream(&provider.server.url(), Protocol::OpenAiCompatible) }).unwrap();
    let limited = UsageBudget::new(UsageLimits { max_cost_usd: Some(100.0), ..limits() }).unwrap();
    let lease = path.lease("ses_1", &limited).unwrap();
    let _unlimited = path.lease("ses_2", &UsageBudget::unlimited()).unwrap();
    let dear = r#"{"model":"m","service_tier":"priority"}"#;
    let sent = async |session: &str, body: &str| {
        crate::support::send(&path, "chat/completions", &[("x-session-id", session)], body).await
    };
    sent("ses_1", dear).await.assert_fault(403, "gateway_price_not_known");
    assert_eq!(lease.answer_fault(), Some(AnswerFault::Unpriced { what: "another service tier" }));
    assert!(provider.seen().is_empty());
    assert_eq!(sent("ses_1", r#"{"model":"m"}"#).await.status, 200);
    assert_eq!(sent("ses_2", dear).await.status, 200, "without a limit all may be asked for");
    assert_eq!((provider.seen().len(), limited.limit_reached()), (2, None));
}
