//! The shell around a turn that is a state machine: it carries out what the turn wants done, and knows nothing of a generation.

use super::asks::{decide, retry};
use super::{Over, until};
use crate::gate::{self, Pass};
use crate::outbox::Outbox;
use crate::protocol::ClientError;
use crate::protocol::turn::{Action, Input, Now, Request, Tag, Timer, TurnProtocol};
use crate::redaction::Redaction;
use crate::serve::hub::Listening;
use crate::serve::lane::{LaneItem, News};
use crate::serve::server::{Presence, Server};
use opencode_run_core::{Ending, PermissionPolicy, SessionId, Signal, TurnDriver, TurnFailure};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long the server is watched for an execution that it starts because a process which it ran in the background has ended: it
/// starts within some 50 ms on an idle machine.
const BACKGROUND_NOTICE: Duration = Duration::from_millis(300);
/// How often such an execution is interrupted meanwhile.
const BACKGROUND_INTERVAL: Duration = Duration::from_millis(50);
/// How long a last request may take.
const LAST_REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// A turn to be run.
pub(crate) struct ProtocolTurn {
    pub(crate) driver: TurnDriver,
    /// The turn's presence on its server.
    pub(crate) presence: Presence,
    pub(crate) listening: Listening,
    pub(crate) session: SessionId,
    pub(crate) protocol: Box<dyn TurnProtocol>,
    pub(crate) send: RequestSender,
    pub(crate) policy: PermissionPolicy,
    /// The turn's lease of its model source, if its traffic is metered.
    pub(crate) pass: Option<Pass>,
    pub(crate) redaction: Redaction,
}

/// Sends the requests of turns.
pub(crate) type RequestSender =
    Arc<dyn Fn(Request) -> futures_util::future::BoxFuture<'static, Result<String, ClientError>> + Send + Sync>;

/// How a turn ended for its state machine.
enum End {
    Finished(Ending),
    Failed(ClientError),
}

struct Shell {
    protocol: Box<dyn TurnProtocol>,
    server: Arc<Server>,
    send: RequestSender,
    session: SessionId,
    listening: Listening,
    policy: PermissionPolicy,
    pass: Option<Pass>,
    outbox: Outbox,
    requests: JoinSet<Input>,
    /// The timers that are set; one of each kind.
    timers: Vec<(Timer, Instant)>,
    end: Option<End>,
    must_end_server: bool,
}

impl ProtocolTurn {
    /// Returns the presence of the turn on its server.
    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Runs the turn until nothing of it is left.
    pub(crate) async fn run(self) -> Over {
        let Self { driver, presence, listening, session, protocol, send, policy, pass, redaction } = self;
        let TurnDriver { signals, controls } = driver;
        let _controls = AbortOnDropHandle::new(tokio::spawn(listening.lane.bring(controls)));
        let server = Arc::clone(presence.server());
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
            listening,
            policy,
            pass,
            outbox: Outbox::new(redaction),
            requests: JoinSet::new(),
            timers: Vec::new(),
            end: None,
            must_end_server: false,
        };
        shell.outbox.push(Signal::Session(shell.session.clone()));
        shell.step(Input::Start);
        let mut has_exited = false;
        let end = loop {
            if std::mem::take(&mut shell.must_end_server) {
                // Its other turns end as well, each with a failure of its own kind.
                shell.server.end().await;
            }
            if let Some(end) = shell.end.take() {
                break end;
            }
            let next = shell.timers.iter().map(|(_, at)| *at).min();
            let waiting = shell.outbox.is_waiting();
            let takes_events = !waiting && shell.protocol.takes_events();
            tokio::select! {
                biased;
                () = until(next) => shell.fire(),
                () = shell.outbox.hand_out(&signals), if waiting => {
                    if shell.outbox.consumer_is_gone() {
                        shell.step(Input::Control(None));
                    }
                }
                Some(done) = shell.requests.join_next() => {
                    if let Ok(input) = done {
                        shell.step(input);
                    }
                }
                news = shell.listening.lane.news(takes_events) => {
                    shell.news(news);
                    shell.outbox.hand_out_now(&signals);
                }
                how = &mut exit, if !has_exited => {
                    has_exited = true;
                    shell.step(Input::ServerExited(how));
                }
                () = gate::moved(&mut shell.pass), if !waiting => shell.outbox.push(Signal::Progress),
            }
        };
        let outbox = shell.finish(end, presence).await;
        Over { outbox, signals }
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

    fn news(&mut self, news: News) {
        match news {
            News::Control(control) => {
                if control.is_none() {
                    self.outbox.lose_consumer();
                }
                self.step(Input::Control(control));
            }
            News::Item(Some(LaneItem::Event(event))) => self.step(Input::Event(event)),
            News::Item(Some(LaneItem::Torn) | None) => self.step(Input::Disconnected),
            News::Item(Some(LaneItem::Mended { dropped })) => {
                if dropped > 0 {
                    tracing::warn!(
                        dropped,
                        "the turn's consumer is slow: events were dropped, and are read from the session"
                    );
                }
                self.step(Input::Reconnected);
            }
            News::Answer(_) => {}
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
            Action::Emit(signal) => self.outbox.push(signal),
            Action::Request(tag, request) => self.request(tag, request),
            Action::Decide { mut ask, session, insists } => {
                self.outbox.redaction().ask(&mut ask);
                let policy = self.policy.clone();
                self.requests.spawn(async move {
                    let answer = decide(policy, ask.clone(), insists).await;
                    Input::Decided { ask, session, answer }
                });
            }
            Action::Include(sub_agent) => {
                if let Some(pass) = &mut self.pass {
                    pass.include(&sub_agent);
                }
                self.server.hub.adopt(sub_agent, &self.session);
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

    /// Ends what the turn left at work.
    async fn finish(mut self, end: End, presence: Presence) -> Outbox {
        self.requests.abort_all();
        let (ending, was_stopped) = match end {
            End::Finished(ending) => (ending.clone(), ending == Ending::Stopped),
            End::Failed(error) => (Ending::Failed(self.server.failure(error, &self.session).await), false),
        };
        let limit = self.pass.as_ref().and_then(Pass::limit_reached).filter(|_| !was_stopped);
        let ending = match (ending, limit, &self.pass) {
            // opencode reports a refused request as a failure of the provider.
            (_, Some(failure), _) => Ending::Failed(failure),
            (Ending::Failed(failure), None, Some(pass)) if !matches!(failure, TurnFailure::Permission { .. }) => {
                Ending::Failed(pass.explain(failure))
            }
            (ending, ..) => ending,
        };
        let mut traffic = self.pass.as_ref().map(Pass::traffic);
        let has_background = self.protocol.last_request().is_some();
        if has_background {
            // Ended before the processes: the gateway refuses what an execution that their end starts asks the model.
            self.pass = None;
        }
        presence.end().await;
        if has_background {
            self.interrupt_background().await;
        }
        if let Some(pass) = &self.pass {
            traffic = Some(pass.traffic());
        }
        if let Some(traffic) = traffic {
            self.outbox.push(Signal::Traffic(traffic));
        }
        self.outbox.push(Signal::Ended(ending));
        self.outbox
    }

    /// Interrupts executions that the server starts because processes in the background have ended.
    async fn interrupt_background(&mut self) {
        let began = Instant::now();
        while began.elapsed() < BACKGROUND_NOTICE {
            tokio::time::sleep(BACKGROUND_INTERVAL).await;
            let Some(request) = self.protocol.last_request() else { return };
            tokio::time::timeout(LAST_REQUEST_LIMIT, (self.send)(request)).await.ok();
        }
    }
}
