//! Answers that end abnormally, clients that disconnect, and the end of the server.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::client::{self, SECONDS, openai, post};
use opencode_run_scripted_model::{Answer, ErrorReply, Part, Script, ScriptedModel};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn dropped_connection_truncates_body() {
    let script = Script::always(vec![Part::text("begun"), Part::drop_connection(), Part::text("never")]);
    let model = ScriptedModel::start(script).unwrap();
    // Repeated, because the data before the cut must arrive every time.
    for _ in 0..20 {
        let mut response = post(&model, CHAT, &openai("x", true)).await;
        assert_eq!(response.status(), 200);
        let mut body = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                other => break other,
            }
        };
        end.expect_err("the body must not look complete");
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("begun") && !body.contains("never"), "{body}");
        assert!(!body.contains("[DONE]"), "{body}");
    }
    assert_eq!(model.disconnects(), 0);
}

#[tokio::test]
async fn dropped_connection_truncates_unstreamed_answer() {
    let model = ScriptedModel::start(Script::always(Part::drop_connection())).unwrap();
    let mut body = openai("x", true);
    body["stream"] = false.into();
    let response = post(&model, CHAT, &body).await;
    assert_eq!(response.status(), 200);
    response.text().await.unwrap_err();
}

#[tokio::test]
async fn early_end_is_complete_http() {
    let script = Script::always(vec![Part::text("begun"), Part::end_early()]);
    let model = ScriptedModel::start(script).unwrap();
    let body = post(&model, CHAT, &openai("x", true)).await;
    let body = body.text().await.unwrap();
    assert!(body.contains("begun"), "{body}");
    assert!(!body.contains("[DONE]") && !body.contains("stop"), "{body}");
}

#[tokio::test]
async fn stall_lasts_until_client_disconnects() {
    let script = Script::always(vec![Part::text("begun"), Part::stall()]);
    let model = ScriptedModel::start(script).unwrap();
    let mut response = post(&model, CHAT, &openai("x", true)).await;
    let mut body = String::new();
    while !body.contains("begun") {
        let chunk = response.chunk().await.unwrap().unwrap();
        body.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let silence = tokio::time::timeout(Duration::from_millis(200), response.chunk()).await;
    silence.expect_err("nothing may follow");
    assert_eq!(model.disconnects(), 0);
    drop(response);
    model.wait_for_disconnects(1, SECONDS).await.unwrap();
}

#[tokio::test]
async fn disconnect_before_status_is_counted() {
    let hour = Duration::from_hours(1);
    let script = Script::always(Answer::text("late").delay(hour));
    let model = ScriptedModel::start(script).unwrap();
    let body = openai("x", true);
    let request = tokio::time::timeout(Duration::from_millis(100), post(&model, CHAT, &body));
    request.await.expect_err("the answer is an hour away");
    model.wait_for_disconnects(1, SECONDS).await.unwrap();
    assert_eq!(model.request_count(), 1);
}

#[tokio::test]
async fn delays_and_pauses_are_observed() {
    let delay = Duration::from_millis(60);
    let script = Script::always(
        Answer::new([Part::chunked_text("abc", 1, delay), Part::pause(delay), Part::text("d")]).delay(delay),
    );
    let model = ScriptedModel::start(script).unwrap();
    let begun = Instant::now();
    let response = post(&model, CHAT, &openai("x", true)).await;
    let to_status = begun.elapsed();
    response.text().await.unwrap();
    let to_end = begun.elapsed();
    assert!(to_status >= delay, "{to_status:?}");
    assert!(to_end >= delay * 4 && to_end < SECONDS, "{to_end:?}");

    let error = ErrorReply::new(503).delay(delay);
    let model = ScriptedModel::start(Script::always(error)).unwrap();
    let begun = Instant::now();
    assert_eq!(post(&model, CHAT, &openai("x", true)).await.status(), 503);
    assert!(begun.elapsed() >= delay);
}

#[tokio::test(start_paused = true)]
async fn server_ignores_paused_clock() {
    let pause = Duration::from_millis(60);
    let script = Script::always(vec![Part::pause(pause), Part::text("a")]);
    let model = ScriptedModel::start(script).unwrap();
    let begun = Instant::now();
    let response = post(&model, CHAT, &openai("x", true)).await;
    response.text().await.unwrap();
    assert!(begun.elapsed() >= pause);
    let begun = Instant::now();
    model.wait_for_requests(2, pause).await.unwrap_err();
    assert!(begun.elapsed() >= pause);
}

#[tokio::test]
async fn dropping_server_closes_connections() {
    let model = ScriptedModel::start(Script::always(Part::stall())).unwrap();
    let address = model.address();
    let mut stalled = post(&model, CHAT, &openai("x", true)).await;
    let begun = Instant::now();
    drop(model);
    assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
    TcpStream::connect(address).expect_err("the port is closed");
    let end = loop {
        match stalled.chunk().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    end.expect_err("the answer is cut");
}

#[test]
fn server_answers_while_caller_blocks() {
    let model = ScriptedModel::start(Script::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(client::chat(&model, &openai("x", true)));
    assert_eq!(answer["object"], "chat.completion");
    model.shutdown();
}
