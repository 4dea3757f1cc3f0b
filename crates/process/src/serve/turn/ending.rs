//! The end of a turn: reads the answer, waits for late events, and kills leftover processes.

use super::{ABORT_TIMEOUT, FinishedTurn, Running};
use crate::model_route::RouteLease;
use crate::protocol::{AnswerEnd, ClientError, MessageWithParts, TurnDecoder, failure_of, read_message};
use crate::serve::mailbox::Incoming;
use opencode_run_core::{Ending, Event, Observed, Signal, TurnFailure};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for events that the answer has overtaken.
const LATE_EVENTS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for events about a message without an answer, up to its end or the reason of its refusal. A
/// malformed message has no such events.
const STREAM_REST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to read the messages of a stopped turn: its processes are killed after that.
const STOPPED_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to read them otherwise. A session of 256 MiB takes a few seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Running {
    /// Processes the answer and late events, kills leftover processes, and determines how the turn ended.
    pub(super) async fn finish(mut self, answer: Option<Result<String, ClientError>>) -> FinishedTurn {
        self.requests.abort_all();
        // The task that forwards controls stays: the requests below may take long.
        let [answering, _] = &self.tasks;
        answering.abort();
        let ending = match answer {
            None => Ending::Stopped,
            Some(Ok(text)) => self.judge(text).await,
            // An error of a stopped turn may only mean that its server was killed.
            Some(Err(_)) if self.stopped => Ending::Stopped,
            Some(Err(error)) => Ending::Failed(self.fail(error).await),
        };
        let limit = self.route_lease.as_ref().and_then(RouteLease::limit_reached).filter(|_| !self.stopped);
        let ending = match (limit, self.refusal.take()) {
            // opencode reports a refused request as a failure of the provider.
            (Some(failure), _) => Ending::Failed(failure),
            (None, Some(what)) if ending == Ending::Stopped => Ending::Failed(TurnFailure::Permission { what }),
            _ => match (ending, &self.route_lease) {
                (Ending::Failed(failure), Some(route_lease)) => Ending::Failed(route_lease.explain(failure)),
                (ending, _) => ending,
            },
        };
        for warning in self.extensions.finish(self.stopped).await {
            self.send_queue.push(warning);
        }
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

    /// Returns the failure of a message without an answer, and makes sure that the server no longer works on it.
    async fn fail(&mut self, error: ClientError) -> TurnFailure {
        if error.leaves_work() && self.server.exit().is_none() {
            let (client, directory, session) = self.address();
            let aborted = tokio::time::timeout(ABORT_TIMEOUT, client.abort(&directory, &session)).await;
            if !matches!(aborted, Ok(Ok(()))) {
                self.server.end().await;
            }
        }
        // The connection of the answer may break before the last events have arrived.
        self.drain_stream().await;
        self.catch_up(&[]).await;
        let failure = self.server.failure(error, &self.session).await;
        match (failure, self.error.take()) {
            // The events carry more detail than the answer.
            (TurnFailure::Opencode { .. }, Some(error)) => failure_of(error),
            (failure, _) => failure,
        }
    }

    /// Reads the answer to the message. The answer is authoritative; the events are for live output.
    async fn judge(&mut self, text: String) -> Ending {
        if text.is_empty() {
            return Ending::Failed(self.explain_empty_answer().await);
        }
        let Some(message) = read_message(&text) else {
            let message = "the opencode server's answer is not a message".to_owned();
            return Ending::Failed(TurnFailure::Protocol { message });
        };
        // Freed early: reading the messages below may need as much memory again.
        drop(text);
        self.catch_up(std::slice::from_ref(&message)).await;
        let end = message.end();
        for observed in self.decoder.reconcile(message) {
            self.send_queue.push(observed.into());
        }
        let Some(AnswerEnd { aborted, error, structured, stops_at_tools }) = end else {
            let message = "the opencode server's answer does not specify how the turn ended".to_owned();
            return Ending::Failed(TurnFailure::Protocol { message });
        };
        let unmet = self.schema.as_ref().and_then(|schema| schema.why_unmet(structured.as_ref()));
        if let (Some(value), None) = (structured, &unmet) {
            self.send_queue.push(Signal::Structured(value));
        }
        if let (Some(error), None) = (&error, &self.error) {
            // The stream broke, or the event was late.
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

    /// Returns the failure of a message with an empty answer, which is how versions before 1.15 refuse one. The reason
    /// is in the stream, unless the session does not exist.
    async fn explain_empty_answer(&mut self) -> TurnFailure {
        self.drain_stream().await;
        if let Some(error) = self.error.take() {
            return failure_of(error);
        }
        let client = self.server.client.clone();
        let session = self.session.clone();
        match self.bounded(client.session_directory(&session)).await {
            Some(Err(error @ ClientError::NotFound(_))) => self.server.failure(error, &self.session).await,
            _ => TurnFailure::Protocol { message: "the opencode server's answer was empty".to_owned() },
        }
    }

    /// Waits for the remaining events about a message that has no answer.
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

    /// Waits for late events about these messages. If the stream broke, reads the turn's output from the session
    /// instead.
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

    /// Waits for the answer to a request, at most [`READ_TIMEOUT`]. If the turn is or was stopped, at most
    /// [`STOPPED_READ_TIMEOUT`].
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
