//! What holds for any input, said once: for the property tests of this crate, whose inputs resemble real ones, and for the fuzz
//! targets in `/fuzz`, which try all others.
//!
//! No part of the interface. Each function panics where what it asserts does not hold.

pub use crate::lines::fuzzing::lines;
pub use crate::protocol::fuzzing::{run_output, serve_stream};
