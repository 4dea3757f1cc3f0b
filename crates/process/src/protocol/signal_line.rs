//! Signals as lines of a snapshot, for the tests of both generations.

use opencode_run_core::{Event, Signal, ToolState};

/// Returns the line of a known event or of another signal; `None` for what a snapshot leaves out.
pub(super) fn signal_line(signal: &Signal) -> Option<String> {
    let observed = match signal {
        Signal::Event(observed) => observed,
        Signal::Answered { .. } => return Some("  answered".to_owned()),
        Signal::Structured(value) => return Some(format!("  structured {value}")),
        _ => return None,
    };
    let what = match &observed.event {
        Event::Unknown { .. } => return None,
        Event::Tool(call) => format!("tool {} {}", call.tool, state(&call.state)),
        Event::StepFinish { reason, .. } => format!("step_finish {reason}"),
        other => other.kind().to_owned(),
    };
    let who = if observed.sub_agent.is_some() { "sub-agent " } else { "" };
    Some(format!("  {who}{what}"))
}

fn state(state: &ToolState) -> &'static str {
    match state {
        ToolState::Pending => "pending",
        ToolState::Running { .. } => "running",
        ToolState::Completed { .. } => "completed",
        _ if state.is_refused() => "refused",
        _ => "failed",
    }
}
