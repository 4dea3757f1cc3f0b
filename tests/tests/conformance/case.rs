//! A conformance case, and how it is played.

use crate::second;
use crate::stage::{LIMIT, Opencode, Stage, Transport};
use crate::story;
use crate::versions::{Deviation, Order, Way};
use opencode_run_core::{
    Conversation, Event, EventItem, Events, Limits, ModelChoice, Prompt, RunError, SessionId, Task, TurnEvent,
    TurnRecord, TurnRunner,
};
use opencode_run_scripted_model::ScriptedModel;
use opencode_run_tests::recording::Recording;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_recording::ServeRecording;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The version whose recordings are played.
const VERSION: &str = "1.18.33";
/// The delay of an action on the real opencode, which by then works on the next step.
const WELL_AT_WORK: Duration = Duration::from_millis(1500);

/// The action on a running turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// No action: it ends by itself.
    Wait,
    Interrupt,
    Kill,
    /// The runner is dropped.
    Drop,
    /// No action: the turn takes too long.
    TimeOut,
    /// No action: there is no progress for too long.
    Starve,
}

impl Deed {
    /// Returns whether the test performs an action.
    fn is_done(self) -> bool {
        matches!(self, Self::Interrupt | Self::Kill | Self::Drop)
    }

    /// Returns the limits of a turn with this end.
    fn limits(self, opencode: Opencode) -> Limits {
        let patience = Some(patience(opencode));
        match self {
            Self::TimeOut => Limits { total: patience, idle: None },
            Self::Starve => Limits { total: Some(LIMIT), idle: patience },
            Self::Wait | Self::Interrupt | Self::Kill | Self::Drop => Limits { total: Some(LIMIT), idle: None },
        }
    }
}

/// Returns the time until a limit is reached: on the real opencode, after the turn is well under way.
fn patience(opencode: Opencode) -> Duration {
    match opencode {
        Opencode::Fake | Opencode::Fake2 => Duration::from_secs(2),
        Opencode::Real => Duration::from_secs(15),
        // It starts in less than a second.
        Opencode::Real2 => Duration::from_secs(8),
    }
}

/// One case: a recording, the prompt and the action, with a builder.
pub(crate) struct Case {
    name: &'static str,
    run: Vec<&'static str>,
    messages: Vec<&'static str>,
    prompt: fn(Prompt, &Stage) -> Prompt,
    deed: Deed,
    /// The event after which the action is performed.
    when: fn(&Event) -> bool,
    session: Option<&'static str>,
    /// `run` ends because of its stderr.
    is_warned: bool,
    /// The reason why the two transports differ in this case.
    differs: Option<&'static str>,
    /// A further check of the stage at the end.
    check: fn(&Stage),
}

impl Case {
    /// Returns the case of this recording.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            run: vec![name],
            messages: vec!["Please do it."],
            prompt: |prompt, _| prompt,
            deed: Deed::Wait,
            when: |_| false,
            session: None,
            is_warned: false,
            differs: None,
            check: |_| {},
        }
    }

    /// Sets the names of the recordings of `run`, one per turn, if they differ.
    pub(crate) fn run_recordings(mut self, run: &[&'static str]) -> Self {
        self.run = run.to_vec();
        self
    }

    pub(crate) fn messages(mut self, messages: &[&'static str]) -> Self {
        self.messages = messages.to_vec();
        self
    }

    pub(crate) fn prompt(mut self, prompt: fn(Prompt, &Stage) -> Prompt) -> Self {
        self.prompt = prompt;
        self
    }

    /// Ends the turn by a limit.
    pub(crate) fn limited(mut self, deed: Deed) -> Self {
        self.deed = deed;
        self
    }

    /// Ends the turn by an action after this event.
    pub(crate) fn ended_by(mut self, deed: Deed, when: fn(&Event) -> bool) -> Self {
        (self.deed, self.when) = (deed, when);
        self
    }

    pub(crate) fn session(mut self, session: &'static str) -> Self {
        self.session = Some(session);
        self
    }

    /// Makes `run` end for a line on stderr, before any output.
    pub(crate) fn warned(mut self) -> Self {
        self.is_warned = true;
        self
    }

    pub(crate) fn differs(mut self, why: &'static str) -> Self {
        self.differs = Some(why);
        self
    }

    pub(crate) fn check(mut self, check: fn(&Stage)) -> Self {
        self.check = check;
        self
    }

    fn is_cut_short(&self) -> bool {
        self.deed != Deed::Wait
    }

    /// Returns a fake that replays the real opencode.
    fn fake(&self) -> Stage {
        let runs = self.run.iter().map(|name| {
            let recording = format!("{VERSION}/{name}");
            if self.is_warned {
                let text = Recording::named(&recording).unwrap().stderr;
                vec![Act::Stderr { text }, Act::Stall {}]
            } else if self.is_cut_short() {
                let emit = Act::EmitRecording { recording, from: 0, to: None, line_pause_ms: 0 };
                vec![emit, Act::Stall {}]
            } else {
                vec![Act::Replay { recording }]
            }
        });
        let serving = Serving::doing([TurnAct::replay(&format!("{VERSION}/{}", self.name))]);
        Stage::fake(runs.collect::<Vec<_>>(), serving)
    }

    /// Returns a fake server that replays a real opencode 2.
    fn serving2(&self) -> Serving {
        let recording = second::recording(self.name).unwrap();
        Serving::doing([TurnAct::replay(&format!("v2/{recording}"))])
    }

    fn stage(&self, opencode: Opencode) -> Stage {
        let recording = ServeRecording::named(&format!("{VERSION}/{}", self.name)).unwrap();
        let stage = match opencode {
            Opencode::Real => Stage::real(&recording.about["rules"], &recording.about["config"]),
            Opencode::Real2 => Stage::real2(&recording.about["rules"], &recording.about["config"]),
            Opencode::Fake => self.fake(),
            Opencode::Fake2 => Stage::fake2(vec![self.serving2().act()]),
        };
        for (name, text) in recording.about["files"].as_object().into_iter().flatten() {
            std::fs::write(stage.sandbox.workspace().join(name), text.as_str().unwrap()).unwrap();
        }
        stage
    }

    /// Plays the case, and compares the result with the snapshot that all stages and transports share.
    pub(crate) fn play(&self, name: &str, opencode: Opencode, transport: Transport) {
        if opencode.is_second()
            && let Some(why) = second::skipped(name)
        {
            return skip(why);
        }
        if opencode == Opencode::Fake2 && second::recording(self.name).is_none() {
            return skip("there is no recording of opencode 2");
        }
        let mut stage = self.stage(opencode);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let deviation = match opencode {
                Opencode::Fake | Opencode::Fake2 | Opencode::Real2 => None,
                Opencode::Real => Deviation::of(stage.version().await, transport, name),
            };
            if let Some(Deviation { way: Way::Skip, why, .. }) = deviation {
                return skip(why);
            }
            let asks = deviation.map(|deviation| deviation.asks).unwrap_or_default();
            let told = self.turns(&mut stage, opencode, transport, asks).await;
            if deviation.is_some_and(|deviation| deviation.way == Way::Refuse) {
                assert!(told.starts_with("=> not started, ") && told.contains("not supported"), "{told}");
                assert!(stage.model.as_ref().is_none_or(|model| model.requests().is_empty()));
                return stage.end().await;
            }
            (self.check)(&stage);
            stage.end().await;
            if self.deed != Deed::Drop {
                let second = if opencode.is_second() { second::difference(name) } else { None };
                self.assert_story(name, transport, deviation, second, &told);
            }
        });
    }

    fn assert_story(
        &self,
        name: &str,
        transport: Transport,
        deviation: Option<&Deviation>,
        second: Option<&str>,
        told: &str,
    ) {
        let alone = self.differs.is_some() && transport == Transport::Serve;
        let (name, why) = match deviation {
            _ if second.is_some() => (format!("{name}@v2"), second),
            Some(deviation) => (deviation.snapshot(name), Some(deviation.why.as_str())),
            None if alone => (format!("{name}@serve"), self.differs),
            None => (name.to_owned(), self.differs),
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        if let Some(why) = why {
            settings.set_description(why);
        }
        settings.bind(|| insta::assert_snapshot!(name, told));
    }

    /// Runs all turns; returns the story of the last.
    async fn turns(&self, stage: &mut Stage, opencode: Opencode, transport: Transport, asks: Order) -> String {
        let executor = stage.executor(transport).await;
        let mut conversation = Conversation::new(Task::new("task", stage.sandbox.workspace()));
        conversation.session = self.session.map(SessionId::new);
        let runner = Arc::new(TurnRunner::with_conversation(executor, conversation));
        let mut told = String::new();
        for message in &self.messages {
            let mut prompt = Prompt::new(*message).title("recorded");
            prompt.options.set_limits(self.deed.limits(opencode));
            prompt = (self.prompt)(prompt, stage);
            if prompt.options.model.is_none() {
                prompt = prompt.model(ModelChoice::Named("stub/gpt-4".parse().unwrap()));
            }
            told = match runner.start(prompt, SystemTime::now()).await {
                Ok(_) => self.turn(Arc::clone(&runner), opencode, transport, asks).await,
                Err(RunError::Start(error)) => format!("=> not started, {}: {error}\n", error.kind),
                Err(error) => panic!("{error}"),
            };
            if self.deed == Deed::Drop {
                drop(runner);
                break;
            }
        }
        // On the real opencode names and times differ.
        let root = stage.sandbox.root().to_string_lossy().into_owned();
        let told = told.replace(&root, "{{root}}");
        let told = match stage.model.as_ref().map(ScriptedModel::base_url) {
            Some(url) => told.replace(&url, "http://127.0.0.1:41000/v1"),
            None => told,
        };
        let told = without_moments(&told.replace(&format!(" {:?}", patience(opencode)), " {{limit}}"));
        // The number of words before an interrupt depends on timing.
        told.replace("word ", "").replace("\"\"", "\"word …\"")
    }

    async fn turn(&self, runner: Arc<TurnRunner>, opencode: Opencode, transport: Transport, asks: Order) -> String {
        let mut events = runner.lossless_events().with_unknown();
        let mut seen = Vec::new();
        if self.deed.is_done() {
            let when = self.when;
            take(&mut events, &mut seen, |event| when(&event.observed.event)).await;
            if ![Opencode::Fake, Opencode::Fake2].contains(&opencode) {
                tokio::time::sleep(WELL_AT_WORK).await;
            }
            match self.deed {
                Deed::Interrupt => assert!(runner.interrupt()),
                Deed::Kill => assert!(runner.kill()),
                Deed::Wait | Deed::Drop | Deed::TimeOut | Deed::Starve => {}
            }
            if self.deed == Deed::Drop {
                return String::new();
            }
        }
        take(&mut events, &mut seen, |_| false).await;
        let record: Arc<TurnRecord> = tokio::time::timeout(LIMIT, runner.wait()).await.unwrap().unwrap();
        story::assert_deltas_add_up(&seen);
        story::events(transport, asks, &seen) + &story::record(&record)
    }
}

/// Removes the times from messages of limits about the last event.
fn without_moments(told: &str) -> String {
    let is_moment = |moment: &str| moment.strip_suffix(" s").is_some_and(|seconds| seconds.parse::<f64>().is_ok());
    let lines = told.lines().map(|line| match line.rsplit_once(" after ") {
        Some((before, moment)) if is_moment(moment) => before.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    });
    lines.collect()
}

#[expect(clippy::print_stderr, reason = "a skipped test is reported")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Takes events until the last wanted one, or the end of the turn.
async fn take(events: &mut Events, into: &mut Vec<Arc<TurnEvent>>, is_last: impl Fn(&TurnEvent) -> bool) {
    let read = async {
        while let Some(item) = events.next().await {
            let EventItem::Event(event) = item else { panic!("events were missed: {item:?}") };
            let last = is_last(&event);
            into.push(event);
            if last {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.unwrap();
}
