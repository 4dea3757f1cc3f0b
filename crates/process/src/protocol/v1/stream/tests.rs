//! Tests of the decoder with complete and broken real streams.

mod interrupted;
mod replays;

use super::*;
