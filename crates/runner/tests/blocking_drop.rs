//! Dropping the last blocking handle of a program. A program of its own: handles of other tests would share the runtime.

use opencode_run_core::mock::{Act, ScriptedExecutor};
use opencode_runner::blocking::Runner;
use opencode_runner::{Control, Ending, Signal};
use std::sync::Arc;

#[test]
fn drop_waits_for_the_end_of_a_running_turn() {
    let folder = tempfile::tempdir().unwrap();
    let acts = [Act::Await(Control::Kill), Act::Send(Signal::Ended(Ending::Stopped))];
    let executor = ScriptedExecutor::new().turn(acts);
    let host = opencode_runner::Host::with_executor(Arc::new(executor.clone()));
    let runner = Runner::build(host.runner().dir(folder.path())).unwrap();
    let turn = runner.start("go").unwrap();
    drop((runner, host));
    drop(turn);
    assert_eq!(executor.controls(), [Control::Kill]);
}
