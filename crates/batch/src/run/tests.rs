use super::*;
use crate::ledger::{Ledger, read_lines};
use crate::run::Redo;
use crate::scheduler::Settings;
use async_trait::async_trait;
use opencode_runner::{FailureKind, Report, ReportError, RunState};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

/// Ends attempts as a function of the id and the attempt decides.
struct Fake {
    kind: fn(&str, u32) -> Option<FailureKind>,
    started: Mutex<Vec<(String, u32)>>,
    time: Duration,
}

#[async_trait]
impl AttemptRunner for Fake {
    async fn run(&self, attempt: Attempt, mut stop: watch::Receiver<Stop>) -> AttemptEnd {
        let id = attempt.task.id.clone();
        self.started.lock().unwrap().push((id.clone(), attempt.number));
        let is_stopped = tokio::select! {
            () = tokio::time::sleep(self.time) => false,
            _ = stop.wait_for(|stop| *stop != Stop::No) => true,
        };
        let failure = (self.kind)(&id, attempt.number).filter(|_| !is_stopped);
        let state = match failure {
            Some(_) => RunState::Error,
            None if is_stopped => RunState::Interrupted,
            None => RunState::Completed,
        };
        let mut report: Report = Report::without_turn(&id, state);
        report.error = failure.map(|kind| ReportError::new(kind, "no luck", None));
        report.cost = 0.1;
        let result = TaskResult::new(id, attempt.number, attempt.hash, jiff::Timestamp::now(), report);
        AttemptEnd { outcome: Outcome::Ended(result.standing()), result }
    }
}

fn settings() -> Settings {
    let delay = Duration::from_millis(10);
    Settings { retry_delay: delay, start_spread: Duration::ZERO, ..Settings::default() }
}

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(tasks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.jsonl"), tasks).unwrap();
        Self { folder }
    }

    fn results(&self) -> std::path::PathBuf {
        self.folder.path().join("r.jsonl")
    }

    async fn run(
        &self,
        fake: Fake,
        settings: Settings,
        redo: Redo,
        drive: impl AsyncFnOnce(mpsc::Sender<ControlMessage>),
    ) -> (Summary, Vec<(String, u32)>) {
        let tasks = TaskSet::load(&self.folder.path().join("t.jsonl"), &LoadOptions::default()).unwrap();
        let (ledger, history, _) = Ledger::open(&self.results()).unwrap();
        let plan = Plan::new(&tasks, history, settings, true, redo).unwrap();
        let fake = Arc::new(fake);
        let runner = Arc::clone(&fake);
        let batch = Batch::new(tasks, plan, ledger.writer().unwrap(), runner, BatchOptions::default());
        let (sender, controls) = mpsc::channel(4);
        let mut observe = |_: &Batch, _: BatchEvent<'_>| {};
        let (summary, ()) = tokio::join!(batch.run(None, controls, &mut observe), drive(sender));
        ledger.close();
        let started = std::mem::take(&mut *fake.started.lock().unwrap());
        (summary, started)
    }
}

fn tasks(count: u32) -> String {
    (0..count).map(|number| format!("{{\"id\":\"t{number}\",\"prompt\":\"m\"}}\n")).collect::<Vec<_>>().concat()
}

fn fake(kind: fn(&str, u32) -> Option<FailureKind>) -> Fake {
    Fake { kind, started: Mutex::default(), time: Duration::from_millis(5) }
}

fn lines(path: &Path) -> Vec<(String, u32)> {
    read_lines(path).unwrap().map(Result::unwrap).map(|result| (result.id, result.attempt)).collect()
}

async fn nothing(_: mpsc::Sender<ControlMessage>) {}

#[tokio::test]
async fn every_task_gets_its_lines() {
    let stage = Stage::new(&tasks(20));
    let kind = |id: &str, attempt| (id == "t3" && attempt < 3).then_some(FailureKind::ServerLost);
    let (summary, started) = stage.run(fake(kind), settings(), Redo::No, nothing).await;
    assert_eq!((summary.status.totals.passed, summary.status.totals.retries), (20, 2));
    assert_eq!(started.len(), 22);
    assert_eq!(lines(&stage.results()).iter().filter(|(id, _)| id == "t3").count(), 3);
    assert!(summary.error.is_none());
}

#[tokio::test]
async fn resume_runs_what_is_missing() {
    let stage = Stage::new(&tasks(5));
    let kind = |id: &str, _| match id {
        "t1" => Some(FailureKind::Provider),
        "t2" => Some(FailureKind::Timeout),
        _ => None,
    };
    let once = Settings { max_attempts: 1, ..settings() };
    stage.run(fake(kind), once.clone(), Redo::No, nothing).await;
    let (summary, started) = stage.run(fake(|_, _| None), once.clone(), Redo::No, nothing).await;
    assert_eq!(started, [("t1".to_owned(), 2)], "infrastructure is not done");
    assert_eq!((summary.status.totals.passed, summary.status.totals.failed), (4, 1));
    let (_, started) = stage.run(fake(|_, _| None), once.clone(), Redo::FailedAnd(HashSet::new()), nothing).await;
    assert_eq!(started, [("t2".to_owned(), 2)]);
    let text = tasks(5).replace("\"t4\",\"prompt\":\"m\"", "\"t4\",\"prompt\":\"other\"");
    std::fs::write(stage.folder.path().join("t.jsonl"), text).unwrap();
    let (_, started) = stage.run(fake(|_, _| None), once.clone(), Redo::No, nothing).await;
    assert_eq!(started, [("t4".to_owned(), 2)], "a changed task runs again");
    let (_, started) = stage.run(fake(|_, _| None), once, Redo::All, nothing).await;
    assert_eq!(started.len(), 5);
}

#[tokio::test]
async fn streamed_tasks_resume() {
    let stage = Stage::new("");
    let kind = |id: &str, _| (id == "t1").then_some(FailureKind::Provider);
    let once = Settings { max_attempts: 1, ..settings() };
    let stream = async |fake: Fake, lines: &str| {
        let (ledger, history, _) = Ledger::open(&stage.results()).unwrap();
        let tasks = TaskSet::streamed(&LoadOptions::default()).unwrap();
        let plan = Plan::new(&tasks, history, once.clone(), true, Redo::No).unwrap();
        let fake = Arc::new(fake);
        let batch = Batch::new(tasks, plan, ledger.writer().unwrap(), Arc::clone(&fake) as _, BatchOptions::default());
        let (sender, input) = mpsc::channel(100);
        for (number, line) in (1..).zip(lines.lines()) {
            sender.send(TaskLine { number, line: line.as_bytes().to_vec() }).await.unwrap();
        }
        drop(sender);
        let (_controls, controls) = mpsc::channel(1);
        let summary = batch.run(Some(input), controls, &mut |_, _| {}).await;
        ledger.close();
        let started = std::mem::take(&mut *fake.started.lock().unwrap());
        (summary, started)
    };
    let (_, started) = stream(fake(kind), &tasks(3)).await;
    assert_eq!(started.len(), 3);
    let more = format!("\u{feff}{}not a task\n{}", tasks(4), "{\"id\":\"t0\",\"prompt\":\"m\"}");
    let (summary, started) = stream(fake(|_, _| None), &more).await;
    assert_eq!(started, [("t1".to_owned(), 2), ("t3".to_owned(), 1)]);
    assert_eq!((summary.status.totals.passed, summary.status.totals.earlier, summary.rejected), (4, 2, 2));
    assert_eq!(lines(&stage.results()).len(), 5);
    // A file that is added to a running batch is resumed as well.
    std::fs::write(stage.folder.path().join("t.jsonl"), "{\"id\":\"x\",\"prompt\":\"m\"}").unwrap();
    let added = stage.folder.path().join("more.jsonl");
    std::fs::write(&added, tasks(5)).unwrap();
    let drive = async |controls: mpsc::Sender<ControlMessage>| {
        assert_eq!(ask(&controls, ControlRequest::Add { file: added }).await["tasks"], 6);
        let pipe = ControlRequest::Add { file: "/dev/null".into() };
        assert!(ask(&controls, pipe).await["error"].is_string());
    };
    let slow = Fake { time: Duration::from_millis(200), ..fake(|_, _| None) };
    let (_, started) = stage.run(slow, settings(), Redo::No, drive).await;
    assert_eq!(started, [("x".to_owned(), 1), ("t4".to_owned(), 1)]);
}

async fn ask(controls: &mpsc::Sender<ControlMessage>, request: ControlRequest) -> Value {
    let (answer, receiver) = tokio::sync::oneshot::channel();
    controls.send(ControlMessage { request, answer }).await.unwrap();
    receiver.await.unwrap()
}

#[tokio::test]
async fn controls_reach_the_batch() {
    let stage = Stage::new(&tasks(6));
    let added = stage.folder.path().join("more.jsonl");
    std::fs::write(&added, "{\"id\":\"x\",\"prompt\":\"m\"}").unwrap();
    let slow = Fake { time: Duration::from_millis(200), ..fake(|_, _| None) };
    let one = Settings { jobs: 1, ..settings() };
    let drive = async |controls: mpsc::Sender<ControlMessage>| {
        let paused = ask(&controls, ControlRequest::Pause).await;
        assert_eq!((&paused["paused"], &paused["holds"], &paused["stopped"]), (&json!(true), &json!([]), &json!(null)));
        assert_eq!(ask(&controls, ControlRequest::Cancel { id: "t5".into() }).await["cancelled"], 1);
        assert!(ask(&controls, ControlRequest::Cancel { id: "no".into() }).await["error"].is_string());
        assert_eq!(ask(&controls, ControlRequest::Add { file: added.clone() }).await["tasks"], 7);
        assert!(ask(&controls, ControlRequest::Add { file: added.clone() }).await["error"].is_string());
        assert_eq!(ask(&controls, ControlRequest::Jobs { jobs: 3 }).await["jobs"], 3);
        assert_eq!(ask(&controls, ControlRequest::Requeue { id: "t5".into() }).await["cancelled"], 0);
        assert_eq!(ask(&controls, ControlRequest::Resume).await["paused"], false);
    };
    let (summary, started) = stage.run(slow, one, Redo::No, drive).await;
    assert_eq!((summary.status.totals.passed, started.len()), (7, 7));
}

#[tokio::test]
async fn second_signal_interrupts() {
    let stage = Stage::new(&tasks(6));
    let slow = Fake { time: Duration::from_mins(1), ..fake(|_, _| None) };
    let drive = async |controls: mpsc::Sender<ControlMessage>| {
        ask(&controls, ControlRequest::Signal).await;
        ask(&controls, ControlRequest::Signal).await;
    };
    let (summary, _) = stage.run(slow, settings(), Redo::No, drive).await;
    assert_eq!(summary.status.stopped, Some(StopReason::Interrupted));
    assert!(summary.status.totals.interrupted > 0 && summary.status.totals.passed == 0);
    let (summary, _) = stage.run(fake(|_, _| None), settings(), Redo::No, nothing).await;
    assert_eq!(summary.status.totals.passed, 6, "interrupted tasks run again");
}

#[tokio::test]
async fn overwritten_tasks_file_ends_the_batch() {
    let stage = Stage::new(&tasks(3));
    let file = stage.folder.path().join("t.jsonl");
    let slow = Fake { time: Duration::from_millis(200), ..fake(|_, _| None) };
    let one = Settings { jobs: 1, ..settings() };
    let drive = async |controls: mpsc::Sender<ControlMessage>| {
        ask(&controls, ControlRequest::Status).await;
        // Other tasks at the same places.
        std::fs::write(&file, tasks(3).replace("t1", "x1")).unwrap();
    };
    let (summary, started) = stage.run(slow, one.clone(), Redo::No, drive).await;
    assert!(matches!(summary.error, Some(BatchFailure::Tasks(_))), "{:?}", summary.error);
    assert_eq!((summary.status.stopped, started.len()), (Some(StopReason::Failed), 1));
    assert_eq!(lines(&stage.results()), [("t0".to_owned(), 1)], "what ran is kept");
    let (summary, _) = stage.run(fake(|_, _| None), one, Redo::No, nothing).await;
    assert_eq!(summary.status.totals.passed, 3);
}

#[tokio::test]
async fn dropped_batch_closes_its_results() {
    let stage = Stage::new(&tasks(6));
    let tasks = TaskSet::load(&stage.folder.path().join("t.jsonl"), &LoadOptions::default()).unwrap();
    let (ledger, history, _) = Ledger::open(&stage.results()).unwrap();
    let plan = Plan::new(&tasks, history, settings(), true, Redo::No).unwrap();
    let slow = Fake { time: Duration::from_mins(1), ..fake(|_, _| None) };
    let batch = Batch::new(tasks, plan, ledger.writer().unwrap(), Arc::new(slow), BatchOptions::default());
    let (_sender, controls) = mpsc::channel(1);
    let mut observe = |_: &Batch, _: BatchEvent<'_>| {};
    let running = batch.run(None, controls, &mut observe);
    assert!(tokio::time::timeout(Duration::from_millis(50), running).await.is_err());
    // The attempts hold handles, and end only after this thread has returned to its runtime.
    ledger.close();
    assert!(Ledger::open(&stage.results()).is_ok(), "its lock is released");
}

#[cfg(unix)]
#[tokio::test]
async fn socket_is_private_and_removed() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new(&tasks(2));
    // On Linux, longer than the address of a socket.
    let deep = stage.folder.path().join("d".repeat(if cfg!(target_os = "linux") { 120 } else { 1 }));
    std::fs::create_dir(&deep).unwrap();
    let socket = deep.join("s.sock");
    let drive = async |controls: mpsc::Sender<ControlMessage>| {
        let serving = crate::run::serve(&socket, &deep, controls);
        let asking = async {
            while !socket.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let status = crate::run::request(&socket, &ControlRequest::Status).await.unwrap();
            assert_eq!(status["tasks"], 2);
            let refused = crate::run::request(&socket, &ControlRequest::Cancel { id: "no".into() }).await.unwrap_err();
            assert!(refused.to_string().contains("no task has the id"), "{refused}");
        };
        tokio::select! {
            _ = serving => panic!("it serves until it is dropped"),
            () = asking => {}
        }
    };
    let slow = Fake { time: Duration::from_millis(300), ..fake(|_, _| None) };
    stage.run(slow, settings(), Redo::No, drive).await;
    assert!(!socket.exists());
    let gone = crate::run::request(&socket, &ControlRequest::Status).await.unwrap_err();
    assert!(matches!(gone, crate::run::ControlError::NotRunning));
}
