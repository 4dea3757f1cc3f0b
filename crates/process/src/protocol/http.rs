//! HTTP requests to a server of any generation.

use super::request::{MAX_ANSWER_BYTES, REQUEST_TIMEOUT, Request};
use super::v1::api::Refusal;
use crate::json_text::{parse_repaired, repair_surrogates};
use opencode_run_core::{ExposeSecret, SecretString};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

/// The default user of a server.
const USER: &str = "opencode";
/// The timeout of a connection to this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP connection to a server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    requests: reqwest::Client,
    base: Url,
    user: String,
    password: Option<SecretString>,
}

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The server did not answer.
    #[error("no answer from the opencode server: {0}")]
    NoAnswer(String),
    /// The server rejects the password.
    #[error("the opencode server rejects the password")]
    Unauthorized,
    /// The requested resource does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The server refused the request.
    #[error("the opencode server answered {status}: {}", message.as_deref().unwrap_or("no reason given"))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The message of the answer, if it has one.
        message: Option<String>,
        /// The reference to the error in the server's log.
        reference: Option<String>,
    },
    /// opencode rejects the user's configuration.
    #[error("opencode does not accept its configuration: {0}")]
    Configuration(String),
    /// The user's configuration names no model that can be used. opencode 2 ignores that, and uses a model that it hosts.
    #[error("the configuration of opencode has no usable model: {0}")]
    NoModel(String),
    /// A session was created in another directory than the requested one.
    #[error("opencode would work in {} instead of {}", answered.display(), asked.display())]
    OtherDirectory {
        /// The requested directory.
        asked: PathBuf,
        /// The directory of the session.
        answered: PathBuf,
    },
    /// Another opencode had locked the database all the time.
    #[error("another opencode keeps the database locked")]
    Locked,
    /// There is no such agent, or it cannot run a turn.
    #[error("agent `{0}` was not found")]
    NoAgent(String),
    /// The answer is not that of an opencode server.
    #[error("the opencode server's answer is not JSON")]
    Unreadable,
    /// The answer is longer than its limit.
    #[error("the opencode server sent an answer of more than {} MiB", max_bytes >> 20)]
    TooLong {
        /// The limit in bytes.
        max_bytes: usize,
    },
}

impl ClientError {
    /// Returns whether the server may be working on the request in spite of the error.
    pub(crate) fn leaves_work(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::Unreadable | Self::TooLong { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Unauthorized
            | Self::NotFound(_)
            | Self::Configuration(_)
            | Self::Locked
            | Self::NoAgent(_)
            | Self::NoModel(_)
            | Self::OtherDirectory { .. } => false,
        }
    }
}

impl Http {
    /// Returns a connection to the server at `base`, with opencode's default user unless given. No proxy is used: a
    /// server is on this machine, or was chosen explicitly.
    pub(crate) fn new(base: Url, user: Option<String>, password: Option<String>) -> Result<Self, ClientError> {
        let requests = reqwest::Client::builder()
            .no_proxy()
            // opencode never redirects; a hostile server could redirect the password elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| ClientError::NoAnswer(error.to_string()))?;
        let user = user.unwrap_or_else(|| USER.to_owned());
        Ok(Self { requests, base, user, password: password.map(SecretString::from) })
    }

    /// Returns a request to a route with these query parameters.
    pub(crate) fn request<'a>(
        &self,
        method: Method,
        route: &str,
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{route}", self.base.path().trim_end_matches('/')));
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self.requests.request(method, url);
        match &self.password {
            Some(password) => request.basic_auth(&self.user, Some(password.expose_secret())),
            None => request,
        }
    }
}

impl Http {
    /// Sends a request of a turn once, with its directory in this query parameter. Returns the answer's text.
    pub(crate) async fn send(&self, request: Request, parameter: &str) -> Result<String, ClientError> {
        let Request { method, route, directory, query, body, timeout, max_bytes, .. } = request;
        let directory = directory.as_deref().map(|directory| (parameter, directory));
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        let mut builder = self.request(method, &route, directory.into_iter().chain(query));
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        text(builder, max_bytes).await
    }
}

/// Opens a stream of events.
pub(crate) async fn events(request: RequestBuilder) -> Result<Response, ClientError> {
    let response = tokio::time::timeout(REQUEST_TIMEOUT, request.send()).await;
    let response =
        response.map_err(|_| ClientError::NoAnswer(format!("within {REQUEST_TIMEOUT:?}")))?.map_err(err_no_answer)?;
    let is_stream = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if response.status().is_success() && is_stream { Ok(response) } else { Err(ClientError::Unreadable) }
}

/// Returns the parsed JSON of an answer.
pub(crate) async fn json<T: for<'a> Deserialize<'a>>(request: RequestBuilder) -> Result<T, ClientError> {
    let text = text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await?;
    parse_repaired(&text).map_err(|_| ClientError::Unreadable)
}

fn err_no_answer(error: reqwest::Error) -> ClientError {
    let mut message = error.without_url().to_string();
    if message.is_empty() {
        "the connection broke".clone_into(&mut message);
    }
    ClientError::NoAnswer(message)
}

/// Returns the text of a successful answer of at most `max_bytes`.
pub(crate) async fn text(request: RequestBuilder, max_bytes: usize) -> Result<String, ClientError> {
    let response = request.send().await.map_err(err_no_answer)?;
    let status = response.status();
    let body = body(response, max_bytes).await?;
    if status.is_success() {
        // Unknown routes get an HTML page.
        return if body.trim_start().starts_with('<') { Err(ClientError::Unreadable) } else { Ok(body) };
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Unauthorized);
    }
    let refusal: Refusal = parse_repaired(&body).unwrap_or_default();
    if let Some(why) = refusal.configuration() {
        return Err(ClientError::Configuration(why));
    }
    let reference = refusal.reference().map(str::to_owned);
    let message = refusal.message();
    if status == StatusCode::NOT_FOUND {
        return Err(ClientError::NotFound(message.unwrap_or_else(|| "not found".to_owned())));
    }
    Err(ClientError::Refused { status, message, reference })
}

/// Reads the text of an answer piece by piece into one buffer: an answer can be as long as a session.
///
/// # Errors
///
/// If the connection breaks, or the answer has more than `max_bytes`.
async fn body(mut response: Response, max_bytes: usize) -> Result<String, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(err_no_answer)? {
        if body.len() + piece.len() > max_bytes {
            return Err(ClientError::TooLong { max_bytes });
        }
        body.extend_from_slice(&piece);
    }
    let text = String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let repaired = match repair_surrogates(&text) {
        Cow::Owned(repaired) => Some(repaired),
        Cow::Borrowed(_) => None,
    };
    Ok(repaired.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Returns the answer of a server that sends these bytes this many times.
    async fn answer(bytes: &'static [u8], pause: Duration, times: usize) -> Result<String, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            for _ in 0..times {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
        let request = Http::new(base, None, None).unwrap().request(Method::GET, "/", []);
        let answer = text(request.timeout(Duration::from_millis(500)), 1000).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn answers_are_bounded_in_time_and_size() {
        let trickled = answer(b" ", Duration::from_millis(20), 1000).await;
        assert!(matches!(trickled, Err(ClientError::NoAnswer(_))), "{trickled:?}");
        let long = answer(&[b'x'; 100], Duration::ZERO, 1000).await;
        assert!(matches!(long, Err(ClientError::TooLong { max_bytes: 1000 })), "{long:?}");
        assert_eq!(answer(b"{\"a\":\"\xff\"}", Duration::ZERO, 1).await.unwrap(), "{\"a\":\"\u{fffd}\"}");
    }

    #[test]
    fn password_is_not_shown() {
        let base = Url::parse("http://127.0.0.1:4096").unwrap();
        let http = Http::new(base, None, Some("1234567890".to_owned())).unwrap();
        assert!(!format!("{http:?}").contains("1234567890"));
    }
}
