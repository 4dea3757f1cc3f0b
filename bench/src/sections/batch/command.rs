//! The command `opencode-run batch`.

use crate::processes::sample_until_exit;
use crate::stage::Stage;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::Sandbox;
use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The timeout of a batch.
const LIMIT: Duration = Duration::from_mins(30);

/// Writes a tasks file.
pub(crate) fn tasks_file(
    sandbox: &Sandbox,
    tasks: usize,
    task: impl Fn(usize) -> String,
) -> Result<PathBuf, Box<dyn Error>> {
    let path = sandbox.path("tasks.jsonl");
    let mut file = BufWriter::new(std::fs::File::create(&path)?);
    for number in 0..tasks {
        writeln!(file, "{}", task(number))?;
    }
    file.flush()?;
    Ok(path)
}

/// A batch that is run as a program.
pub(crate) struct Batch {
    command: Command,
    results: PathBuf,
}

/// The figures of a batch that ended.
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// The peak memory of our own process in bytes.
    pub(crate) peak: u64,
}

impl Batch {
    pub(crate) fn new(programs: &Programs, sandbox: &Sandbox, opencode: &Path, tasks: &Path) -> Self {
        let mut command = Command::from(sandbox.command(&programs.opencode_run));
        command.arg("batch").arg(tasks).arg("--opencode").arg(opencode);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Self { command, results: sandbox.path("results") }
    }

    /// Uses the model of the stage as a model source, and a lean opencode.
    pub(crate) fn source(mut self, stage: &Stage) -> Result<Self, Box<dyn Error>> {
        let file = stage.sandbox.path("models.env");
        let url = stage.model.base_url();
        let lines = ["BASEURL", "MODEL", "APIKEY"].into_iter().zip([url.as_str(), "gpt-4", "sk-stub"]);
        let lines = lines.map(|(key, value)| format!("MODEL_DEFAULT_{key}={value}\n"));
        std::fs::write(&file, lines.collect::<Vec<_>>().concat())?;
        self.command.arg("--lean").arg("--config").arg(file);
        Ok(self)
    }

    pub(crate) fn jobs(mut self, jobs: usize) -> Self {
        self.command.arg("--jobs").arg(jobs.to_string());
        self
    }

    /// Runs it to its end. All tasks have to pass.
    pub(crate) async fn run(mut self, round: usize) -> Result<Ran, Box<dyn Error>> {
        self.command.arg("--results").arg(self.results.join(format!("{round}.jsonl")));
        std::fs::create_dir_all(&self.results)?;
        let began = Instant::now();
        let mut child = self.command.spawn()?;
        let sampling = sample_until_exit(child.id().ok_or("the batch has already ended")?);
        let status = tokio::time::timeout(LIMIT, child.wait()).await??;
        let took = began.elapsed();
        let taken = sampling.join().map_err(|_| "the sampling thread panicked")?;
        if !status.success() {
            return Err(format!("the batch failed: {status}").into());
        }
        Ok(Ran { took, peak: taken.peak })
    }

    /// Starts it, and ends it when its first task has started. The time is that until then.
    pub(crate) async fn until_first_task(mut self) -> Result<Ran, Box<dyn Error>> {
        let results = self.results.join("first.jsonl");
        self.command.arg("--results").arg(&results);
        std::fs::create_dir_all(&self.results)?;
        let folder = self.results.join("first.jsonl.d").join("tasks");
        let began = Instant::now();
        let mut child = self.command.spawn()?;
        let pid = child.id().ok_or("the batch has already ended")?;
        let sampling = sample_until_exit(pid);
        while !folder.exists() {
            if began.elapsed() > LIMIT || child.try_wait()?.is_some() {
                return Err("no task was started".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = began.elapsed();
        // The first signal lets the task finish.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(pid)?) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        tokio::time::timeout(LIMIT, child.wait()).await??;
        let taken = sampling.join().map_err(|_| "the sampling thread panicked")?;
        Ok(Ran { took, peak: taken.peak })
    }
}
