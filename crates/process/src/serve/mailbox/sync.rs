//! The lock of the channel, which a test replaces.

pub(super) use std::sync::{Mutex, MutexGuard};
