//! The faults of the answers of a lease, and when a retry is useless.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::AnswerFault;

/// The maximum number of consecutive faulty answers. opencode retries immediately and without end after an answer that
/// is empty or has no finish reason, and five times after one that it cannot parse.
const MAX_FAULTY_ANSWERS: u32 = 2;

/// The faults of the answers of one lease.
#[derive(Debug, Default)]
pub(crate) struct FaultLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<AnswerFault>,
    faulty_in_a_row: u32,
}

/// The expected reaction of the client to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientReaction {
    /// Gives up, or retries for a good reason.
    Unknown,
    /// Retries the same request.
    Retries,
    /// Retries the same request, and must not get another such answer.
    RetriesRejected,
}

impl FaultLog {
    /// Records an answer without a fault.
    pub(crate) fn note_valid(&self) {
        *self.lock() = State::default();
    }

    /// Records an answer with an error status, which the client reports itself.
    pub(crate) fn note_error_status(&self) {
        self.lock().last = None;
    }

    /// Records the fault of an answer.
    pub(crate) fn note(&self, fault: AnswerFault, then: ClientReaction) {
        let mut state = self.lock();
        state.last = Some(fault);
        state.faulty_in_a_row = match then {
            ClientReaction::Unknown => state.faulty_in_a_row,
            ClientReaction::Retries => state.faulty_in_a_row.saturating_add(1),
            ClientReaction::RetriesRejected => MAX_FAULTY_ANSWERS,
        };
    }

    /// Records that an answer ended unfinished because of the fault that was recorded last.
    pub(crate) fn repeat(&self) {
        let mut state = self.lock();
        if !matches!(state.last, Some(AnswerFault::NotJson { .. } | AnswerFault::Error { .. })) {
            state.faulty_in_a_row = state.faulty_in_a_row.saturating_add(1);
        }
    }

    /// Returns whether the next request must be rejected, and then resets the count: the client gives up after one
    /// rejection, and a later user of the lease is not locked out.
    pub(crate) fn refuses(&self) -> bool {
        let mut state = self.lock();
        let refuses = state.faulty_in_a_row >= MAX_FAULTY_ANSWERS;
        if refuses {
            state.faulty_in_a_row = 0;
        }
        refuses
    }

    /// Returns the fault of the last answer.
    pub(crate) fn last(&self) -> Option<AnswerFault> {
        self.lock().last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_faulty_answer_rejects_next_request() {
        let log = FaultLog::default();
        log.note(AnswerFault::Empty, ClientReaction::Retries);
        assert!(!log.refuses());
        log.note_valid();
        log.note(AnswerFault::Empty, ClientReaction::Retries);
        assert!(!log.refuses(), "an answer was well in between");
        log.note(AnswerFault::BrokenOff, ClientReaction::Unknown);
        assert!(!log.refuses());
        log.note(AnswerFault::NoFinishReason, ClientReaction::Retries);
        assert!(log.refuses());
        assert_eq!(log.last(), Some(AnswerFault::NoFinishReason), "the reason is kept");
        assert!(!log.refuses(), "only one is refused");
        log.note(AnswerFault::TooLong { what: "an event", max_bytes: 1 }, ClientReaction::RetriesRejected);
        assert!(log.refuses());
        log.note_error_status();
        assert_eq!(log.last(), None);
    }
}
