//! What `run` refuses by itself, in its place among the events.

use opencode_run_core::{Event, PermissionRequest};

/// How many refusals wait for their tool at most: one step calls few.
const WAITING: usize = 16;

/// Puts refusals right before the tool that was refused.
///
/// A refusal is told on stderr and the rest on stdout, and what is read from two pipes may come in any order. A step that
/// begins after a refusal means that opencode went on in spite of it, so the place matters.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    waiting: Vec<PermissionRequest>,
}

impl Refusals {
    /// Takes a refusal and returns it if it need not wait.
    pub(crate) fn told(&mut self, ask: PermissionRequest) -> Option<PermissionRequest> {
        if self.waiting.len() == WAITING {
            return Some(ask);
        }
        self.waiting.push(ask);
        None
    }

    /// Returns the refusals that come before an event: before the refused tool, or where that is not told for one, before
    /// the end of its step.
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
    fn a_refusal_comes_before_its_tool_or_before_the_end_of_its_step() {
        let finish = Event::StepFinish { reason: StepReason::ToolCalls, usage: Usage::default(), cost: 0.0 };
        let mut refusals = Refusals::default();
        assert_eq!(refusals.told(ask("early")), None);
        for event in [Event::StepStart, tool(false)] {
            assert_eq!(refusals.before(&event), []);
        }
        assert_eq!(refusals.before(&tool(true)), [ask("early")]);
        assert_eq!(refusals.told(ask("without a tool")), None);
        assert_eq!(refusals.before(&finish), [ask("without a tool")]);
        assert_eq!(refusals.told(ask("late")), None);
        assert_eq!(refusals.rest(), [ask("late")]);
        assert_eq!(refusals.rest(), []);
    }

    #[test]
    fn a_flood_of_refusals_does_not_wait() {
        let mut refusals = Refusals::default();
        let waiting = (0..100).filter(|_| refusals.told(ask("x")).is_none()).count();
        assert_eq!((waiting, refusals.rest().len()), (WAITING, WAITING));
    }
}
