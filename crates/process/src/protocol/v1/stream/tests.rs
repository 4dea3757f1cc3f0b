//! What the decoder makes of real streams, whole ones and broken ones.

mod interrupted;
mod replays;

use super::*;
