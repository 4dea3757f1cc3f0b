//! A gateway on loopback that keeps a model's key from the agent that uses the model, and meters what it uses.
//!
//! An agent runs shell commands that a model chose. What is in its process, its environment or its files is theirs. So the
//! agent gets no key: it gets the base URL of a [`LivePath`] and a placeholder, and the gateway, in the process that started
//! the agent, adds the key on the way to the provider.
//!
//! # How it works
//!
//! A [`Gateway`] listens on a random port of 127.0.0.1. [`Gateway::open`] gives a path under an unguessable name that leads
//! to an [`Upstream`]. Whoever may use it is admitted, on an [`Account`]: a session ([`LivePath::admit`]), told by the header
//! in which opencode names it, with its sub-agents; or anyone ([`LivePath::admit_anyone`]) where the path was made for one
//! process. Each of these is a guard: dropping it ends what it gave, and the requests that are under way by it.
//!
//! ```text
//! agent ── placeholder, /PATH/chat/completions ──► gateway ── the key, BASE/chat/completions ──► provider
//! ```
//!
//! A request is forwarded if its path lives, its session is admitted, the account has not used up its [`Limits`], and it is
//! one that a provider's package makes: a model's answer, an embedding, a count of tokens, the list of models. Anything else
//! is answered with 404 or 403 and counted. The client's own credentials are taken out of headers and query; the upstream's
//! is set. [`Parameters`] are set in the body, whose other fields stay as they were written. The body of a request is read to
//! its end before it is passed on.
//!
//! The answer streams back chunk by chunk. It ends well at the client only if it ended well at the upstream, or if it is
//! complete by its own words (`[DONE]`, a finish reason, `message_stop`, the end of a JSON value) when the connection breaks:
//! many servers close theirs behind an answer without the last chunk or TLS's `close_notify`. A client that goes away ends the upstream's request at once. Redirects are not followed, so that a key never travels to another
//! host. Should the upstream echo the key, it is masked. Nothing is decompressed: the upstream is asked for plain bytes, which
//! are read in passing for the tokens that they report.
//!
//! | answered by the gateway | status |
//! | --- | --- |
//! | no live path, no request that is forwarded, a path that was closed | 404 |
//! | a session that is not admitted, another model than the upstream's, a limit that is reached | 403 |
//! | a malformed request, one that is too large, one that is too slow | 400, 413, 408 |
//! | a limit on the cost, and a request whose price is not that of its tokens | 403 |
//! | a redirect, a certificate that is not trusted | 421 |
//! | a web page, a whole JSON answer or plain text instead of the requested stream | 421 |
//! | another request after two answers in a row that were empty, unfinished or not JSON, or after one that was too long | 421 |
//! | no connection, a connection that ends before the answer, an empty answer; no answer in time | 502; 504 |
//!
//! opencode repeats requests with a status of 5xx, 408 and 429, and those whose error merely contains a word or a number that
//! sounds like one; what repeating cannot help has another status, and a text that contains none.
//!
//! Connections of other local users are closed before they can take a place, on Linux; elsewhere the name of the path alone keeps
//! them out.
//!
//! Counting is per path, per admission and per account, as [`Traffic`], readable at any time. Each change of
//! [`Account::watch_bytes`] is a sign of life, each change of [`Account::watch_content`] is progress of the model;
//! [`Account::watch_limit`] reports a request that was refused because of a limit. The fault of the last answer, in the
//! provider's own words, is [`Admission::answer_fault`].
//!
//! The prices of an upstream are those of tokens. Under a limit on the cost, requests that cost something else are refused: another
//! service tier or speed, tools that the provider carries out (web search, code execution, image generation, MCP), plugins, presets,
//! certain providers behind a router, stored prompts, background answers, caches paid by the hour, audio and video, images as
//! output, betas with other prices. Prices that rise with the length of the input, and the surcharge for writing to a cache, are not
//! known to the gateway: input counts at its one price.
//!
//! Whether an upstream can be used at all, [`probe`] asks it in one request that costs no tokens, without a gateway.
//!
//! Nothing is logged of headers and bodies, and no `Debug` shows a key or a path. What is left: the upstream can be *used* by
//! who finds the path while somebody is admitted; a key in the memory of this process can be read by who may read that.
//!
//! # Example
//!
//! ```
//! use opencode_run_gateway::{Account, Gateway, Limits, Prices, Protocol, Upstream};
//!
//! let gateway = Gateway::start()?;
//! let path = gateway.open(&Upstream {
//!     credential: Some("sk-1234567890".into()),
//!     prices: Some(Prices { input: 3.0, output: 15.0 }),
//!     ..Upstream::new("https://api.example.com/v1", Protocol::OpenAiCompatible)
//! })?;
//! assert!(path.base_url().starts_with("http://127.0.0.1:"));
//!
//! let account = Account::new(Limits { max_cost_usd: Some(0.50), ..Limits::default() })?;
//! let admission = path.admit("ses_1", &account)?;
//! // … the turn of the session ses_1 runs, with `path.base_url()` and `path.placeholder()` …
//! assert_eq!(account.limit_reached(), None);
//! assert_eq!(admission.traffic().requests, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
mod answer;
mod answer_fault;
mod asked;
mod dial;
mod encoded;
mod failure;
mod fault;
mod fault_log;
mod forward;
mod gateway;
mod headers;
mod json;
mod meter;
mod options;
mod parameters;
mod path;
mod peer;
mod priced;
mod probe;
mod redact;
mod relay;
mod routes;
mod tls;
mod traffic;
mod upstream;
mod usage;

pub use account::{Account, InvalidLimit, LimitReached, Limits};
pub use answer_fault::AnswerFault;
pub use gateway::{Gateway, StartError};
pub use options::{Options, Proxy};
pub use path::{Admission, AdmitError, LivePath};
pub use probe::{ModelList, ProbeError, probe};
pub use redact::{Redactor, RedactorStream, SHORTEST_SECRET};
pub use traffic::{FirstByte, Prices, Tokens, Traffic};
pub use upstream::{KeyHeader, OpenError, Parameters, Protocol, Upstream};
