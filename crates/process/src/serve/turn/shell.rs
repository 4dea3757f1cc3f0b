//! The I/O shell around a turn's state machine. It executes the machine's actions, and knows no generation of opencode.

use super::permissions::{decide, retry};
use super::{FinishedTurn, until};
use crate::model_route::{self, RouteLease};
use crate::protocol::ClientError;
use crate::protocol::turn::{Action, Input, Now, Request, Tag, Timer, TurnProtocol};
use crate::redaction::Redaction;
use crate::send_queue::SendQueue;
use crate::serve::dispatcher::Subscription;
use crate::serve::extension_watch::ExtensionWatch;
use crate::serve::mailbox::{Incoming, StreamItem};
use crate::serve::server::{Server, TurnGuard};
use opencode_run_core::{Ending, PermissionPolicy, SessionId, Signal, TurnDriver, TurnFailure};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long to watch the server for an execution that it starts because a background process has ended. It starts
/// within about 50 ms on an idle machine.
const BACKGROUND_WINDOW: Duration = Duration::from_millis(300);
/// The interval of interrupting such executions.
const BACKGROUND_INTERVAL: Duration = Duration::from_millis(50);
/// The timeout of a last request.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A turn with a state machine, ready to run.
pub(crate) struct ProtocolTurn {
    pub(crate) driver: TurnDriver,
    /// The registration of the turn on its server.
    pub(crate) turn_guard: TurnGuard,
    pub(crate) subscription: Subscription,
    pub(crate) session: SessionId,
    pub(crate) protocol: Box<dyn TurnProtocol>,
    pub(crate) send: RequestSender,
    pub(crate) policy: PermissionPolicy,
    /// The lease of the route to the model source, if its traffic is metered.
    pub(crate) route_lease: Option<RouteLease>,
    pub(crate) redaction: Redaction,
    pub(crate) extensions: ExtensionWatch,
}

/// Sends the requests of turns.
pub(crate) type RequestSender =
    Arc<dyn Fn(Request) -> futures_util::future::BoxFuture<'static, Result<String, ClientError>> + Send + Sync>;

/// The end of a turn, as reported by its state machine.
enum End {
    Finished(Ending),
    Failed(ClientError),
}

struct Shell {
    protocol: Box<dyn TurnProtocol>,
    server: Arc<Server>,
    send: RequestSender,
    session: SessionId,
    subscription: Subscription,
    policy: PermissionPolicy,
    route_lease: Option<RouteLease>,
    send_queue: SendQueue,
    extensions: ExtensionWatch,
    requests: JoinSet<Input>,
    /// The armed timers, at most one of each kind.
    timers: Vec<(Timer, Instant)>,
    end: Option<End>,
    must_end_server: bool,
}

impl ProtocolTurn {
    /// Returns the registration of the turn on its server.
    pub(crate) fn turn_guard(&self) -> &TurnGuard {
        &self.turn_guard
    }

    /// Runs the turn until no process of it is left.
    pub(crate) async fn run(self) -> FinishedTurn {
        let Self { driver, turn_guard, subscription, session, protocol, send, policy, .. } = self;
        let Self { route_lease, redaction, extensions, .. } = self;
        let TurnDriver { signals, controls } = driver;
        let _controls = AbortOnDropHandle::new(tokio::spawn(subscription.mailbox.forward_controls(controls)));
        let server = Arc::clone(turn_guard.server());
        let mut exited = server.exit_watch();
        let mut exit = std::pin::pin!(async move {
            match exited.wait_for(Option::is_some).await.map(|how| how.clone()) {
                Ok(how) => how.unwrap_or_default(),
                // The end of an attached server is unknown.
                Err(_) => std::future::pending().await,
            }
        });
        let mut shell = Shell {
            protocol,
            server,
            send,
            session,
            subscription,
            policy,
            route_lease,
            send_queue: SendQueue::new(redaction),
            extensions,
            requests: JoinSet::new(),
            timers: Vec::new(),
            end: None,
            must_end_server: false,
        };
        shell.send_queue.push(Signal::Session(shell.session.clone()));
        shell.step(Input::Start);
        let mut has_exited = false;
        let end = loop {
            if std::mem::take(&mut shell.must_end_server) {
                // The server's other turns end too, each with its own failure.
                shell.server.end().await;
            }
            if let Some(end) = shell.end.take() {
                break end;
            }
            let next = shell.timers.iter().map(|(_, at)| *at).min();
            let waiting = shell.send_queue.has_pending();
            let takes_events = !waiting && shell.protocol.takes_events();
            tokio::select! {
                biased;
                () = until(next) => shell.fire(),
                () = shell.send_queue.flush(&signals), if waiting => {
                    if shell.send_queue.is_closed() {
                        shell.step(Input::Control(None));
                    }
                }
                Some(done) = shell.requests.join_next() => {
                    if let Ok(input) = done {
                        shell.step(input);
                    }
                }
                receive = shell.subscription.mailbox.receive(takes_events) => {
                    shell.receive(receive);
                    shell.send_queue.flush_ready(&signals);
                }
                how = &mut exit, if !has_exited => {
                    has_exited = true;
                    shell.step(Input::ServerExited(how));
                }
                () = model_route::progressed(&mut shell.route_lease), if !waiting => shell.send_queue.push(Signal::Progress),
                warning = shell.extensions.next() => shell.send_queue.push(warning),
            }
        };
        let send_queue = shell.finish(end, turn_guard).await;
        FinishedTurn { send_queue, signals }
    }
}

impl Shell {
    fn step(&mut self, input: Input) {
        let now = Now { instant: Instant::now(), system: SystemTime::now() };
        let mut actions = Vec::new();
        self.protocol.step(now, input, &mut actions);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn receive(&mut self, receive: Incoming) {
        match receive {
            Incoming::Control(control) => {
                if control.is_none() {
                    self.send_queue.close();
                }
                self.step(Input::Control(control));
            }
            Incoming::Item(Some(StreamItem::Event(event))) => self.step(Input::Event(event)),
            Incoming::Item(Some(StreamItem::Disconnected) | None) => self.step(Input::Disconnected),
            Incoming::Item(Some(StreamItem::Reconnected { dropped })) => {
                if dropped > 0 {
                    tracing::warn!(dropped, "slow consumer: dropped events are read from the session");
                }
                self.step(Input::Reconnected);
            }
            Incoming::Answer(_) => {}
        }
    }

    fn fire(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.timers.extract_if(.., |(_, at)| *at <= now).collect();
        for (timer, _) in due {
            self.step(Input::Timer(timer));
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Emit(signal) => self.send_queue.push(signal),
            Action::Request(tag, request) => self.request(tag, request),
            Action::Decide { mut ask, session, insists } => {
                self.send_queue.redaction().ask(&mut ask);
                let policy = self.policy.clone();
                self.requests.spawn(async move {
                    let answer = decide(policy, ask.clone(), insists).await;
                    Input::Decided { ask, session, answer }
                });
            }
            Action::Include(sub_agent) => {
                if let Some(route_lease) = &mut self.route_lease {
                    route_lease.include(&sub_agent);
                }
                self.server.dispatcher.add_sub_agent(sub_agent, &self.session);
            }
            Action::Arm(timer, at) => {
                self.timers.retain(|(other, _)| *other != timer);
                self.timers.push((timer, at));
            }
            Action::EndServer => self.must_end_server = true,
            Action::Fail(error) => self.end = Some(End::Failed(error)),
            Action::Finish(ending) => self.end = Some(End::Finished(ending)),
        }
    }

    fn request(&mut self, tag: Tag, request: Request) {
        let send = Arc::clone(&self.send);
        let answer =
            async move { if request.is_retried { retry(|| send(request.clone())).await } else { send(request).await } };
        if tag == Tag::CleanUp {
            // The turn may be over before it is answered.
            tokio::spawn(answer);
            return;
        }
        self.requests.spawn(async move {
            let answer = answer.await;
            Input::Answer(tag, answer)
        });
    }

    /// Determines the ending, and kills the processes that the turn left.
    async fn finish(mut self, end: End, turn_guard: TurnGuard) -> SendQueue {
        self.requests.abort_all();
        let (ending, was_stopped) = match end {
            End::Finished(ending) => (ending.clone(), ending == Ending::Stopped),
            End::Failed(error) => (Ending::Failed(self.server.failure(error, &self.session).await), false),
        };
        let limit = self.route_lease.as_ref().and_then(RouteLease::limit_reached).filter(|_| !was_stopped);
        let ending = match (ending, limit, &self.route_lease) {
            // opencode reports a refused request as a failure of the provider.
            (_, Some(failure), _) => Ending::Failed(failure),
            (Ending::Failed(failure), None, Some(route_lease))
                if !matches!(failure, TurnFailure::Permission { .. }) =>
            {
                Ending::Failed(route_lease.explain(failure))
            }
            (ending, ..) => ending,
        };
        let mut traffic = self.route_lease.as_ref().map(RouteLease::traffic);
        let has_background = self.protocol.last_request().is_some();
        if has_background {
            // Released before the processes are killed: their end may start an execution, whose requests the gateway
            // then refuses.
            self.route_lease = None;
        }
        for warning in self.extensions.finish(was_stopped).await {
            self.send_queue.push(warning);
        }
        turn_guard.end().await;
        if has_background {
            self.interrupt_background().await;
        }
        if let Some(route_lease) = &self.route_lease {
            traffic = Some(route_lease.traffic());
        }
        if let Some(traffic) = traffic {
            self.send_queue.push(Signal::Traffic(traffic));
        }
        self.send_queue.push(Signal::Ended(ending));
        self.send_queue
    }

    /// Interrupts executions that the server starts because background processes have ended.
    async fn interrupt_background(&mut self) {
        let began = Instant::now();
        while began.elapsed() < BACKGROUND_WINDOW {
            tokio::time::sleep(BACKGROUND_INTERVAL).await;
            let Some(request) = self.protocol.last_request() else { return };
            tokio::time::timeout(LAST_REQUEST_TIMEOUT, (self.send)(request)).await.ok();
        }
    }
}
