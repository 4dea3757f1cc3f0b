//! opencode 2, from 2.0.4 on.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod configuration;
pub(crate) mod decoder;
pub(crate) mod extensions;
pub(crate) mod failures;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod messages;
pub(crate) mod routing;
pub(crate) mod shape;
pub(crate) mod structured;
pub(crate) mod turn;
