//! One request: whether it is let through, what the upstream is asked, and how its answer goes back.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_TYPE, PROXY_AUTHORIZATION},
};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::{sync::Notify, time::timeout};
use tracing::debug;

use crate::{
    Protocol, dial,
    failure::Failure,
    fault::Fault,
    gateway::Shared,
    headers,
    meter::{Meter, Tally},
    path::{Grant, PLACEHOLDER, PathState},
    relay::{Reading, Relay},
    routes::{self, Kind},
    usage::{Framing, UsageScanner},
};

/// The body of an answer: one of ours, or the upstream's.
pub(crate) type AnswerBody = Either<Full<Bytes>, Relay>;

/// Answers a request, and notifies once it is known to be for a live path.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    knows_a_path: &Notify,
) -> Response<AnswerBody> {
    let (protocol, fault) = match find(&shared, &request) {
        Err(fault) => {
            shared.refuse();
            (Protocol::Other, fault)
        }
        Ok(path) => {
            knows_a_path.notify_one();
            let protocol = path.target.protocol;
            let closed = path.closed.clone();
            let answer = tokio::select! {
                biased;
                () = closed.cancelled() => Err(Fault::Closed),
                answer = answer_on(&shared, path, request) => answer,
            };
            match answer {
                Ok(answer) => return answer,
                Err(fault) => (protocol, fault),
            }
        }
    };
    debug!(status = fault.status().as_u16(), ?fault, "a request got no answer of an upstream");
    fault.answer(protocol).map(|body| Either::Left(Full::new(body)))
}

/// Finds the live path of a request that is well-formed. One with two lengths does not come this far: hyper refuses it, or, where
/// they are the same, makes them one.
fn find(shared: &Shared, request: &Request<Incoming>) -> Result<Arc<PathState>, Fault> {
    if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
        return Err(Fault::BadRequest("its target is no path"));
    }
    if request.version() != Version::HTTP_11 {
        // The end of an answer that broke could not be told from that of a whole one.
        return Err(Fault::BadRequest(
            "it is not of the first version of HTTP that can tell a broken answer from a whole one",
        ));
    }
    let (token, _) = split(request.uri().path());
    shared.path(token).ok_or(Fault::NotFound)
}

/// Splits a request's path into the live path's own and the rest.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').unwrap_or((path, ""))
}

async fn answer_on(
    shared: &Shared,
    path: Arc<PathState>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Fault> {
    let (parts, body) = request.into_parts();
    let Some(route) = routes::route(path.target.protocol, &parts.method, split(parts.uri.path()).1) else {
        path.meter.refuse();
        return Err(Fault::NotFound);
    };
    let Some(grant) = grant(shared, &path, &parts.headers).await else {
        path.meter.refuse();
        return Err(Fault::NotAdmitted);
    };
    let closed = grant.closed.clone();
    let exchange = async {
        let body = read(shared, body).await?;
        if path.target.model.as_ref().is_some_and(|model| !route.asks(model, &body)) {
            path.meter.refuse();
            return Err(Fault::OtherModel);
        }
        let body = path.target.parameters.set(route.kind, body);
        let query = parts.uri.query().and_then(|query| routes::query_without_key(query, PLACEHOLDER));
        let uri = path.target.uri_of(route.path, query.as_deref()).ok_or(Fault::BadRequest("its query is none"))?;
        let tally = begin(&path, &grant)?;
        let asked = Asked { method: parts.method, uri, headers: parts.headers, body };
        exchange(shared, &path, &grant, route.kind, asked, tally).await
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => Err(Fault::Closed),
        answer = exchange => answer,
    }
}

/// Returns what grants the request's session the use of the path, waiting a little for it.
async fn grant(shared: &Shared, path: &PathState, headers: &HeaderMap) -> Option<Arc<Grant>> {
    let (session, parent) = (headers::session(headers), headers::parent_session(headers));
    match path.grant_for(session, parent) {
        Some(grant) => Some(grant),
        None => timeout(shared.options.admission_grace, path.wait_for_grant(session, parent)).await.ok().flatten(),
    }
}

/// Reads a request's body to its end.
async fn read(shared: &Shared, mut body: Incoming) -> Result<Bytes, Fault> {
    let mut limited = Limited::new(&mut body, shared.options.max_request_bytes);
    let mut whole = Vec::new();
    loop {
        match timeout(shared.options.client_timeout, limited.frame()).await {
            Err(_) => return Err(Fault::SlowClient),
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(frame))) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..])),
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(Fault::TooLarge),
            Ok(Some(Err(_))) => return Err(Fault::BadRequest("its body breaks off")),
        }
    }
}

/// Counts the request, or says which limit it would break.
fn begin(path: &PathState, grant: &Grant) -> Result<Tally, Fault> {
    let others: [&Arc<Meter>; 2] = [&grant.meter, &path.meter];
    let begun = grant.account.begin();
    for meter in others {
        meter.begin(|_| begun).ok();
    }
    begun.map_err(Fault::Limit)?;
    let meters = [Arc::clone(grant.account.meter()), Arc::clone(&grant.meter), Arc::clone(&path.meter)];
    Ok(Tally::new(meters, path.target.prices))
}

/// What the upstream is asked.
struct Asked {
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// Asks the upstream and passes its answer on.
async fn exchange(
    shared: &Shared,
    path: &PathState,
    grant: &Grant,
    kind: Kind,
    asked: Asked,
    mut tally: Tally,
) -> Result<Response<AnswerBody>, Fault> {
    let length = asked.body.len();
    let mut request = Request::new(Full::new(asked.body));
    *request.method_mut() = asked.method;
    *request.headers_mut() = asked.headers;
    headers::to_upstream(request.headers_mut(), path.target.key(), PLACEHOLDER);
    if let Some(authorization) = dial::proxy_authorization(&shared.proxies, &asked.uri) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
    }
    *request.uri_mut() = asked.uri;
    let client =
        shared.client_for(request.uri()).map_err(|_| Fault::Certificate("there are no certificates to trust"))?;

    tally.sent(length);
    if kind != Kind::Aside {
        tally.asks_a_model();
    }
    let silence = shared.options.silence_timeout;
    let answer = timeout(silence, client.request(request)).await.map_err(|_| Fault::TimedOut);
    let answer =
        answer.and_then(|answer| answer.map_err(|error| Failure::of(&error).into())).inspect_err(|_| tally.failed())?;

    let status = answer.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        tally.failed();
        return Err(Fault::Redirect);
    }
    if !status.is_success() {
        tally.refused();
    }
    let (mut parts, body) = answer.into_parts();
    headers::to_client(&mut parts.headers, &path.redactor);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let readable = parts.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    let reading = readable.then(|| Reading {
        redactor: (!path.redactor.is_empty()).then(|| path.redactor.stream_of_same_length()),
        usage: UsageScanner::new(framing(&parts.headers)),
    });
    let closed = grant.closed.clone().cancelled_owned();
    let relay = Relay::new(body, path.redactor.clone(), reading, tally, closed, silence);
    Ok(Response::from_parts(parts, Either::Right(relay)))
}

fn framing(headers: &HeaderMap) -> Framing {
    let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream { Framing::Events } else { Framing::Json }
}
