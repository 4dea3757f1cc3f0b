//! Steps whose finish reason is unknown.

use crate::TurnFailure;

/// The number of consecutive steps of the turn's own agent without a known finish reason after which the turn is
/// ended.
///
/// opencode continues after such a step, immediately and without end if the provider never sends a reason. Providers
/// that omit it only sometimes recover within one or two steps.
pub const MAX_UNKNOWN_STEPS: u32 = 8;

/// Returns the failure of a turn whose steps keep ending without a finish reason.
pub(super) fn err_no_finish_reason() -> TurnFailure {
    TurnFailure::Provider {
        message: format!(
            "{MAX_UNKNOWN_STEPS} answers in a row ended without a finish reason, and opencode would ask again without end"
        ),
        status: None,
        retryable: Some(false),
        url: None,
    }
}
