//! Properties that hold for any input, for the property tests of this crate, whose inputs resemble real ones, and for
//! the fuzz targets in `/fuzz`, which try all others.
//!
//! Not part of the public interface. Each function panics if its property is violated.

pub use crate::lines::fuzzing::lines;
pub use crate::protocol::fuzzing::{run_output, serve_stream, serve2_stream};
