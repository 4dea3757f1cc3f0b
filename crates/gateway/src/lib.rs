//! A reverse proxy on loopback that injects a model's key, so that the agent never has it, and counts the model's
//! usage.
//!
//! An agent runs shell commands that a model chose, so these can read everything in its process, its environment
//! and its files. Therefore the agent gets no key: it gets the base URL of a [`Route`] and a placeholder key,
//! and the credential gateway, in the process that started the agent, adds the key on the way to the provider.
//!
//! # How it works
//!
//! A [`Gateway`] listens on a random port of 127.0.0.1. [`Gateway::open`] opens a route with an unguessable token
//! that leads to an [`Upstream`]. Using it requires a lease on an [`UsageBudget`]: for a session ([`Route::lease`]),
//! identified by the header in which opencode names it, including its sub-agents; or for every client
//! ([`Route::lease_to_anyone`]) if the route was opened for one process. Routes and leases are guards: dropping one
//! revokes it and aborts the requests that use it.
//!
//! ```text
//! agent ── placeholder, /TOKEN/chat/completions ──► gateway ── the key, BASE/chat/completions ──► provider
//! ```
//!
//! A request is forwarded if its route exists, its session has a lease, the budget's [`UsageLimits`] are not reached,
//! and it is a request that a provider's package sends: for a model's answer, an embedding, a token count or the
//! list of models. Other requests get 404 or 403 and are counted. The client's own credentials are removed from
//! headers and query, and the upstream's key is added. [`Parameters`] are set in the body, whose other fields stay
//! unchanged. The body of a request is read completely before it is forwarded.
//!
//! The answer streams back chunk by chunk. It ends cleanly for the client only if it ended cleanly at the upstream, or
//! if its content is complete (`[DONE]`, a finish reason, `message_stop`, the end of a JSON value) when the
//! connection breaks: many servers close the connection after an answer without the last chunk or TLS's
//! `close_notify`. If the client disconnects, its upstream request is aborted immediately. Redirects are not followed,
//! so that a key is never sent to another host. If the upstream echoes the key, it is redacted. The upstream is asked
//! for an uncompressed answer, which is scanned for token counts while it passes through.
//!
//! | answered by the gateway | status |
//! | --- | --- |
//! | no such route, not a request that is forwarded, a closed route | 404 |
//! | a session without a lease, another model than the upstream's, a reached limit | 403 |
//! | a request that is malformed, too large, or too slow | 400, 413, 408 |
//! | a request with an unknown price under a cost limit | 403 |
//! | a redirect, an untrusted certificate | 421 |
//! | a web page, a whole JSON answer or plain text instead of the requested stream | 421 |
//! | another request after two consecutive answers that were empty, unfinished or not JSON, or after one that was too long | 421 |
//! | a request that a throttle held for four minutes | 429 |
//! | a failed connection, a connection closed before the answer, an empty answer; a timeout | 502; 504 |
//!
//! opencode retries requests with a status of 5xx, 408 and 429, and those whose error contains a word or number
//! that suggests such a status; permanent errors have another status and a text without such words.
//!
//! On Linux, connections of other local users are closed immediately. On other systems only the unguessable token keeps
//! them out.
//!
//! An upstream with a [`Throttle`] is paused when it refuses requests for now (429): requests wait in the gateway until
//! the time in `retry-after` is over, and leave at most at the throttle's rate.
//!
//! Usage is counted per route, per lease and per budget, as [`Traffic`], readable at any time. Each change of
//! [`UsageBudget::watch_bytes`] shows that the provider is alive, each change of [`UsageBudget::watch_content`] is
//! progress of the model; [`UsageBudget::watch_limit`] reports a request that was rejected because of a limit.
//! [`Lease::answer_fault`] returns the fault of the last answer, in the provider's own words.
//!
//! An upstream's prices are prices of tokens. Under a cost limit, requests with other costs are rejected: another
//! service tier or speed, tools run by the provider (web search, code execution, image generation, MCP), plugins,
//! presets, a choice of providers behind a router, stored prompts, background answers, caches paid by the hour,
//! audio and video, images as output, betas with other prices. The gateway does not know prices that rise with the
//! length of the input, or surcharges for cache writes: all input has one price.
//!
//! To check whether an upstream can be used at all, [`probe`] sends it one request that costs no tokens, without a
//! gateway.
//!
//! Headers and bodies are never logged, and no `Debug` output contains a key or a route's token. Remaining risks: a
//! process that finds the token can *use* the upstream while a lease exists, and a process that may read the memory
//! of this process can read the key.
//!
//! # Example
//!
//! ```
//! use opencode_run_gateway::{Gateway, Prices, Protocol, UsageBudget, UsageLimits, Upstream};
//!
//! let gateway = Gateway::start()?;
//! let path = gateway.open(&Upstream {
//!     credential: Some("sk-1234567890".into()),
//!     prices: Some(Prices { input: 3.0, output: 15.0 }),
//!     ..Upstream::new("https://api.example.com/v1", Protocol::OpenAiCompatible)
//! })?;
//! assert!(path.base_url().starts_with("http://127.0.0.1:"));
//!
//! let budget = UsageBudget::new(UsageLimits { max_cost_usd: Some(0.50), ..UsageLimits::default() })?;
//! let lease = path.lease("ses_1", &budget)?;
//! // … the turn of the session ses_1 runs, with `path.base_url()` and `path.placeholder()` …
//! assert_eq!(budget.limit_reached(), None);
//! assert_eq!(lease.traffic().requests, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod answer_fault;
mod budget;
mod counter;
mod dial;
mod encoded;
mod endpoints;
mod failure;
mod fault;
mod fault_log;
mod forward;
mod gateway;
mod headers;
mod json;
mod options;
mod parameters;
mod peer;
mod priced;
mod probe;
mod relay;
mod requested;
mod route;
mod route_state;
mod running;
mod shared;
mod throttle;
mod tls;
mod traffic;
mod upstream;
mod usage;

pub use answer_fault::AnswerFault;
pub use budget::{InvalidLimit, LimitReached, UsageBudget, UsageLimits};
pub use gateway::{Gateway, GatewayStartError};
pub use opencode_run_core::{MIN_SECRET_BYTES, Redactor, RedactorStream};
pub use options::{GatewayOptions, Proxy};
pub use probe::{ModelList, ProbeError, probe};
pub use route::{Lease, Route};
pub use route_state::LeaseError;
pub use throttle::Throttle;
pub use traffic::{FirstByte, Prices, Tokens, Traffic};
pub use upstream::{KeyHeader, OpenError, Parameters, Protocol, Upstream};
