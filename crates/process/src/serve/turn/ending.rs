//! The end of a turn: what the answer says, what the stream still has to say, and what is left at work.

use super::{ABORT_TIMEOUT, FinishedTurn, Running};
use crate::model_route::RouteLease;
use crate::protocol::{AnswerEnd, ClientError, MessageWithParts, TurnDecoder, failure_of, read_message};
use crate::serve::mailbox::Incoming;
use opencode_run_core::{Ending, Event, Observed, Signal, TurnFailure};
use std::time::Duration;
use tokio::time::Instant;

/// How long is waited for events that the answer has overtaken.
const LATE_EVENTS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long is waited for what the stream still says of a message without an answer, up to its end or why it was refused; it
/// says nothing if the message was malformed.
const STREAM_REST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the messages of a turn that was stopped may take to be read: what it left at work is ended after that.
const STOPPED_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How long they may take otherwise. A session of 256 MiB takes a few seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Running {
    /// Takes in what is left of the turn, ends what it left at work, and says how it ended.
    pub(super) async fn finish(mut self, answer: Option<Result<String, ClientError>>) -> FinishedTurn {
        self.requests.abort_all();
        // The one that brings controls stays: a server may take its time for what is asked now.
        let [answering, _] = &self.tasks;
        answering.abort();
        let ending = match answer {
            None => Ending::Stopped,
            Some(Ok(text)) => self.judge(text).await,
            // What was stopped may have been stopped by the end of its server.
            Some(Err(_)) if self.stopped => Ending::Stopped,
            Some(Err(error)) => Ending::Failed(self.fail(error).await),
        };
        let limit = self.route_lease.as_ref().and_then(RouteLease::limit_reached).filter(|_| !self.stopped);
        let ending = match (limit, self.refusal.take()) {
            // What opencode makes of a request that was refused is a failure of the provider's.
            (Some(failure), _) => Ending::Failed(failure),
            (None, Some(what)) if ending == Ending::Stopped => Ending::Failed(TurnFailure::Permission { what }),
            _ => match (ending, &self.route_lease) {
                (Ending::Failed(failure), Some(route_lease)) => Ending::Failed(route_lease.explain(failure)),
                (ending, _) => ending,
            },
        };
        self.turn_guard.end().await;
        if let Some(route_lease) = &self.route_lease {
            self.send_queue.push(Signal::Traffic(route_lease.traffic()));
        }
        // The end of the turn may overtake the reply to an answer; no request is open any more.
        for id in std::mem::take(&mut self.unanswered) {
            self.send_queue.push(Signal::Answered { id });
        }
        self.send_queue.push(Signal::Ended(ending));
        FinishedTurn { send_queue: self.send_queue, signals: self.signals }
    }

    /// Says why a message was not answered, and sees to it that nobody works on it any more.
    async fn fail(&mut self, error: ClientError) -> TurnFailure {
        if error.leaves_work() && self.server.exit().is_none() {
            let (client, directory, session) = self.address();
            let aborted = tokio::time::timeout(ABORT_TIMEOUT, client.abort(&directory, &session)).await;
            if !matches!(aborted, Ok(Ok(()))) {
                self.server.end().await;
            }
        }
        // The connection of the answer may be gone before all of the stream has come.
        self.drain_stream().await;
        self.catch_up(&[]).await;
        let failure = self.server.failure(error, &self.session).await;
        match (failure, self.error.take()) {
            // The server says less by its answer than by its events.
            (TurnFailure::Opencode { .. }, Some(error)) => failure_of(error),
            (failure, _) => failure,
        }
    }

    /// Reads the answer to the message: it is the truth about the turn, the stream was for watching.
    async fn judge(&mut self, text: String) -> Ending {
        if text.is_empty() {
            return Ending::Failed(self.explain_empty_answer().await);
        }
        let Some(message) = read_message(&text) else {
            let message = "the opencode server answered with something else than a message".to_owned();
            return Ending::Failed(TurnFailure::Protocol { message });
        };
        // What it holds is in the message now, and to catch up may take as long a text again.
        drop(text);
        self.catch_up(std::slice::from_ref(&message)).await;
        let end = message.end();
        for observed in self.decoder.reconcile(message) {
            self.send_queue.push(observed.into());
        }
        let Some(AnswerEnd { aborted, error, structured, stops_at_tools }) = end else {
            let message = "the opencode server's answer does not say how the turn ended".to_owned();
            return Ending::Failed(TurnFailure::Protocol { message });
        };
        let unmet = self.schema.as_ref().and_then(|schema| schema.why_unmet(structured.as_ref()));
        if let (Some(value), None) = (structured, &unmet) {
            self.send_queue.push(Signal::Structured(value));
        }
        if let (Some(error), None) = (&error, &self.error) {
            // The stream broke or was too late to tell it.
            let event = Event::Error(error.clone());
            self.send_queue.push(Observed::new(event).into());
        }
        match error {
            _ if aborted => Ending::Stopped,
            Some(error) if error.name == "StructuredOutputError" => {
                Ending::Failed(TurnFailure::Schema { message: error.message })
            }
            Some(error) => Ending::Failed(failure_of(error)),
            None if let Some(message) = unmet => Ending::Failed(TurnFailure::Schema { message }),
            None => match self.rejected.take().filter(|_| stops_at_tools) {
                Some(what) => Ending::Failed(TurnFailure::Permission { what }),
                None => Ending::Finished,
            },
        }
    }

    /// Says why a message was answered with nothing, which is how one is refused before 1.15: the stream says it, unless the
    /// session is not there.
    async fn explain_empty_answer(&mut self) -> TurnFailure {
        self.drain_stream().await;
        if let Some(error) = self.error.take() {
            return failure_of(error);
        }
        let (client, session) = (self.server.client.clone(), self.session.clone());
        match self.bounded(client.session_directory(&session)).await {
            Some(Err(error @ ClientError::NotFound(_))) => self.server.failure(error, &self.session).await,
            _ => TurnFailure::Protocol { message: "the opencode server answered with nothing".to_owned() },
        }
    }

    /// Waits for what the stream still says of a message that has no answer.
    async fn drain_stream(&mut self) {
        let deadline = Instant::now() + STREAM_REST_TIMEOUT;
        while !self.decoder.is_disconnected() && !self.decoder.is_idle() {
            tokio::select! {
                biased;
                item = self.subscription.mailbox.next() => self.item(item),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
    }

    /// Waits for what the stream still has to say of these messages. If the stream broke, what the turn produced is read
    /// from the session instead.
    async fn catch_up(&mut self, messages: &[MessageWithParts]) {
        let deadline = Instant::now() + if self.stopped { STREAM_REST_TIMEOUT } else { LATE_EVENTS_TIMEOUT };
        let expected: Vec<_> = messages.iter().map(MessageWithParts::expected).collect();
        let told = |decoder: &TurnDecoder| expected.iter().all(|message| decoder.has_emitted(message));
        while !self.decoder.is_disconnected() && !told(&self.decoder) {
            tokio::select! {
                biased;
                item = self.subscription.mailbox.next() => self.item(item),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        if !self.decoder.is_disconnected() && told(&self.decoder) {
            return;
        }
        let (client, directory, session) = self.address();
        match self.bounded(client.messages(&directory, &session)).await {
            Some(Ok(text)) => self.reconcile(text),
            Some(Err(error)) => tracing::debug!(%error, "the messages of a turn could not be read"),
            None => tracing::debug!("the server is too slow to report the messages of a turn"),
        }
    }

    /// Waits for the answer to a request, at most [`READ_TIMEOUT`]. If the turn is or was stopped, [`STOPPED_READ_TIMEOUT`] is left.
    async fn bounded<T>(&mut self, request: impl Future<Output = T>) -> Option<T> {
        let mut request = std::pin::pin!(request);
        if !self.stopped {
            tokio::select! {
                biased;
                answer = &mut request => return Some(answer),
                Incoming::Control(_) = self.subscription.mailbox.receive(false) => self.stopped = true,
                () = tokio::time::sleep(READ_TIMEOUT) => return None,
            }
        }
        tokio::time::timeout(STOPPED_READ_TIMEOUT, request).await.ok()
    }
}
