//! The journal of an ephemeral runner.

use opencode_run_core::mock::ScriptedExecutor;
use opencode_runner::{
    Executor, FailureKind, Host, SessionId, StartError, StartedTurn, Task, TurnRequest, async_trait,
};
use std::sync::Arc;

/// An executor whose sessions can be deleted, or not.
struct Sessions {
    turns: ScriptedExecutor,
    are_deletable: bool,
}

#[async_trait]
impl Executor for Sessions {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        self.turns.start(request).await
    }

    async fn release(&self, _: &Task, _: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        assert!(forget);
        if self.are_deletable { Ok(()) } else { Err(StartError::new(FailureKind::Opencode, "it stays")) }
    }
}

/// The journal of a session that remains is the way to delete it later.
#[tokio::test]
async fn journal_is_deleted_only_with_its_session() {
    for are_deletable in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("task");
        std::fs::create_dir(&directory).unwrap();
        let executor = Sessions { turns: ScriptedExecutor::new().answers(["done"]), are_deletable };
        let host = Host::with_executor(Arc::new(executor));
        let builder = host.runner().dir(&directory).journal(folder.path().join("journals")).ephemeral(true);
        let runner = builder.build().await.unwrap();
        runner.ask("go").await.unwrap();
        let journal = runner.journal_path().unwrap();
        assert!(journal.exists());
        assert_eq!(runner.close().await.is_ok(), are_deletable);
        assert_eq!(journal.exists(), !are_deletable);
    }
}
