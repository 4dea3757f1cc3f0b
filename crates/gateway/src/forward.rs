//! Handles one request: checks it, sends it to the upstream and returns the answer.

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
    answer::{self, AnswerBeginning, AnswerReader, ExpectedAnswer},
    counter::{RequestUsage, UsageCounter},
    dial,
    encoded::{Encoding, UpstreamBody},
    endpoints::{self, Kind},
    failure::Failure,
    fault::Fault,
    fault_log::ClientReaction,
    headers, priced,
    relay::{Relay, RelayOptions},
    route_state::{LeaseState, PLACEHOLDER, RouteState},
    shared::GatewayState,
    throttle::MAX_HOLD,
    usage::{Framing, UsageScanner},
};

/// The body of an answer: the gateway's own, or the upstream's.
pub(crate) type AnswerBody = Either<Full<Bytes>, Relay>;

/// Answers a request, and notifies `known` when it is for an existing route.
pub(crate) async fn answer(
    shared: Arc<GatewayState>,
    request: Request<Incoming>,
    names_a_route: &Notify,
) -> Response<AnswerBody> {
    let (protocol, fault) = match find(&shared, &request) {
        Err(fault) => {
            shared.refuse();
            (Protocol::Other, fault)
        }
        Ok(path) => {
            names_a_route.notify_one();
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

/// Finds the route of a valid request. Requests with two different lengths are rejected by hyper before this; it
/// merges equal ones.
fn find(shared: &GatewayState, request: &Request<Incoming>) -> Result<Arc<RouteState>, Fault> {
    if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
        return Err(Fault::BadRequest("its target is not a path"));
    }
    if request.version() != Version::HTTP_11 {
        // A broken answer could not be distinguished from a complete one.
        return Err(Fault::BadRequest("its HTTP version cannot distinguish a broken answer from a complete one"));
    }
    let (token, _) = split(request.uri().path());
    shared.path(token).ok_or(Fault::NotFound)
}

/// Splits a request's path into the route's token and the rest.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').unwrap_or((path, ""))
}

async fn answer_on(
    shared: &GatewayState,
    path: Arc<RouteState>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Fault> {
    let (parts, body) = request.into_parts();
    let Some(endpoint) = endpoints::endpoint(path.target.protocol, &parts.method, split(parts.uri.path()).1) else {
        path.counter.refuse();
        return Err(Fault::NotFound);
    };
    let Some(lease) = lease(shared, &path, &parts.headers).await else {
        path.counter.refuse();
        return Err(Fault::NoLease);
    };
    let closed = lease.closed.clone();
    let exchange = async {
        let body = read(shared, body).await?;
        if path.target.model.as_ref().is_some_and(|model| !endpoint.asks(model, &body)) {
            path.counter.refuse();
            return Err(Fault::OtherModel);
        }
        let body = path.target.parameters.set(endpoint.kind, body);
        let query = parts.uri.query().and_then(|query| endpoints::query_without_key(query, PLACEHOLDER));
        let uri =
            path.target.uri_of(endpoint.path, query.as_deref()).ok_or(Fault::BadRequest("its query is invalid"))?;
        if endpoint.kind != Kind::Aside && lease.faults.refuses() {
            path.counter.refuse();
            return Err(Fault::Repeated);
        }
        if lease.budget.limits().need_prices()
            && endpoint.kind != Kind::Aside
            && let Some(what) = priced::unpriced(&parts.headers, &body)
        {
            path.counter.refuse();
            lease.counter.refuse();
            lease.faults.note(AnswerFault::Unpriced { what }, ClientReaction::Unknown);
            return Err(Fault::Unpriced(what));
        }
        hold(&path, &lease).await?;
        let usage = begin(&path, &lease)?;
        let is_stream = endpoint.asks_for_a_stream(query.as_deref(), &body);
        let expected = if is_stream && path.target.protocol != Protocol::Other {
            ExpectedAnswer::Stream
        } else {
            ExpectedAnswer::Anything
        };
        let asked = UpstreamRequest { method: parts.method, uri, headers: parts.headers, body, expected };
        exchange(shared, &path, &lease, endpoint.kind, asked, usage).await
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => Err(Fault::Closed),
        answer = exchange => answer,
    }
}

/// Returns the lease for the request's session, waiting briefly for one.
async fn lease(shared: &GatewayState, path: &RouteState, headers: &HeaderMap) -> Option<Arc<LeaseState>> {
    let session = headers::session(headers);
    let parent = headers::parent_session(headers);
    match path.lease_for(session, parent) {
        Some(lease) => Some(lease),
        None => timeout(shared.options.lease_grace, path.wait_for_lease(session, parent)).await.ok().flatten(),
    }
}

/// Holds a request while its upstream is paused, and as its rate demands.
async fn hold(path: &RouteState, lease: &LeaseState) -> Result<(), Fault> {
    let Some(throttle) = &path.target.throttle else { return Ok(()) };
    let _held = lease.hold();
    // A client gives up after some minutes. Before that, it gets a status for a retry.
    timeout(MAX_HOLD, throttle.pass()).await.map_err(|_| Fault::Held(throttle.paused_for().unwrap_or_default()))
}

/// Reads a request's body to its end.
async fn read(shared: &GatewayState, mut body: Incoming) -> Result<Bytes, Fault> {
    let mut limited = Limited::new(&mut body, shared.options.max_request_bytes);
    let mut whole = Vec::new();
    loop {
        match timeout(shared.options.client_timeout, limited.frame()).await {
            Err(_) => return Err(Fault::SlowClient),
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(frame))) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..])),
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(Fault::TooLarge),
            Ok(Some(Err(_))) => return Err(Fault::BadRequest("its body is incomplete")),
        }
    }
}

/// Counts the request, or returns the limit that it would exceed.
fn begin(path: &RouteState, lease: &LeaseState) -> Result<RequestUsage, Fault> {
    let others: [&Arc<UsageCounter>; 2] = [&lease.counter, &path.counter];
    let begun = lease.budget.begin();
    for counter in others {
        counter.begin(|_| begun).ok();
    }
    begun.map_err(Fault::Limit)?;
    let counters = [Arc::clone(lease.budget.counter()), Arc::clone(&lease.counter), Arc::clone(&path.counter)];
    Ok(RequestUsage::new(counters, path.target.prices))
}

/// The request to the upstream.
struct UpstreamRequest {
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
    expected: ExpectedAnswer,
}

/// Sends the request to the upstream and relays its answer.
async fn exchange(
    shared: &GatewayState,
    path: &RouteState,
    lease: &Arc<LeaseState>,
    kind: Kind,
    asked: UpstreamRequest,
    mut usage: RequestUsage,
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
        shared.client_for(request.uri()).map_err(|_| Fault::Certificate("no trusted certificates are available"))?;

    usage.sent(length);
    if kind != Kind::Aside {
        usage.runs_model();
    }
    let silence = shared.options.silence_timeout;
    let answer = timeout(silence, client.request(request)).await.map_err(|_| Fault::TimedOut);
    let answer =
        answer.and_then(|answer| answer.map_err(|error| Failure::of(&error).into())).inspect_err(|_| usage.failed())?;

    let status = answer.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        usage.failed();
        return Err(Fault::Redirect);
    }
    let is_success = status.is_success();
    if let Some(throttle) = &path.target.throttle {
        throttle.note(status, answer.headers());
    }
    if !is_success {
        usage.refused();
        lease.faults.note_error_status();
    }
    let (mut parts, body) = answer.into_parts();
    let Some(encoding) = Encoding::of(&parts.headers) else {
        usage.failed();
        lease.faults.note(AnswerFault::Encoded, ClientReaction::Unknown);
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

    let expected = if is_success { asked.expected } else { ExpectedAnswer::Anything };
    let first = match answer::begin(expected, &parts.headers, &mut body).await {
        AnswerBeginning::Valid(first) => first,
        AnswerBeginning::Empty { broken } => {
            usage.failed();
            if broken {
                lease.faults.note(AnswerFault::BrokenOff, ClientReaction::Unknown);
                return Err(Fault::Broken);
            }
            lease.faults.note(AnswerFault::Empty, ClientReaction::Retries);
            return Err(Fault::Empty);
        }
        AnswerBeginning::Invalid { what, fault, body } => {
            charge(&mut usage, &body);
            usage.failed();
            lease.faults.note(fault.redacted(&path.redactor), ClientReaction::Unknown);
            return Err(Fault::NotAStream(what));
        }
    };
    let framing = if expected == ExpectedAnswer::Stream { Framing::Events } else { framing(&parts.headers) };
    if framing == Framing::Events {
        // The content may be complete before the announced length is reached.
        parts.headers.remove(CONTENT_LENGTH);
    }
    let reader =
        AnswerReader::new(framing, path.target.protocol, shared.options.max_event_bytes, path.redactor.clone());
    let terms = RelayOptions {
        judges: is_success && kind != Kind::Aside,
        is_success,
        ends_by_closing,
        has_length: parts.headers.contains_key(CONTENT_LENGTH),
        max_event_bytes: shared.options.max_event_bytes,
        max_answer_bytes: shared.options.max_answer_bytes,
        silence_timeout: silence,
    };
    let relay = Relay::new(first, body, path.redactor.clone(), reader, terms, usage, Arc::clone(lease));
    Ok(Response::from_parts(parts, Either::Right(relay)))
}

/// Counts the tokens reported by a complete answer.
fn charge(usage: &mut RequestUsage, body: &[u8]) {
    let mut scanner = UsageScanner::new(Framing::Json);
    scanner.read(body);
    usage.received(body.len());
    if let Some(tokens) = scanner.tokens() {
        usage.used(tokens);
    }
    usage.ended(scanner.tokens().is_some());
}

fn framing(headers: &HeaderMap) -> Framing {
    let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream { Framing::Events } else { Framing::Json }
}
