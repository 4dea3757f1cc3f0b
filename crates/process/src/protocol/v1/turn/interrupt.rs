//! Interrupts a turn, and those of its sub-agents.

use super::ending::READ_STOPPED_TIMEOUT;
use super::state::{Descendants, Interrupts, Phase, Rest, Turn};
use crate::protocol::ClientError;
use crate::protocol::turn::{Action, Actions, INTERRUPT_INTERVAL, Now, Tag, Timer};
use crate::protocol::v1::api;
use opencode_run_core::{Ending, SessionId};
use reqwest::Method;
use std::time::Duration;

impl Turn {
    /// Starts to interrupt the turn.
    pub(super) fn stop(&mut self, now: Now, limit: Duration, actions: &mut Actions) {
        self.is_stopped = true;
        match &mut self.phase {
            Phase::Preparing => self.finish(Ending::Stopped, actions),
            Phase::Working | Phase::Resyncing(_) => {
                let at = now.instant + limit;
                if self.interrupts.give_up_at.is_none_or(|earlier| at < earlier) {
                    self.interrupts.give_up_at = Some(at);
                    actions.push(Action::Arm(Timer::Stop, at));
                }
                self.interrupt(now, actions);
            }
            Phase::Ending(Rest::Messages(_) | Rest::Session) => {
                actions.push(Action::Arm(Timer::Rest, now.instant + READ_STOPPED_TIMEOUT));
            }
            Phase::Ending(Rest::Events(_, give_up_at)) => {
                *give_up_at = (*give_up_at).min(now.instant + READ_STOPPED_TIMEOUT);
            }
            Phase::Ending(_) | Phase::Over => {}
        }
    }

    /// Interrupts the session and its sub-agents, repeatedly while the message has no answer.
    pub(super) fn interrupt(&mut self, now: Now, actions: &mut Actions) {
        if matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        self.send_interrupts(actions);
        actions.push(Action::Arm(Timer::Interrupt, now.instant + INTERRUPT_INTERVAL));
    }

    pub(super) fn send_interrupts(&mut self, actions: &mut Actions) {
        self.interrupts.descendants = Descendants::default();
        let session = self.session.clone();
        self.interrupt_session(&session, actions);
    }

    fn interrupt_session(&mut self, session: &SessionId, actions: &mut Actions) {
        self.interrupts.pending += 2;
        let interrupt = self.request(Method::POST, api::abort(session.as_str()));
        actions.push(Action::Request(Tag::Interrupt, interrupt));
        let sub_agents = self.request(Method::GET, api::children(session.as_str()));
        actions.push(Action::Request(Tag::Interrupted, sub_agents));
    }

    pub(super) fn interrupt_sub_agents(
        &mut self,
        now: Now,
        answer: Result<String, ClientError>,
        actions: &mut Actions,
    ) {
        let is_answered = answer.is_ok();
        if let Ok(text) = answer {
            for sub_agent in self.interrupts.descendants.add(&text) {
                self.interrupt_session(&sub_agent, actions);
            }
        }
        self.interrupted(now, is_answered, actions);
    }

    /// Records that a request of an interrupt was answered. While the message has no answer, that answer shows whether
    /// it had an effect.
    pub(super) fn interrupted(&mut self, now: Now, is_answered: bool, actions: &mut Actions) {
        self.interrupts.pending = self.interrupts.pending.saturating_sub(1);
        if !matches!(self.phase, Phase::Ending(Rest::Interrupt(_))) {
            return;
        }
        if !is_answered {
            self.give_up(now, actions);
        } else if self.interrupts.pending == 0 {
            self.wait_for_stream(now, actions);
        }
    }

    /// Forgets the requests of earlier interrupts.
    pub(super) fn forget_interrupts(&mut self) {
        self.interrupts = Interrupts::default();
    }

    /// Ends a server on which an interrupt has no effect.
    pub(super) fn give_up(&mut self, now: Now, actions: &mut Actions) {
        match &self.phase {
            Phase::Working | Phase::Resyncing(_) => {
                actions.push(Action::EndServer { is_killed: self.is_killed });
                self.finish(Ending::Stopped, actions);
            }
            Phase::Ending(Rest::Interrupt(_)) => {
                actions.push(Action::EndServer { is_killed: self.is_killed });
                self.wait_for_stream(now, actions);
            }
            Phase::Preparing | Phase::Ending(_) | Phase::Over => {}
        }
    }
}
