//! Rejects settings that would have no effect in combination, so that none is silently ignored.

use super::RunnerBuilder;
use crate::cleanup::DirectoryCleanup;
use crate::launch_options::LaunchOptions;
use crate::task_place::Resolved;
use crate::{BuildError, Transport};

/// The name of a setting's method, and whether it is set.
type Setting = (&'static str, bool);

impl RunnerBuilder {
    /// Checks the settings against each other, and returns the place of the task. `brought` is whether the caller
    /// provides the executor.
    ///
    /// # Errors
    ///
    /// If a setting would have no effect. The error names it.
    pub(crate) fn check_conflicts(&self, brought: bool) -> Result<Resolved, BuildError> {
        // No `..`: a new field does not compile until its conflicts are decided.
        let Self { place, cleanup, model: _, options: _, sources: _, attach, launch, host, ephemeral: _, journals } =
            self;
        let resolved = place.resolve()?;
        let LaunchOptions {
            opencode,
            environment,
            transport,
            lean,
            project_config,
            isolated,
            database,
            gateway,
            throttles,
            max_servers,
            server_idle_timeout,
            supervisor: _,
        } = launch;
        let start_of_opencode: [Setting; 9] = [
            ("opencode", opencode.is_some()),
            ("lean", *lean),
            ("project_config", !*project_config),
            ("gateway", *gateway != cfg!(feature = "gateway")),
            ("throttle", !throttles.is_empty()),
            ("isolated", *isolated),
            ("database", database.is_some()),
            ("max_servers", max_servers.is_some()),
            ("server_idle_timeout", server_idle_timeout.is_some()),
        ];
        let own_host: [Setting; 1] = [("host", host.is_some())];
        let reach_of_opencode: [Setting; 3] =
            [("transport", transport.is_some()), ("attach", attach.is_some()), ("environment", environment.is_some())];
        let process_per_turn: [Setting; 1] = [("transport", *transport == Some(Transport::Run))];
        let new_session: [Setting; 1] = [("isolated", *isolated)];
        let new_directory: [Setting; 1] = [("cleanup", *cleanup != DirectoryCleanup::Keep)];
        let rules: [(bool, &str, &[&[Setting]]); 6] = [
            (
                host.is_some(),
                "`host`, which has started or reached opencode",
                &[&start_of_opencode, &reach_of_opencode],
            ),
            (
                brought,
                "the caller's executor, which is not started here",
                &[&start_of_opencode, &reach_of_opencode, &own_host],
            ),
            (attach.is_some(), "`attach`, whose server is already running", &[&start_of_opencode, &process_per_turn]),
            (
                matches!(resolved, Resolved::Session { .. }),
                "`session`, which has a directory of its own",
                &[&new_directory, &new_session],
            ),
            (
                matches!(resolved, Resolved::Resume { .. }),
                "`resume`, which continues a task",
                &[&new_directory, &new_session],
            ),
            (
                matches!(resolved, Resolved::Existing(_)),
                "a directory that exists, which is not removed",
                &[&new_directory],
            ),
        ];
        for (_, with, settings) in rules.into_iter().filter(|(applies, ..)| *applies) {
            if let Some((setting, _)) = settings.iter().copied().flatten().find(|(_, is_set)| *is_set) {
                return Err(BuildError::Conflict { setting, with });
            }
        }
        if matches!(resolved, Resolved::Resume { .. }) && journals.is_none() {
            return Err(BuildError::ResumeWithoutJournal);
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use crate::{BuildError, DirectoryCleanup, Runner, RunnerBuilder, TaskPlace, Transport};
    use opencode_run_core::mock::ScriptedExecutor;
    use opencode_run_core::{FailureKind, SessionId};
    use std::sync::Arc;

    type Set = fn(RunnerBuilder) -> RunnerBuilder;

    #[track_caller]
    fn assert_names(error: &BuildError, setting: &str, with: &str) {
        let text = error.to_string();
        assert!(text.contains(&format!("`{setting}`")) && text.contains(with), "{text}");
        assert_eq!(error.kind(), FailureKind::Usage, "{text}");
    }

    #[tokio::test]
    async fn custom_executor_rejects_launch_settings() {
        let settings: [(&str, Set); 9] = [
            ("opencode", |b| b.opencode("/bin/true")),
            ("lean", |b| b.lean(true)),
            ("project_config", |b| b.project_config(false)),
            ("gateway", |b| b.gateway(false)),
            ("isolated", |b| b.isolated(true)),
            ("transport", |b| b.transport(Transport::Serve)),
            ("transport", |b| b.transport(Transport::Run)),
            ("attach", |b| b.attach("http://127.0.0.1:1")),
            ("environment", |b| b.environment([])),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (name, set) in settings {
            let builder = set(Runner::builder().workspace(folder.path().join("made")));
            let error = builder.build_with(Arc::new(ScriptedExecutor::new())).await.unwrap_err();
            assert_names(&error, name, "the caller's executor");
            assert!(!folder.path().join("made").exists(), "{name}: a directory is left");
        }
        // These settings have an effect with every executor.
        let builder =
            Runner::builder().dir(folder.path()).journal(folder.path().join("j")).ephemeral(true).supervisor(None);
        builder.build_with(Arc::new(ScriptedExecutor::new())).await.unwrap();
    }

    #[tokio::test]
    async fn attached_server_rejects_launch_settings() {
        let settings: [(&str, Set); 6] = [
            ("opencode", |b| b.opencode("/bin/true")),
            ("lean", |b| b.lean(true)),
            ("project_config", |b| b.project_config(false)),
            ("gateway", |b| b.gateway(false)),
            ("isolated", |b| b.isolated(true)),
            ("transport", |b| b.transport(Transport::Run)),
        ];
        for (name, set) in settings {
            let error = set(Runner::builder().attach("http://127.0.0.1:1")).build().await.unwrap_err();
            assert_names(&error, name, "`attach`");
        }
    }

    #[tokio::test]
    async fn settings_of_another_place_are_refused() {
        let settings: [(&str, &str, Set); 12] = [
            ("workspace", "`place`", |b| b.place(TaskPlace::Existing("/".into())).workspace("/")),
            ("session", "`place`", |b| b.place(TaskPlace::Session("ses_1".into())).session("ses_2")),
            ("cleanup", "exists", |b| b.dir("/").cleanup(DirectoryCleanup::Remove)),
            ("cleanup", "`session`", |b| b.session("ses_1").cleanup(DirectoryCleanup::Remove)),
            ("cleanup", "`resume`", |b| b.journal("/j").resume().cleanup(DirectoryCleanup::RemoveIfSuccessful)),
            ("workspace", "`dir`", |b| b.dir("/").workspace("/")),
            ("workspace", "`session`", |b| b.session(SessionId::new("ses_1")).workspace("/")),
            ("isolated", "`session`", |b| b.session(SessionId::new("ses_1")).isolated(true)),
            ("workspace", "`resume`", |b| b.journal("/j").resume().workspace("/")),
            ("isolated", "`resume`", |b| b.journal("/j").resume().isolated(true)),
            ("task_name", "`resume`", |b| b.journal("/j").resume().task_name("t")),
            ("journal", "`resume`", RunnerBuilder::resume),
        ];
        for (name, with, set) in settings {
            assert_names(&set(Runner::builder()).build().await.unwrap_err(), name, with);
        }
    }
}
