//! The directory of a task.

use crate::BuildError;
use opencode_run_core::SessionId;
use std::path::PathBuf;

/// The directory of a task, see [`RunnerBuilder::place`](crate::RunnerBuilder::place).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskPlace {
    /// A new directory, `task_<name>_<8 hex>`.
    New {
        /// The parent directory of the new one, which is created if it does not exist.
        workspace: PathBuf,
        /// The name of the task.
        name: String,
    },
    /// An existing directory.
    Existing(PathBuf),
    /// The directory of a session of opencode, which is continued.
    Session(SessionId),
    /// The directory whose latest conversation is continued from its journal.
    Resume(PathBuf),
}

/// The directory of a task, as set by the setters of a builder.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlaceSettings {
    pub(crate) place: Option<TaskPlace>,
    pub(crate) task_name: Option<String>,
    pub(crate) workspace: Option<PathBuf>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) session: Option<SessionId>,
    pub(crate) resume: bool,
}

/// The directory of a task, combined from all setters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    New {
        workspace: PathBuf,
    },
    Existing(PathBuf),
    Session {
        session: SessionId,
        /// The directory to which the session must belong.
        expected: Option<PathBuf>,
    },
    Resume {
        directory: PathBuf,
        session: Option<SessionId>,
    },
}

impl PlaceSettings {
    /// Returns the name of the task.
    pub(crate) fn name(&self) -> &str {
        match (&self.task_name, &self.place) {
            (Some(name), _) | (None, Some(TaskPlace::New { name, .. })) => name,
            (None, _) => "task",
        }
    }

    /// Combines all settings.
    ///
    /// # Errors
    ///
    /// If one of them would have no effect in combination with another.
    pub(crate) fn resolve(&self) -> Result<Resolved, BuildError> {
        let Self { place, task_name, workspace, dir, session, resume } = self;
        let setters = [
            ("task_name", task_name.is_some()),
            ("workspace", workspace.is_some()),
            ("dir", dir.is_some()),
            ("session", session.is_some()),
            ("resume", *resume),
        ];
        let (with, without_effect, resolved): (_, &[&str], _) = match place {
            Some(TaskPlace::New { workspace, .. }) => {
                let new = Resolved::New { workspace: workspace.clone() };
                ("`place`, which is a new directory", &["task_name", "workspace", "dir", "session", "resume"], new)
            }
            Some(TaskPlace::Existing(dir)) => {
                let resolved = match session {
                    Some(session) => Resolved::Session { session: session.clone(), expected: Some(dir.clone()) },
                    None => Resolved::Existing(dir.clone()),
                };
                ("`place`, which is an existing directory", &["workspace", "dir", "resume"], resolved)
            }
            Some(TaskPlace::Session(session)) => {
                let resolved = Resolved::Session { session: session.clone(), expected: dir.clone() };
                ("`place`, which is the directory of a session", &["workspace", "session", "resume"], resolved)
            }
            Some(TaskPlace::Resume(dir)) => {
                let resolved = Resolved::Resume { directory: dir.clone(), session: session.clone() };
                ("`place`, which continues a task", &["task_name", "workspace", "dir", "resume"], resolved)
            }
            None if *resume => {
                let directory = dir.clone().unwrap_or_else(|| ".".into());
                let resolved = Resolved::Resume { directory, session: session.clone() };
                ("`resume`, which continues a task", &["task_name", "workspace"], resolved)
            }
            None => match (session, dir) {
                (Some(session), expected) => {
                    let resolved = Resolved::Session { session: session.clone(), expected: expected.clone() };
                    ("`session`, which has a directory of its own", &["workspace"], resolved)
                }
                (None, Some(dir)) => {
                    ("`dir`, which is the task's directory", &["workspace"], Resolved::Existing(dir.clone()))
                }
                (None, None) => {
                    let workspace = workspace.clone().unwrap_or_else(|| ".".into());
                    ("", &[], Resolved::New { workspace })
                }
            },
        };
        match setters.into_iter().find(|(name, is_set)| *is_set && without_effect.contains(name)) {
            Some((setting, _)) => Err(BuildError::Conflict { setting, with }),
            None => Ok(resolved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId::new("ses_1")
    }

    /// All places, and all combinations of the five setters.
    fn settings() -> Vec<PlaceSettings> {
        let places = [
            None,
            Some(TaskPlace::New { workspace: "/w".into(), name: "n".to_owned() }),
            Some(TaskPlace::Existing("/e".into())),
            Some(TaskPlace::Session(SessionId::new("ses_p"))),
            Some(TaskPlace::Resume("/r".into())),
        ];
        let all = places.into_iter().flat_map(|place| (0..32_u8).map(move |bits| (place.clone(), bits)));
        let set = |(place, bits): (Option<TaskPlace>, u8)| PlaceSettings {
            place,
            task_name: (bits & 1 != 0).then(|| "t".to_owned()),
            workspace: (bits & 2 != 0).then(|| "/set".into()),
            dir: (bits & 4 != 0).then(|| "/dir".into()),
            session: (bits & 8 != 0).then(session),
            resume: bits & 16 != 0,
        };
        all.map(set).collect()
    }

    #[test]
    fn every_accepted_setting_has_its_effect() {
        let mut accepted = 0;
        let mut refused = 0;
        for settings in settings() {
            let Ok(resolved) = settings.resolve() else {
                refused += 1;
                continue;
            };
            accepted += 1;
            let shown = format!("{resolved:?} {}", settings.name());
            let PlaceSettings { place, task_name, workspace, dir, session, resume } = &settings;
            assert!(task_name.is_none() || shown.ends_with(" t"), "{settings:?}: {shown}");
            assert!(workspace.is_none() || shown.contains("/set"), "{settings:?}: {shown}");
            assert!(dir.is_none() || shown.contains("/dir"), "{settings:?}: {shown}");
            assert!(session.is_none() || shown.contains("ses_1"), "{settings:?}: {shown}");
            assert!(!resume || matches!(resolved, Resolved::Resume { .. }), "{settings:?}: {shown}");
            let of_place = match place {
                Some(TaskPlace::New { .. }) => "/w\" } n",
                Some(TaskPlace::Existing(_)) => "/e",
                Some(TaskPlace::Session(_)) => "ses_p",
                Some(TaskPlace::Resume(_)) => "Resume { directory: \"/r",
                None => "",
            };
            assert!(shown.contains(of_place), "{settings:?}: {shown}");
        }
        assert_eq!((accepted, refused), (25, 135));
    }
}
