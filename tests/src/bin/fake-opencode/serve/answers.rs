//! Builds responses.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use std::io;
use std::time::Duration;

/// The answer to a message or a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply { status: u16, content_type: String, body: String },
    HangUp,
}

impl Answer {
    pub(crate) fn into_response(self) -> Response {
        match self {
            Self::Reply { status, content_type, body } => reply(status, &content_type, body),
            Self::HangUp => hang_up(),
        }
    }
}

pub(crate) fn reply(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

pub(crate) fn json(body: &Value) -> Response {
    reply(200, "application/json", body.to_string())
}

/// Returns the real server's answer for an unknown session.
pub(crate) fn no_session(session: &str) -> Response {
    let body =
        serde_json::json!({"name": "NotFoundError", "data": {"message": format!("Session not found: {session}")}});
    reply(404, "application/json", body.to_string())
}

/// Returns an answer that never ends.
pub(crate) fn trickle(content_type: &str) -> Response {
    let bytes = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
    });
    reply(200, content_type, Body::from_stream(bytes))
}

/// Returns the beginning of an answer, and closes the connection.
pub(crate) fn hang_up() -> Response {
    let broken = [Ok(Bytes::from_static(b"{\"info\":")), Err(io::Error::other("hung up, as the script says"))];
    reply(200, "application/json", Body::from_stream(futures_util::stream::iter(broken)))
}
