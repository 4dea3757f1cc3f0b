//! Replaces the journals in a build without the feature `journal`: a conversation has none.

use crate::BuildError;
use opencode_run_core::{Conversation, Input, Recorder, SessionId, Task, TurnStart};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A journal, which this build does not have.
#[derive(Debug)]
pub(crate) enum Journal {}

impl Journal {
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match *self {}
    }

    pub(crate) fn delete(&self) {
        match *self {}
    }
}

impl Recorder for Journal {
    fn turn_started(&self, _: &TurnStart) {
        match *self {}
    }

    fn input(&self, _: Duration, _: &Input) {
        match *self {}
    }
}

/// A conversation without a journal.
pub(crate) struct Beginning {
    pub(crate) conversation: Conversation,
    pub(crate) journal: Option<Arc<Journal>>,
}

impl Beginning {
    pub(crate) fn new(journals: Option<&Path>, task: Task, session: Option<SessionId>) -> Result<Self, BuildError> {
        if journals.is_some() {
            return Err(BuildError::MissingFeature { setting: "journal", feature: "journal" });
        }
        let mut conversation = Conversation::new(task);
        conversation.session = session;
        Ok(Self { conversation, journal: None })
    }

    pub(crate) fn resume(_: Option<&Path>, _: &Path, _: Option<&SessionId>) -> Result<Self, BuildError> {
        Err(BuildError::MissingFeature { setting: "resume", feature: "journal" })
    }
}
