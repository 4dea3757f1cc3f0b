//! The gateway between a client and an upstream, both on loopback and part of the test.
//!
//! Nothing here depends on timing; everything that could hang has a hard limit.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it")]

mod broken_upstreams;
mod counting;
mod disconnects;
mod echoed_keys;
mod faulty_answers;
mod forwarding;
mod improper_ends;
mod leases;
mod limits;
mod malformed_requests;
mod probing;
mod proxies;
mod support;
mod throttles;
mod tls;
