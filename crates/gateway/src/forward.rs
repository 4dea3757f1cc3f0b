//! One request: whether it is let through, what the upstream is asked, and how its answer goes back.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, PROXY_AUTHORIZATION, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::{sync::Notify, time::timeout};
use tracing::debug;

use crate::{
    AnswerFault, Protocol,
    answer::{self, AnswerReader, Beginning, Expected},
    dial,
    encoded::{Encoding, UpstreamBody},
    failure::Failure,
    fault::Fault,
    fault_log::Then,
    gateway::Shared,
    headers,
    meter::{Meter, Tally},
    path::{Grant, PLACEHOLDER, PathState},
    priced,
    relay::{Relay, Terms},
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
        if route.kind != Kind::Aside && grant.faults.refuses() {
            path.meter.refuse();
            return Err(Fault::Repeated);
        }
        if grant.account.limits().need_prices()
            && route.kind != Kind::Aside
            && let Some(what) = priced::unpriced(&parts.headers, &body)
        {
            path.meter.refuse();
            grant.meter.refuse();
            grant.faults.note(AnswerFault::Unpriced { what }, Then::Unknown);
            return Err(Fault::Unpriced(what));
        }
        let tally = begin(&path, &grant)?;
        let is_stream = route.asks_for_a_stream(query.as_deref(), &body);
        let expected =
            if is_stream && path.target.protocol != Protocol::Other { Expected::Stream } else { Expected::Anything };
        let asked = Asked { method: parts.method, uri, headers: parts.headers, body, expected };
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
    expected: Expected,
}

/// Asks the upstream and passes its answer on.
async fn exchange(
    shared: &Shared,
    path: &PathState,
    grant: &Arc<Grant>,
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
    let is_success = status.is_success();
    if !is_success {
        tally.refused();
        grant.faults.status();
    }
    let (mut parts, body) = answer.into_parts();
    let Some(encoding) = Encoding::of(&parts.headers) else {
        tally.failed();
        grant.faults.note(AnswerFault::Encoded, Then::Unknown);
        return Err(Fault::Encoded);
    };
    let mut body = UpstreamBody::new(body, encoding);
    let ends_by_closing = !parts.headers.contains_key(CONTENT_LENGTH) && !parts.headers.contains_key(TRANSFER_ENCODING);
    headers::to_client(&mut parts.headers, &path.redactor);
    parts.headers.remove(CONTENT_ENCODING);
    if encoding != Encoding::Identity {
        parts.headers.remove(CONTENT_LENGTH);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();

    let expected = if is_success { asked.expected } else { Expected::Anything };
    let first = match answer::begin(expected, &parts.headers, &mut body).await {
        Beginning::Well(first) => first,
        Beginning::Empty { broken } => {
            tally.failed();
            if broken {
                grant.faults.note(AnswerFault::BrokenOff, Then::Unknown);
                return Err(Fault::Broken);
            }
            grant.faults.note(AnswerFault::Empty, Then::AsksAgain);
            return Err(Fault::Empty);
        }
        Beginning::Wrong { what, fault, body } => {
            charge(&mut tally, &body);
            tally.failed();
            grant.faults.note(fault.redacted(&path.redactor), Then::Unknown);
            return Err(Fault::NotAStream(what));
        }
    };
    let framing = if expected == Expected::Stream { Framing::Events } else { framing(&parts.headers) };
    if framing == Framing::Events {
        // It may end well before the length that was announced: if its own content shows that it is complete.
        parts.headers.remove(CONTENT_LENGTH);
    }
    let reader =
        AnswerReader::new(framing, path.target.protocol, shared.options.max_event_bytes, path.redactor.clone());
    let terms = Terms {
        judges: is_success && kind != Kind::Aside,
        is_success,
        ends_by_closing,
        has_length: parts.headers.contains_key(CONTENT_LENGTH),
        max_event_bytes: shared.options.max_event_bytes,
        max_answer_bytes: shared.options.max_answer_bytes,
        silence_timeout: silence,
    };
    let relay = Relay::new(first, body, path.redactor.clone(), reader, terms, tally, Arc::clone(grant));
    Ok(Response::from_parts(parts, Either::Right(relay)))
}

/// Counts the tokens that a whole answer reports.
fn charge(tally: &mut Tally, body: &[u8]) {
    let mut usage = UsageScanner::new(Framing::Json);
    usage.read(body);
    tally.received(body.len());
    if let Some(tokens) = usage.tokens() {
        tally.used(tokens);
    }
    tally.ended(usage.tokens().is_some());
}

fn framing(headers: &HeaderMap) -> Framing {
    let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream { Framing::Events } else { Framing::Json }
}
