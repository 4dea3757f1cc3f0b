//! The answer of a turn without copying it.

use crate::{Entry, EntryContent};
use serde::{Serialize, Serializer};
use std::fmt;

/// The [`TurnRecord::output`](crate::TurnRecord::output) of a turn, which can be written or serialised without
/// building the text.
#[derive(Clone, Copy, Default)]
pub struct OutputView<'t>(pub(crate) &'t [Entry]);

impl<'t> OutputView<'t> {
    /// Returns the pieces of the output in order: the non-empty texts of the turn's own agent, separated by blank
    /// lines.
    pub fn pieces(self) -> impl Iterator<Item = &'t str> {
        let own = self.0.iter().filter(|entry| entry.sub_agent.is_none());
        let texts = own.filter_map(|entry| match &entry.content {
            EntryContent::Text { text, .. } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        });
        texts.enumerate().flat_map(|(number, text)| [if number == 0 { "" } else { "\n\n" }, text])
    }

    /// Returns the output's length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.pieces().map(str::len).sum()
    }

    /// Returns whether the output is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for OutputView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| f.write_str(piece))
    }
}

impl fmt::Debug for OutputView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutputView").field(&format_args!("{} bytes", self.len())).finish()
    }
}

impl Serialize for OutputView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
