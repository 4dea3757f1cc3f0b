//! A turn on a server: the I/O shell around its state machine. It executes the machine's actions, and knows no
//! generation of opencode.

mod permissions;

use self::permissions::{decide, retry};
use super::dispatcher::Subscription;
use super::extension_watch::ExtensionWatch;
use super::mailbox::{Incoming, StreamItem};
use super::server::{Server, TurnGuard};
use super::unconfirmed_interrupt::UnconfirmedInterrupt;
use crate::model_route::{self, RouteLease};
use crate::protocol::turn::{Action, Actions, Input, Intake, Now, Tag, Timer, TurnProtocol};
use crate::protocol::{ClientError, Request};
use crate::redaction::Redaction;
use crate::send_queue::SendQueue;
use opencode_run_core::{Ending, PermissionPolicy, SessionId, Signal, TurnDriver, TurnFailure};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
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

/// A turn that is ready to run.
pub(crate) struct ServerTurn {
    pub(crate) driver: TurnDriver,
    /// The registration of the turn on its server.
    pub(crate) turn_guard: TurnGuard,
    pub(crate) subscription: Subscription,
    pub(crate) session: SessionId,
    pub(crate) protocol: Box<dyn TurnProtocol>,
    pub(crate) policy: PermissionPolicy,
    /// The lease of the route to the model source, if the gateway carries the turn's requests.
    pub(crate) route_lease: Option<RouteLease>,
    pub(crate) redaction: Redaction,
    pub(crate) extensions: ExtensionWatch,
}

/// A turn without any process left, whose last signals have not been delivered.
pub(crate) struct FinishedTurn {
    send_queue: SendQueue,
    signals: mpsc::Sender<Signal>,
    unconfirmed: Option<UnconfirmedInterrupt>,
}

impl FinishedTurn {
    /// Returns the interrupt that the server has not confirmed, if the server stays alive because of its other turns.
    pub(crate) fn take_unconfirmed(&mut self) -> Option<UnconfirmedInterrupt> {
        self.unconfirmed.take()
    }

    /// Delivers the last signals to the consumer.
    pub(crate) async fn deliver_end(mut self) {
        while self.send_queue.has_pending() {
            self.send_queue.flush(&self.signals).await;
        }
    }
}

/// The end of a turn, as reported by its state machine.
enum End {
    Finished(Ending),
    Failed { error: ClientError, reported: Option<TurnFailure> },
}

struct Shell {
    protocol: Box<dyn TurnProtocol>,
    server: Arc<Server>,
    session: SessionId,
    subscription: Subscription,
    policy: PermissionPolicy,
    route_lease: Option<RouteLease>,
    send_queue: SendQueue,
    extensions: ExtensionWatch,
    /// The requests other than prompts, and the decisions.
    requests: JoinSet<Input>,
    /// The tasks that forward the answers to prompts. They are apart from the other requests because polling a request
    /// on every event is expensive.
    prompts: Vec<AbortOnDropHandle<()>>,
    /// The armed timers, at most one of each kind.
    timers: Vec<(Timer, Instant)>,
    end: Option<End>,
    /// The request to end the server, if any: `true` if the turn was killed.
    server_end: Option<bool>,
    /// Whether the turn ends although the server has not confirmed its interrupt.
    is_unconfirmed: bool,
}

impl ServerTurn {
    /// Runs the turn until no process of it is left.
    pub(crate) async fn run(self) -> FinishedTurn {
        let Self { driver, turn_guard, subscription, session, protocol, policy, .. } = self;
        let Self { route_lease, redaction, extensions, .. } = self;
        let TurnDriver { signals, controls } = driver;
        let server = Arc::clone(turn_guard.server());
        let forwarding = subscription.mailbox.forward(controls, server.exit_watch());
        let _forwarding = AbortOnDropHandle::new(tokio::spawn(forwarding));
        let mut shell = Shell {
            protocol,
            server,
            session,
            subscription,
            policy,
            route_lease,
            send_queue: SendQueue::new(redaction),
            extensions,
            requests: JoinSet::new(),
            prompts: Vec::new(),
            timers: Vec::new(),
            end: None,
            server_end: None,
            is_unconfirmed: false,
        };
        shell.send_queue.push(Signal::Session(shell.session.clone()));
        shell.step(Input::Start);
        let end = loop {
            if let Some(is_killed) = shell.server_end.take() {
                if !is_killed && shell.server.has_several_turns() {
                    shell.is_unconfirmed = true;
                } else {
                    // The server's other turns end too, each with its own failure.
                    shell.server.end().await;
                }
            }
            if let Some(end) = shell.end.take() {
                break end;
            }
            let next = shell.timers.iter().map(|(_, at)| *at).min();
            let waiting = shell.send_queue.has_pending();
            let takes_events = match shell.protocol.intake() {
                Intake::Closed => false,
                Intake::Paced => !waiting,
                Intake::Unpaced => true,
            };
            tokio::select! {
                biased;
                () = until(next) => shell.fire(),
                Some(done) = shell.requests.join_next() => {
                    if let Ok(input) = done {
                        shell.step(input);
                    }
                }
                receive = shell.subscription.mailbox.receive(takes_events) => {
                    shell.receive(receive);
                    shell.send_queue.flush_ready(&signals);
                }
                () = shell.send_queue.flush(&signals), if waiting => {
                    if shell.send_queue.is_closed() {
                        shell.step(Input::Control(None));
                    }
                }
                () = model_route::progressed(&mut shell.route_lease), if !waiting => shell.send_queue.push(Signal::Progress),
                warning = shell.extensions.next() => shell.send_queue.push(warning),
            }
        };
        let unconfirmed = shell.is_unconfirmed.then(|| UnconfirmedInterrupt {
            server: Arc::downgrade(&shell.server),
            session: shell.session.clone(),
            request: shell.protocol.interrupt_request(),
            turn: turn_guard.turn().clone(),
        });
        let send_queue = shell.finish(end, turn_guard).await;
        FinishedTurn { send_queue, signals, unconfirmed }
    }
}

impl Shell {
    fn step(&mut self, input: Input) {
        let now = Now { instant: Instant::now(), system: SystemTime::now() };
        // Most events have one action. A buffer that the turn keeps would leave the processor's caches if there are
        // many turns.
        let mut actions = Actions::with_capacity(1);
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
            Incoming::Item(item) => self.step(input_of(item)),
            Incoming::Answer(answer) => self.step(Input::Answer(Tag::Prompt, answer)),
            Incoming::Exit(how) => self.step(Input::ServerExited(how)),
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
            Action::CancelRequests => self.requests = JoinSet::new(),
            Action::TakeQueued => {
                let queued = self.subscription.mailbox.drain();
                self.step(Input::Queued(queued.into_iter().map(|item| input_of(Some(item))).collect()));
            }
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
            Action::EndServer { is_killed } => self.server_end = Some(is_killed),
            Action::Fail { error, reported } => self.end = Some(End::Failed { error, reported }),
            Action::Finish(ending) => self.end = Some(End::Finished(ending)),
        }
    }

    fn request(&mut self, tag: Tag, request: Request) {
        let client = self.server.client.clone();
        let answer = async move {
            if request.is_retried { retry(|| client.send(request.clone())).await } else { client.send(request).await }
        };
        match tag {
            // The turn may be over before it is answered.
            Tag::CleanUp => drop(tokio::spawn(answer)),
            Tag::Prompt => {
                let sender = self.subscription.mailbox.answer_sender();
                let sending = tokio::spawn(async move { sender.send(answer.await) });
                self.prompts.push(AbortOnDropHandle::new(sending));
            }
            tag => drop(self.requests.spawn(async move {
                let answer = answer.await;
                Input::Answer(tag, answer)
            })),
        }
    }

    /// Determines the ending, and kills the processes that the turn left.
    async fn finish(mut self, end: End, turn_guard: TurnGuard) -> SendQueue {
        self.requests.abort_all();
        self.prompts.clear();
        let ending = match end {
            End::Finished(ending) => ending,
            End::Failed { error, reported } => {
                Ending::Failed(match (self.server.failure(error, &self.session).await, reported) {
                    (TurnFailure::Opencode { .. }, Some(reported)) => reported,
                    (failure, _) => failure,
                })
            }
        };
        let ending = match &self.route_lease {
            Some(route_lease) => route_lease.conclude(ending),
            None => ending,
        };
        let mut traffic = self.route_lease.as_ref().map(RouteLease::traffic);
        let has_background = self.protocol.last_request().is_some();
        if has_background {
            // Released before the processes are killed: their end may start an execution, whose requests the gateway
            // then refuses.
            self.route_lease = None;
        }
        for warning in self.extensions.finish(ending == Ending::Stopped).await {
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
            tokio::time::timeout(LAST_REQUEST_TIMEOUT, self.server.client.send(request)).await.ok();
        }
    }
}

/// Returns the input for an item of the stream; `None` when its sender is gone.
fn input_of(item: Option<StreamItem>) -> Input {
    match item {
        Some(StreamItem::Event(event)) => Input::Event(event),
        Some(StreamItem::Disconnected) | None => Input::Disconnected,
        Some(StreamItem::Reconnected { dropped }) => {
            if dropped > 0 {
                tracing::warn!(dropped, "slow consumer: dropped events are read from the session");
            }
            Input::Reconnected
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
