//! The command on a real opencode 2, with a scripted model as the provider.
//!
//! Each test is skipped, and reported as ignored, unless `OPENCODE_RUN_TEST_OPENCODE2` names an opencode 2. The tests
//! assert the requests to the model, the output of the command, and that no process is left.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

#[path = "../real/stage.rs"]
#[expect(dead_code, reason = "the suite of opencode 1 needs more of it")]
mod stage;

mod attached;
mod batches;
mod endings;
mod permissions;
mod safety;
mod sessions;
mod sources;
mod turns;

use opencode_run_scripted_model::Script;
use opencode_run_tests::real_opencode2;
use stage::Stage;

/// Returns a stage with an opencode 2.
#[track_caller]
fn stage(script: Script) -> Stage {
    Stage::on(real_opencode2(), script)
}
