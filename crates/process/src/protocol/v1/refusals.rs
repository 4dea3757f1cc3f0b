//! Orders the refusals of `run` among its events.

use opencode_run_core::{Event, PermissionRequest};

/// The maximum number of refusals that wait for their tool call: a step calls few tools.
const WAITING: usize = 16;

/// Puts refusals right before the refused tool.
///
/// A refusal is written to stderr and the events to stdout, so the two can be read in any order. A step that begins
/// after a refusal means that opencode continued in spite of it, so the order matters.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    waiting: Vec<PermissionRequest>,
}

impl Refusals {
    /// Queues a refusal, or returns it if it need not wait.
    pub(crate) fn add(&mut self, ask: PermissionRequest) -> Option<PermissionRequest> {
        if self.waiting.len() == WAITING {
            return Some(ask);
        }
        self.waiting.push(ask);
        None
    }

    /// Returns the refusals that precede an event: before the refused tool, or before the end of its step if the tool
    /// is not reported as refused.
    pub(crate) fn before(&mut self, event: &Event) -> Vec<PermissionRequest> {
        match event {
            Event::Tool(call) if call.state.is_refused() => self.rest(),
            Event::StepFinish { .. } => self.rest(),
            _ => Vec::new(),
        }
    }

    /// Returns the refusals of a step that never ended.
    pub(crate) fn rest(&mut self) -> Vec<PermissionRequest> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{StepReason, ToolCall, ToolState, Usage};
    use serde_json::Value;

    fn ask(permission: &str) -> PermissionRequest {
        PermissionRequest::new(permission, Vec::new()).refused(true)
    }

    fn tool(refused: bool) -> Event {
        let state = ToolState::Failed { error: "no".to_owned(), refused };
        Event::Tool(ToolCall::new("c", "read", Value::Null, state))
    }

    #[test]
    fn refusal_precedes_its_tool_or_step_end() {
        let finish = Event::StepFinish { reason: StepReason::ToolCalls, usage: Usage::default(), cost: 0.0 };
        let mut refusals = Refusals::default();
        assert_eq!(refusals.add(ask("early")), None);
        for event in [Event::StepStart, tool(false)] {
            assert_eq!(refusals.before(&event), []);
        }
        assert_eq!(refusals.before(&tool(true)), [ask("early")]);
        assert_eq!(refusals.add(ask("without a tool")), None);
        assert_eq!(refusals.before(&finish), [ask("without a tool")]);
        assert_eq!(refusals.add(ask("late")), None);
        assert_eq!(refusals.rest(), [ask("late")]);
        assert_eq!(refusals.rest(), []);
    }

    #[test]
    fn waiting_refusals_are_bounded() {
        let mut refusals = Refusals::default();
        let waiting = (0..100).filter(|_| refusals.add(ask("x")).is_none()).count();
        assert_eq!((waiting, refusals.rest().len()), (WAITING, WAITING));
    }
}
