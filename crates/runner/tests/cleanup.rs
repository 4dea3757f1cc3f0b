//! The directory of a task after the end of its runner.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use opencode_run_core::mock::{Act, ScriptedExecutor};
use opencode_runner::{Control, DirectoryCleanup, Ending, Host, Runner, Signal, TurnFailure};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn runner(executor: ScriptedExecutor, workspace: &Path, cleanup: DirectoryCleanup) -> Runner {
    let builder = Host::with_executor(Arc::new(executor)).runner().workspace(workspace).cleanup(cleanup);
    let runner = builder.build().await.unwrap();
    std::fs::write(runner.task_dir().path().join("work"), "").unwrap();
    runner
}

fn failure() -> TurnFailure {
    TurnFailure::Opencode { message: "no luck".to_owned() }
}

#[tokio::test]
async fn close_removes_directory_as_configured() {
    use DirectoryCleanup::{Keep, Remove, RemoveIfSuccessful};
    let workspace = tempfile::tempdir().unwrap();
    let answer = || ScriptedExecutor::new().answers(["done"]);
    let fails = || ScriptedExecutor::new().fails(failure());
    for (executor, cleanup, stays) in [
        (answer(), Keep, true),
        (answer(), Remove, false),
        (fails(), Remove, false),
        (answer(), RemoveIfSuccessful, false),
        (fails(), RemoveIfSuccessful, true),
        (fails().answers(["mended"]), RemoveIfSuccessful, true),
    ] {
        let runner = runner(executor, workspace.path(), cleanup).await;
        runner.run("go").await.unwrap();
        runner.close().await.unwrap();
        assert_eq!(runner.task_dir().path().exists(), stays, "{cleanup:?}");
    }
    let unused = runner(answer(), workspace.path(), RemoveIfSuccessful).await;
    unused.close().await.unwrap();
    assert!(unused.task_dir().path().exists(), "no turn ran");
}

#[tokio::test]
async fn dropped_runner_removes_directory_after_its_turn() {
    let workspace = tempfile::tempdir().unwrap();
    let acts = [Act::Await(Control::Kill), Act::Pause(Duration::from_millis(50))];
    let acts = acts.into_iter().chain([Act::Send(Signal::Ended(Ending::Stopped))]);
    let runner = runner(ScriptedExecutor::new().turn(acts), workspace.path(), DirectoryCleanup::Remove).await;
    let directory = runner.task_dir().path().to_owned();
    drop(runner.start("go").await.unwrap());
    drop(runner);
    assert!(directory.exists(), "its turn may still write there");
    let removed = async {
        while directory.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), removed).await.unwrap();
}

#[test]
fn runner_dropped_without_runtime_removes_directory() {
    let workspace = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let making = runner(ScriptedExecutor::new(), workspace.path(), DirectoryCleanup::Remove);
    let runner = runtime.block_on(making);
    let directory = runner.task_dir().path().to_owned();
    drop(runtime);
    drop(runner);
    let began = std::time::Instant::now();
    while directory.exists() {
        assert!(began.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(5));
    }
}
