//! Requests that wait in the gateway: pauses after a rate limit, and rates.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{body::Body, extract::Request, response::Response};
use opencode_run_gateway::{GatewayOptions, Protocol, Throttle, Upstream};

use crate::support::{Server, Setup, soon, until, upstream};

type Arrivals = Arc<Mutex<Vec<Instant>>>;

/// Refuses the first request for a second.
async fn refusing() -> (Server, Arrivals) {
    let arrivals = Arrivals::default();
    let into = Arc::clone(&arrivals);
    let server = Server::http(move |_: Request| {
        let into = Arc::clone(&into);
        async move {
            let mut arrivals = into.lock().unwrap();
            arrivals.push(Instant::now());
            let answer = Response::builder().header("content-type", "application/json");
            let answer = if arrivals.len() == 1 { answer.status(429).header("retry-after", "1") } else { answer };
            answer.body(Body::from("{}")).unwrap()
        }
    })
    .await;
    (server, arrivals)
}

#[tokio::test]
async fn refused_source_gets_no_request() {
    let (server, arrivals) = refusing().await;
    let noted: Arc<Mutex<Vec<Option<Duration>>>> = Arc::default();
    let into = Arc::clone(&noted);
    let throttle = Throttle::new(move |after| into.lock().unwrap().push(after));
    let upstream =
        || Upstream { throttle: Some(throttle.clone()), ..upstream(&server.url(), Protocol::OpenAiCompatible) };
    let one = Setup::with(GatewayOptions::default(), &upstream());
    let other = Setup::with(GatewayOptions::default(), &upstream());
    let refused = one.chat().await;
    assert_eq!((refused.status, noted.lock().unwrap().as_slice()), (429, &[Some(Duration::from_secs(1))][..]));
    assert!(one.lease.is_held() && other.lease.is_held(), "the pause is that of the source");
    let answers = futures_util::future::join_all([one.chat(), one.chat(), other.chat()]);
    assert!(soon("the answers", answers).await.iter().all(|answer| answer.status == 200));
    let arrivals = arrivals.lock().unwrap().clone();
    assert_eq!(arrivals.len(), 4);
    // The pause begins when the gateway has the head of the answer, after the request arrived.
    assert!(arrivals[1..].iter().all(|arrival| *arrival - arrivals[0] >= Duration::from_secs(1)), "{arrivals:?}");
    assert_eq!(one.budget.traffic().requests, 3);
    until("the end of the pause", || !one.lease.is_held()).await;
}

#[tokio::test]
async fn rate_spaces_requests() {
    let (server, arrivals) = refusing().await;
    arrivals.lock().unwrap().push(Instant::now());
    let interval = Duration::from_millis(50);
    let throttle = Throttle::new(|_| {}).with_interval(interval);
    let upstream = Upstream { throttle: Some(throttle), ..upstream(&server.url(), Protocol::OpenAiCompatible) };
    let setup = Setup::with(GatewayOptions::default(), &upstream);
    let answers = futures_util::future::join_all((0..6).map(|_| setup.chat()));
    assert!(soon("the answers", answers).await.iter().all(|answer| answer.status == 200));
    let arrivals = arrivals.lock().unwrap();
    assert!(arrivals[6] - arrivals[0] >= interval * 5, "{arrivals:?}");
}
