//! The gateway's own error answers.
//!
//! opencode retries a request whose error has a status for transient errors (408, 409, 429, 5xx), and also one
//! whose message or body merely contains a word or number that suggests it, such as `500`. So a permanent error has
//! a status below 500 and a text without numbers; the numbers are in [`LimitReached`].

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};

use crate::{LimitReached, Protocol, failure::Failure};

/// The reason why the gateway answers a request itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// The route does not exist, or the request is not one that is forwarded.
    NotFound,
    /// The request is invalid HTTP or not one that our clients send.
    BadRequest(&'static str),
    /// The body exceeds the size limit.
    TooLarge,
    /// The client did not send its body in time.
    SlowClient,
    /// The session has no lease of the route.
    NoLease,
    /// The requested model is not the allowed one.
    OtherModel,
    /// A limit of the budget is reached.
    Limit(LimitReached),
    /// The route or the lease was closed while the request ran.
    Closed,
    /// The upstream redirects the client.
    Redirect,
    /// The upstream's certificate is not trusted.
    Certificate(&'static str),
    /// The connection to the upstream failed.
    Unreachable,
    /// The upstream closed the connection before it answered, or did not speak HTTP.
    Broken,
    /// The upstream did not accept the connection or begin its answer in time.
    TimedOut,
    /// The upstream answered with this instead of an event stream.
    NotAStream(&'static str),
    /// The upstream's answer has an encoding that cannot be searched for the key.
    Encoded,
    /// The upstream's answer was empty.
    Empty,
    /// The previous answers were faulty, and the next one would cost money as well.
    Repeated,
    /// The request was held for long, and the upstream is paused for this time; zero if only its rate held the request.
    Held(Duration),
    /// Under a cost limit, the request uses a feature whose price is unknown.
    Unpriced(&'static str),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Certificate(what) => Self::Certificate(what),
            Failure::Refused | Failure::NoConnection => Self::Unreachable,
            Failure::Broken => Self::Broken,
            Failure::TimedOut => Self::TimedOut,
        }
    }
}

impl Fault {
    /// Returns the HTTP status. opencode does not retry after 400, 403, 404, 413 or 421.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotFound | Self::Closed => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowClient => StatusCode::REQUEST_TIMEOUT,
            Self::NoLease | Self::OtherModel | Self::Limit(_) | Self::Unpriced(_) => StatusCode::FORBIDDEN,
            // Not `502`, which opencode would retry for more than a minute.
            Self::Redirect | Self::Certificate(_) | Self::NotAStream(_) | Self::Encoded | Self::Repeated => {
                StatusCode::MISDIRECTED_REQUEST
            }
            Self::Unreachable | Self::Broken | Self::Empty => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Held(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the machine-readable name.
    fn kind(self) -> &'static str {
        match self {
            Self::NotFound => "gateway_not_found",
            Self::BadRequest(_) => "gateway_bad_request",
            Self::TooLarge => "gateway_request_too_large",
            Self::SlowClient => "gateway_request_too_slow",
            Self::NoLease => "gateway_session_not_admitted",
            Self::OtherModel => "gateway_other_model",
            Self::Limit(_) => "gateway_limit_reached",
            Self::Closed => "gateway_closed",
            Self::Redirect => "gateway_redirect",
            Self::Certificate(_) => "gateway_certificate",
            Self::Unreachable => "gateway_unreachable",
            Self::Broken => "gateway_broken_answer",
            Self::TimedOut => "gateway_timeout",
            Self::NotAStream(_) => "gateway_not_a_stream",
            Self::Encoded => "gateway_encoded_answer",
            Self::Empty => "gateway_empty_answer",
            Self::Repeated => "gateway_faulty_answers",
            Self::Unpriced(_) => "gateway_price_not_known",
            Self::Held(_) => "gateway_rate_limit",
        }
    }

    fn message(self) -> String {
        match self {
            Self::NotFound => "no such route or endpoint".to_owned(),
            Self::BadRequest(what) => format!("the request is malformed: {what}"),
            Self::TooLarge => "the request exceeds the size limit".to_owned(),
            Self::SlowClient => "the request's body did not arrive in time".to_owned(),
            Self::NoLease => "this session may not use the model: it does not belong to a running turn".to_owned(),
            Self::OtherModel => "this is not the model of this run, and no other model may be used".to_owned(),
            Self::Limit(reached) => {
                let what = match reached {
                    LimitReached::Cost { .. } => "the limit on the cost of this run is reached",
                    LimitReached::Requests { .. } => "the limit on the model requests of this run is reached",
                    LimitReached::Tokens { .. } => "the limit on the tokens of this run is reached",
                    LimitReached::Unmetered { .. } => {
                        "the number of used tokens is unknown, so the limit on them cannot be enforced: the provider does not \
                         report it, or an answer was cancelled before its end"
                    }
                };
                what.to_owned()
            }
            Self::Closed => "the model is no longer available to this run: it has ended".to_owned(),
            Self::Redirect => {
                "the model's provider answered with a redirect, which is not followed, so that the key goes \
                               nowhere else: write the address that it leads to as the base URL"
                    .to_owned()
            }
            Self::Certificate(what) => format!("the certificate of the model's provider is not trusted: {what}"),
            Self::Unreachable => "the model's provider cannot be reached: no connection".to_owned(),
            Self::Broken => "the model's provider closed the connection before it answered".to_owned(),
            Self::TimedOut => "the model's provider did not answer in time".to_owned(),
            Self::NotAStream(what) => {
                format!("the model's provider answered with {what} instead of a stream of events: check the base URL")
            }
            Self::Encoded => {
                "the model's provider answered with a content encoding that cannot be searched for the key".to_owned()
            }
            Self::Empty => "the answer of the model's provider was empty".to_owned(),
            Self::Repeated => {
                "the answers of the model's provider are unusable, so no other one is requested".to_owned()
            }
            Self::Held(pause) if pause.is_zero() => {
                "the request waited too long for the maximum rate of its model source: raise the rate".to_owned()
            }
            Self::Held(_) => "the model's provider refuses requests for now".to_owned(),
            Self::Unpriced(what) => {
                format!("the request uses {what}, whose price is unknown, so the limit on the cost cannot be enforced")
            }
        }
    }

    /// Returns the answer in the format of the protocol.
    pub(crate) fn answer(self, protocol: Protocol) -> Response<Bytes> {
        let status = self.status();
        let kind = self.kind();
        let message = self.message();
        let body: Value = match protocol {
            Protocol::OpenAiCompatible | Protocol::Other => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
            }
            Protocol::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
            Protocol::Google => {
                json!({"error": {"code": status.as_u16(), "message": message, "status": kind.to_ascii_uppercase()}})
            }
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Self::Held(rest) = self {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(rest.as_secs().max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTING: [Fault; 19] = [
        Fault::Encoded,
        Fault::NotFound,
        Fault::BadRequest("it has two lengths"),
        Fault::TooLarge,
        Fault::NoLease,
        Fault::OtherModel,
        Fault::Limit(LimitReached::Cost { max: 500.0, value: 502.0 }),
        Fault::Limit(LimitReached::Requests { max: 500, value: 500 }),
        Fault::Limit(LimitReached::Tokens { max: 503, value: 504 }),
        Fault::Limit(LimitReached::Unmetered { answers: 429 }),
        Fault::Closed,
        Fault::Redirect,
        Fault::Certificate("it has expired"),
        Fault::Certificate("it was issued by none of the authorities that this system trusts"),
        Fault::Certificate("it is for another host"),
        Fault::NotAStream("a web page"),
        Fault::NotAStream("a whole JSON answer"),
        Fault::Repeated,
        Fault::Unpriced("another service tier"),
    ];

    /// Words that opencode 1.18.33 treats as signs of a transient error anywhere in the message or the body.
    const SIGNS: [&str; 25] = [
        "rate limit",
        "rate-limit",
        "rate_limit",
        "too many requests",
        "overloaded",
        "unavailable",
        "internal error",
        "internal_error",
        "internal server",
        "server error",
        "server_error",
        "provider returned error",
        "terminated",
        "fetch failed",
        "network error",
        "network-error",
        "upstream connect",
        "connection",
        "socket hang up",
        "getaddrinfo",
        "timeout",
        "timed out",
        "exhausted",
        "try again",
        "at capacity",
    ];

    #[test]
    fn permanent_faults_do_not_trigger_retries() {
        for fault in LASTING {
            let status = fault.status().as_u16();
            assert!(status < 500 && ![408, 409, 429].contains(&status), "{fault:?}");
            let message = fault.message().to_lowercase();
            assert!(!message.contains(|c: char| c.is_ascii_digit()), "{message}");
            for protocol in [Protocol::OpenAiCompatible, Protocol::Anthropic, Protocol::Google] {
                let body = String::from_utf8(fault.answer(protocol).body().to_vec()).unwrap().to_lowercase();
                for sign in SIGNS {
                    assert!(!body.contains(sign), "{sign}: {body}");
                }
            }
        }
    }

    #[test]
    fn fault_has_protocol_format() {
        let body = |protocol| serde_json::from_slice::<Value>(Fault::TimedOut.answer(protocol).body()).unwrap();
        let openai = body(Protocol::OpenAiCompatible);
        assert_eq!(openai["error"]["type"], "gateway_timeout");
        assert!(openai["error"]["message"].is_string());
        let anthropic = body(Protocol::Anthropic);
        assert_eq!((&anthropic["type"], &anthropic["error"]["type"]), (&json!("error"), &json!("gateway_timeout")));
        let google = body(Protocol::Google);
        assert_eq!((&google["error"]["code"], &google["error"]["status"]), (&json!(504), &json!("GATEWAY_TIMEOUT")));
    }
}
