//! What a turn produced, each thing in one place however often it is told of.

use super::{Agent, MOST_ENTRIES, PartKind, TurnMachine};
use crate::{EntryContent, PartId, ToolCall, ToolState};
use std::time::Duration;

impl TurnMachine {
    /// Returns the text of a part, empty where it is new, for `bytes` bytes to be put into it. Where the record is full they
    /// are counted, and what is put into the text is not kept.
    pub(super) fn part(&mut self, sub_agent: &Agent, kind: PartKind, part: &PartId, bytes: usize) -> &mut String {
        let key = (sub_agent.clone(), kind, part.clone());
        // Nearly always it is the one that was there just now.
        let known = match self.growing {
            Some(index) if self.is_part(index, &key) => Some(index),
            _ => self.parts.get(&key).copied(),
        };
        let index = match known {
            Some(index) => index,
            None if self.is_full(bytes) => {
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
            EntryContent::Tool(_) | EntryContent::Error(_) => unreachable!("`parts` names texts and reasoning only"),
        }
    }

    /// Returns whether the entry in this place is this part.
    fn is_part(&self, index: usize, (sub_agent, kind, part): &(Agent, PartKind, PartId)) -> bool {
        let entry = &self.record.entries[index];
        let (is, known) = match &entry.content {
            EntryContent::Text { part, .. } => (PartKind::Text, part),
            EntryContent::Reasoning { part, .. } => (PartKind::Reasoning, part),
            EntryContent::Tool(_) | EntryContent::Error(_) => return false,
        };
        is == *kind && known == part && entry.sub_agent == *sub_agent
    }

    /// Puts a tool call into the record, in the place of what was known of it before.
    pub(super) fn tool(&mut self, at: Duration, call: &ToolCall, sub_agent: &Agent) {
        let key = (sub_agent.clone(), call.id.clone());
        let index = match self.tools.get(&key).copied() {
            Some(index) => index,
            None if self.is_full(call.weight()) => return,
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
            // A later report may be shorter, and `null` says that it does not know.
            let mut call = call.clone();
            if call.input.is_null() {
                call.input = known.input.take();
            }
            *known = call;
        }
    }

    /// Returns whether the record takes no further entry, and counts what is then left out.
    pub(super) fn is_full(&mut self, bytes: usize) -> bool {
        let full = self.record.entries.len() >= MOST_ENTRIES;
        if full {
            self.record.dropped.count(bytes.try_into().unwrap_or(u64::MAX));
        }
        full
    }
}

/// Returns how far a tool call is; it does not go back, in whatever order its reports come.
fn progress(state: &ToolState) -> u8 {
    match state {
        ToolState::Pending => 0,
        ToolState::Running { .. } => 1,
        ToolState::Completed { .. } | ToolState::Failed { .. } => 2,
    }
}
