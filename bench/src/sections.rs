//! The sections of the benchmark.

pub(crate) mod batch;
pub(crate) mod bounds;
pub(crate) mod cold;
pub(crate) mod crowd;
pub(crate) mod deltas;
pub(crate) mod isolated;
pub(crate) mod second;
pub(crate) mod streaming;
pub(crate) mod turns;
