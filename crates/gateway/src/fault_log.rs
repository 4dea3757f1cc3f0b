//! The faults of the answers of an admission, and when a retry is useless.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::AnswerFault;

/// How many faulty answers in a row are paid for. opencode asks again at once after an answer that is empty or ends without a
/// reason, without end, and five times after one that it cannot read.
const MAX_FAULTY_ANSWERS: u32 = 2;

/// The faults of the answers that one admission got.
#[derive(Debug, Default)]
pub(crate) struct FaultLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<AnswerFault>,
    faulty_in_a_row: u32,
}

/// A client's reaction to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It gives up, or asks again for a good reason.
    Unknown,
    /// It asks for the same again.
    AsksAgain,
    /// It asks for the same again, and is not to have another such answer.
    IsRefused,
}

impl FaultLog {
    /// Notes an answer without a fault.
    pub(crate) fn well(&self) {
        *self.lock() = State::default();
    }

    /// Notes an answer with a status of failure, which the client reports by itself.
    pub(crate) fn status(&self) {
        self.lock().last = None;
    }

    /// Notes what was wrong with an answer.
    pub(crate) fn note(&self, fault: AnswerFault, then: Then) {
        let mut state = self.lock();
        state.last = Some(fault);
        state.faulty_in_a_row = match then {
            Then::Unknown => state.faulty_in_a_row,
            Then::AsksAgain => state.faulty_in_a_row.saturating_add(1),
            Then::IsRefused => MAX_FAULTY_ANSWERS,
        };
    }

    /// Notes that an answer ended unfinished for the reason that was noted last.
    pub(crate) fn repeat(&self) {
        let mut state = self.lock();
        if !matches!(state.last, Some(AnswerFault::NotJson { .. } | AnswerFault::Error { .. })) {
            state.faulty_in_a_row = state.faulty_in_a_row.saturating_add(1);
        }
    }

    /// Returns whether the next request must be refused. Only one is: the client gives up on that, and the user of the
    /// admission for something else later is not locked out.
    pub(crate) fn refuses(&self) -> bool {
        let mut state = self.lock();
        let refuses = state.faulty_in_a_row >= MAX_FAULTY_ANSWERS;
        if refuses {
            state.faulty_in_a_row = 0;
        }
        refuses
    }

    /// Returns what was wrong with the last answer.
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
    fn second_faulty_answer_in_a_row_refuses_one_request() {
        let log = FaultLog::default();
        log.note(AnswerFault::Empty, Then::AsksAgain);
        assert!(!log.refuses());
        log.well();
        log.note(AnswerFault::Empty, Then::AsksAgain);
        assert!(!log.refuses(), "an answer was well in between");
        log.note(AnswerFault::BrokenOff, Then::Unknown);
        assert!(!log.refuses());
        log.note(AnswerFault::NoFinishReason, Then::AsksAgain);
        assert!(log.refuses());
        assert_eq!(log.last(), Some(AnswerFault::NoFinishReason), "the reason is kept");
        assert!(!log.refuses(), "only one is refused");
        log.note(AnswerFault::TooLong { what: "an event", max_bytes: 1 }, Then::IsRefused);
        assert!(log.refuses());
        log.status();
        assert_eq!(log.last(), None);
    }
}
