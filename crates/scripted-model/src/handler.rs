//! Records and answers a request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    ErrorReply, Protocol, RecordedRequest, Reply,
    endpoint::{Endpoint, wants_stream},
    ledger::RequestLedger,
    log::Log,
    placeholders::Placeholders,
    playback::{self, ClientGuard},
    rulebook::Rulebook,
    wire::{AnswerPlan, Head, error_body, model_list, plan},
};

/// The maximum size of a request's body in bytes, enough for a conversation full of tool results and images.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

/// The state shared by all requests.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) rulebook: Rulebook,
    pub(crate) ledger: Arc<RequestLedger>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) log: Option<Log>,
    pub(crate) started: Instant,
    pub(crate) answers: AtomicU64,
}

/// Answers any request.
pub(crate) async fn handle(State(stage): State<Arc<ServerState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::of(&parts.method, &parts.uri);
    let Ok(bytes) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Arc::new(RecordedRequest {
        elapsed: stage.started.elapsed(),
        protocol: endpoint.protocol(),
        method: parts.method.to_string(),
        path: path.to_owned(),
        headers: plain_headers(&parts.headers),
        body: body_value(&bytes),
    });
    if let Some(log) = &stage.log {
        log.write(&request);
    }
    stage.ledger.record(Arc::clone(&request));
    match endpoint {
        Endpoint::Answer { protocol } if request.body.is_object() => answer(&stage, protocol, &request).await,
        Endpoint::Answer { protocol } => {
            let message = "the body is not a JSON object";
            json_response(StatusCode::BAD_REQUEST, &error_body(protocol, 400, message))
        }
        Endpoint::Models { protocol } => json_response(StatusCode::OK, &model_list(protocol, stage.rulebook.models())),
        Endpoint::Unknown => {
            let message = format!("{} {} is not served here", request.method, request.path);
            json_response(StatusCode::NOT_FOUND, &error_body(Protocol::OpenAi, 404, &message))
        }
    }
}

async fn answer(stage: &ServerState, protocol: Protocol, request: &RecordedRequest) -> Response {
    let audience = ClientGuard::new(Arc::clone(&stage.ledger), Arc::clone(&stage.stopping));
    let dialogue = request.dialogue();
    match stage.rulebook.choose(request, &dialogue) {
        Reply::Answer(answer) => {
            let placeholders =
                Placeholders { last_user: dialogue.last_user_text().trim().to_owned(), turn: dialogue.turn() };
            let head = Head {
                model: request.model().to_owned(),
                number: stage.answers.fetch_add(1, Ordering::Relaxed),
                created: seconds_since_1970(),
                usage: answer.usage,
            };
            let streaming = wants_stream(protocol, &request.path, &request.body);
            wait(answer.delay).await;
            plan_response(plan(protocol, streaming, head, answer, &placeholders), audience)
        }
        Reply::Error(error) => {
            wait(error.delay).await;
            audience.served();
            error_response(protocol, error)
        }
    }
}

fn plan_response(plan: AnswerPlan, audience: ClientGuard) -> Response {
    let status = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::OK);
    let mut response = playback::body(plan.steps.into(), audience).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(plan.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn error_response(protocol: Protocol, error: &ErrorReply) -> Response {
    let (headers, body) = error.head_and_body(|text| error_body(protocol, error.status, text));
    (error.status_code(), headers, body).into_response()
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, content_type)], body.to_string()).into_response()
}

/// Waits; a zero duration does not yield to other tasks.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn plain_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut plain: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        plain
            .entry(name.as_str().to_owned())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    plain
}

fn body_value(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
