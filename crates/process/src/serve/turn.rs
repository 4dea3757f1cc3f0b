//! Turns on a server, and the shell of a turn of opencode 1.

mod ending;
mod permissions;
mod resync;
mod shell;

pub(crate) use shell::{ProtocolTurn, RequestSender};

use self::resync::SessionSnapshot;
use super::dispatcher::Subscription;
use super::extension_watch::ExtensionWatch;
use super::mailbox::{Incoming, StreamItem};
use super::server::{Server, TurnGuard};
use crate::model_route::{self, RouteLease};
use crate::protocol::v1::client::Client;
use crate::protocol::{ClientError, SessionEvent, TurnDecoder};
use crate::redaction::Redaction;
use crate::schema::AnswerSchema;
use crate::send_queue::SendQueue;
use opencode_run_core::{Control, Event, Observed, PermissionPolicy, ReportedError, SessionId, Signal, TurnDriver};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long an abort may take; it usually takes 50 ms. After that the server is killed: nothing may be left three
/// seconds after an interrupt.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an abort may take if the turn is killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of repeated aborts: an abort before the turn has begun has no effect.
const ABORT_INTERVAL: Duration = Duration::from_millis(500);

/// A turn of opencode 1 that is ready to run.
pub(crate) struct ServeTurn {
    pub(crate) driver: TurnDriver,
    /// The registration of the turn on its server.
    pub(crate) turn_guard: TurnGuard,
    pub(crate) subscription: Subscription,
    pub(crate) client: Client,
    pub(crate) session: SessionId,
    pub(crate) directory: PathBuf,
    pub(crate) message: Value,
    pub(crate) decoder: TurnDecoder,
    pub(crate) agent: Option<String>,
    pub(crate) policy: PermissionPolicy,
    /// The schema of the answer.
    pub(crate) schema: Option<AnswerSchema>,
    /// The lease of the route to the model source, if the gateway carries the turn's requests.
    pub(crate) route_lease: Option<RouteLease>,
    pub(crate) redaction: Redaction,
    pub(crate) extensions: ExtensionWatch,
}

/// A turn that is ready to run.
pub(crate) enum PreparedTurn {
    /// Its end is the answer to its message.
    Decoded(Box<ServeTurn>),
    /// It is a state machine of its generation.
    Protocol(Box<ProtocolTurn>),
}

impl PreparedTurn {
    /// Returns the registration of the turn on its server.
    pub(crate) fn turn_guard(&self) -> &TurnGuard {
        match self {
            Self::Decoded(turn) => &turn.turn_guard,
            Self::Protocol(turn) => turn.turn_guard(),
        }
    }

    /// Runs the turn until no process of it is left.
    pub(crate) async fn run(self) -> FinishedTurn {
        match self {
            Self::Decoded(turn) => turn.run().await,
            Self::Protocol(turn) => turn.run().await,
        }
    }
}

/// An active turn.
struct Running {
    signals: mpsc::Sender<Signal>,
    /// The tasks that forward the answer and the consumer's controls. They are separate tasks because polling a request
    /// on every event is expensive.
    tasks: [AbortOnDropHandle<()>; 2],
    server: Arc<Server>,
    turn_guard: TurnGuard,
    subscription: Subscription,
    client: Client,
    session: SessionId,
    directory: PathBuf,
    policy: PermissionPolicy,
    schema: Option<AnswerSchema>,
    route_lease: Option<RouteLease>,
    decoder: TurnDecoder,
    send_queue: SendQueue,
    extensions: ExtensionWatch,
    /// Requests other than the message.
    requests: JoinSet<RequestOutcome>,
    /// The ids of the permission requests and questions whose replies are still being sent.
    unanswered: Vec<String>,
    /// The last error that opencode reported in the turn's own session.
    error: Option<ReportedError>,
    /// The question that was rejected in the last step.
    rejected: Option<String>,
    /// How often each permission was refused by policy, by permission and patterns.
    refused: HashMap<(String, Vec<String>), usize>,
    /// The refusal that ends the turn.
    refusal: Option<String>,
    /// A resync after a disconnect is running; later events wait.
    is_resyncing: bool,
    stopped: bool,
    /// When the next abort is due, and when to give up.
    abort: Option<(Instant, Instant)>,
}

/// The outcome of a request other than the message.
enum RequestOutcome {
    /// The reply with this id was sent. A refusal without a reason ends the turn.
    Answered {
        id: String,
        refusal: Option<String>,
    },
    /// The session was read after a disconnect.
    Resynced(SessionSnapshot),
    Aborted,
}

enum Wake {
    Incoming(Incoming),
    Abort,
    Flushed,
    RequestOutcome(Option<RequestOutcome>),
    Moved,
    Warning(Signal),
}

impl ServeTurn {
    /// Runs the turn until no process of it is left.
    pub(crate) async fn run(self) -> FinishedTurn {
        let Self { driver, turn_guard, subscription, client, session, directory, message, .. } = self;
        let Self { decoder, agent, policy, schema, route_lease, redaction, extensions, .. } = self;
        let TurnDriver { signals, controls } = driver;
        let server = Arc::clone(turn_guard.server());
        let request_client = client.clone();
        let where_to = directory.clone();
        let whom = session.clone();
        let answer_sender = subscription.mailbox.answer_sender();
        let answer = tokio::spawn(async move {
            let answer = async {
                if let Some(agent) = agent {
                    // A message for an unknown agent is refused without a reason.
                    request_client.check_agent(&where_to, &agent).await?;
                }
                request_client.send(&where_to, &whom, &message).await
            };
            answer_sender.send(answer.await);
        });
        let controls = tokio::spawn(subscription.mailbox.forward_controls(controls));
        let mut turn = Running {
            signals,
            tasks: [answer, controls].map(AbortOnDropHandle::new),
            server,
            turn_guard,
            subscription,
            client,
            session,
            directory,
            policy,
            schema,
            route_lease,
            decoder,
            send_queue: SendQueue::new(redaction),
            extensions,
            requests: JoinSet::new(),
            unanswered: Vec::new(),
            error: None,
            rejected: None,
            refused: HashMap::new(),
            refusal: None,
            is_resyncing: false,
            stopped: false,
            abort: None,
        };
        turn.send_queue.push(Signal::Session(turn.session.clone()));
        let answer = turn.until_answered().await;
        turn.finish(answer).await
    }
}

/// A turn without any process left, whose last signals have not been delivered.
pub(crate) struct FinishedTurn {
    send_queue: SendQueue,
    signals: mpsc::Sender<Signal>,
}

impl FinishedTurn {
    /// Delivers the last signals to the consumer.
    pub(crate) async fn deliver_end(mut self) {
        while self.send_queue.has_pending() {
            self.send_queue.flush(&self.signals).await;
        }
    }
}

impl Running {
    /// Processes events until the message is answered. Returns `None` if the server had to be killed.
    async fn until_answered(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            let abort = self.abort.map(|(next, last)| next.min(last));
            let waiting = self.send_queue.has_pending();
            let wake = tokio::select! {
                biased;
                () = until(abort) => Wake::Abort,
                () = self.send_queue.flush(&self.signals), if waiting => Wake::Flushed,
                Some(outcome) = self.requests.join_next() => Wake::RequestOutcome(outcome.ok()),
                receive = self.subscription.mailbox.receive(!waiting && !self.is_resyncing) => Wake::Incoming(receive),
                () = model_route::progressed(&mut self.route_lease), if !waiting => Wake::Moved,
                warning = self.extensions.next() => Wake::Warning(warning),
            };
            match wake {
                Wake::Incoming(Incoming::Control(control)) => self.control(control),
                Wake::Incoming(Incoming::Item(item)) => {
                    self.item(item);
                    self.send_queue.flush_ready(&self.signals);
                }
                Wake::Incoming(Incoming::Answer(answer)) => return Some(answer),
                Wake::Abort => {
                    if self.abort.is_some_and(|(_, last)| Instant::now() >= last) {
                        // The server's other turns end too, each with its own failure.
                        self.server.end().await;
                        return None;
                    }
                    self.send_abort();
                }
                Wake::RequestOutcome(Some(RequestOutcome::Answered { id, refusal })) => self.answered(id, refusal),
                Wake::RequestOutcome(Some(RequestOutcome::Resynced(missed))) => self.finish_resync(missed),
                Wake::Warning(warning) => self.send_queue.push(warning),
                Wake::Moved => self.send_queue.push(Signal::Progress),
                Wake::Flushed if self.send_queue.is_closed() => self.control(None),
                Wake::Flushed | Wake::RequestOutcome(_) => {}
            }
        }
    }

    fn control(&mut self, control: Option<Control>) {
        if control.is_none() {
            self.send_queue.close();
        }
        self.stop(if control == Some(Control::Interrupt) { ABORT_TIMEOUT } else { KILL_TIMEOUT });
    }

    /// Starts to abort the turn.
    fn stop(&mut self, limit: Duration) {
        let now = Instant::now();
        let last = now + limit;
        self.abort = Some(self.abort.map_or((now, last), |(next, earlier)| (next, earlier.min(last))));
        self.stopped = true;
    }

    fn send_abort(&mut self) {
        let (client, directory, session) = self.address();
        self.requests.spawn(async move {
            // The answer to the message shows whether the abort worked.
            if let Err(error) = client.abort(&directory, &session).await {
                tracing::debug!(%error, "an abort was not answered");
            }
            RequestOutcome::Aborted
        });
        self.abort = self.abort.map(|(_, last)| (Instant::now() + ABORT_INTERVAL, last));
    }

    fn address(&self) -> (Client, PathBuf, SessionId) {
        (self.client.clone(), self.directory.clone(), self.session.clone())
    }

    fn item(&mut self, item: Option<StreamItem>) {
        match item {
            Some(StreamItem::Event(event)) => self.event(event),
            Some(StreamItem::Disconnected) | None => self.decoder.mark_disconnected(),
            Some(StreamItem::Reconnected { dropped }) => {
                if dropped > 0 {
                    tracing::warn!(dropped, "slow consumer: dropped events are read from the session");
                }
                self.start_resync();
            }
        }
    }

    fn event(&mut self, event: SessionEvent) {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0);
        if let Some(observed) = self.decoder.decode(event, now_ms) {
            self.observe(observed);
        }
    }

    fn observe(&mut self, mut observed: Observed) {
        if let (Some(route_lease), Some(sub_agent)) = (&mut self.route_lease, &observed.sub_agent) {
            route_lease.include(sub_agent);
        }
        match &mut observed.event {
            Event::Permission(ask) => {
                ask.refused = matches!(self.policy, PermissionPolicy::Deny);
                self.send_queue.redaction().ask(ask);
                self.answer_permission(ask.clone());
            }
            Event::Question(question) => self.reject_question(question),
            Event::Error(error) if observed.sub_agent.is_none() => self.error = Some(error.clone()),
            Event::StepStart if observed.sub_agent.is_none() => (self.error, self.rejected) = (None, None),
            _ => {}
        }
        self.send_queue.push(observed.into());
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
