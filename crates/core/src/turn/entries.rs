//! The entries of a turn's record: one entry for each part and tool call, however often it is reported.

use super::{Agent, MAX_ENTRIES, MAX_WARNINGS, PartKind, TurnMachine};
use crate::{EntryContent, PartId, ToolCall, ToolState, Warning};
use std::time::Duration;

impl TurnMachine {
    /// Returns the text of a part, creating an empty one if necessary. If the record is full, `bytes` are counted
    /// as dropped and a scratch buffer is returned.
    pub(super) fn part(&mut self, sub_agent: &Agent, kind: PartKind, part: &PartId, bytes: usize) -> &mut String {
        let key = (sub_agent.clone(), kind, part.clone());
        // The fast path: usually the part that grew last grows again.
        let known = match self.growing {
            Some(index) if self.is_part(index, &key) => Some(index),
            _ => self.parts.get(&key).copied(),
        };
        let index = match known {
            Some(index) => index,
            None if self.drop_if_full(bytes) => {
                self.overflow.clear();
                return &mut self.overflow;
            }
            None => {
                let (sub_agent, kind, part) = key.clone();
                let text = String::new();
                let content = match kind {
                    PartKind::Text => EntryContent::Text { part, text },
                    PartKind::Reasoning => EntryContent::Reasoning { part, text },
                };
                let index = self.record.push(sub_agent, content);
                self.parts.insert(key, index);
                index
            }
        };
        self.growing = Some(index);
        match &mut self.record.entries[index].content {
            EntryContent::Text { text, .. } | EntryContent::Reasoning { text, .. } => text,
            EntryContent::Tool(_) | EntryContent::Error(_) | EntryContent::Unknown(_) => {
                unreachable!("`parts` names texts and reasoning only")
            }
        }
    }

    /// Returns whether the entry at this index is this part.
    fn is_part(&self, index: usize, (sub_agent, kind, part): &(Agent, PartKind, PartId)) -> bool {
        let entry = &self.record.entries[index];
        let (is, known) = match &entry.content {
            EntryContent::Text { part, .. } => (PartKind::Text, part),
            EntryContent::Reasoning { part, .. } => (PartKind::Reasoning, part),
            EntryContent::Tool(_) | EntryContent::Error(_) | EntryContent::Unknown(_) => return false,
        };
        is == *kind && known == part && entry.sub_agent == *sub_agent
    }

    /// Stores a tool call in the record, replacing its earlier state.
    pub(super) fn tool(&mut self, at: Duration, call: &ToolCall, sub_agent: &Agent) {
        let key = (sub_agent.clone(), call.id.clone());
        let index = match self.tools.get(&key).copied() {
            Some(index) => index,
            None if self.drop_if_full(call.size_in_bytes()) => return,
            None => {
                let index = self.record.push(key.0.clone(), EntryContent::Tool(call.clone()));
                self.tools.insert(key, index);
                index
            }
        };
        if let EntryContent::Tool(known) = &mut self.record.entries[index].content
            && progress(&call.state) >= progress(&known.state)
        {
            self.idle.tool(at, index, &call.state);
            // A later report may lack the input; `null` means unknown.
            let mut call = call.clone();
            if call.input.is_null() {
                call.input = known.input.take();
            }
            *known = call;
        }
    }

    /// Records a warning, unless it is known or there are too many.
    pub(super) fn warn(&mut self, warning: &Warning) {
        let warnings = &mut self.record.warnings;
        if warnings.len() < MAX_WARNINGS && !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }

    /// Returns whether the record is full, and if so counts the dropped bytes.
    pub(super) fn drop_if_full(&mut self, bytes: usize) -> bool {
        let full = self.record.entries.len() >= MAX_ENTRIES;
        if full {
            self.record.dropped.count(bytes.try_into().unwrap_or(u64::MAX));
        }
        full
    }
}

/// Returns the rank of a tool call's state, which never decreases even if reports arrive out of order.
fn progress(state: &ToolState) -> u8 {
    match state {
        ToolState::Pending => 0,
        ToolState::Running { .. } | ToolState::Unknown(_) => 1,
        ToolState::Completed { .. } | ToolState::Failed { .. } => 2,
    }
}
