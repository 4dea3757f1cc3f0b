//! Runs a program for its output, and leaves none of its processes behind.

use crate::child::start_child;
use crate::tree::ProcessTree;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::oneshot;

/// The maximum size of the output that is read, in bytes: the wanted part is short or at the start.
pub const MAX_OUTPUT_BYTES: u64 = 4 << 20;
/// The maximum time for which the pipes may stay open after all found processes were killed, until the next scan.
const KILL_INTERVAL: Duration = Duration::from_millis(50);

/// The output of a program.
#[derive(Debug)]
#[non_exhaustive]
pub struct QueryOutput {
    /// The exit status; `None` if the output exceeded [`MAX_OUTPUT_BYTES`], and the program was killed for that.
    pub status: Option<ExitStatus>,
    /// The first bytes of the program's standard output, up to [`MAX_OUTPUT_BYTES`].
    pub stdout: Vec<u8>,
    /// The first bytes of the program's standard error, up to [`MAX_OUTPUT_BYTES`].
    pub stderr: Vec<u8>,
}

/// Runs a command to its end. `tree_of` returns the process tree of a process id.
///
/// Leaves no process of the command in any case, even if the future is dropped.
///
/// # Errors
///
/// If it cannot be started, or does not exit within the limit.
pub async fn query(
    mut command: Command,
    tree_of: impl FnOnce(u32) -> ProcessTree,
    limit: Duration,
) -> io::Result<QueryOutput> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start_child(|| command.spawn())?;
    let mut tree = tree_of(child.id().unwrap_or_default());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("it has no output"));
    };
    let query = async {
        let (full, filled) = oneshot::channel();
        let reading = async { tokio::join!(read(stdout, Some(full)), read(stderr, None)) };
        let ending = async {
            tokio::select! {
                status = child.wait() => status.map(Some),
                Ok(()) = filled => Ok(None),
            }
        };
        tokio::pin!(reading, ending);
        let mut outputs = None;
        let status = loop {
            tokio::select! {
                status = &mut ending => break status?,
                read = &mut reading, if outputs.is_none() => outputs = Some(read),
            }
        };
        let (stdout, stderr) = loop {
            // A process that it left may hold the pipes open: as long as they are open, there is a process to kill.
            tree.kill_all().await;
            match outputs {
                Some(outputs) => break outputs,
                None => outputs = tokio::time::timeout(KILL_INTERVAL, &mut reading).await.ok(),
            }
        };
        Ok(QueryOutput { status, stdout, stderr })
    };
    let query = tokio::time::timeout(limit, query).await;
    tree.kill_all().await;
    query.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"))))
}

/// Reads the first [`MAX_OUTPUT_BYTES`] of an output, reports if there are more, and discards the rest.
async fn read(mut output: impl AsyncRead + Unpin, full: Option<oneshot::Sender<()>>) -> Vec<u8> {
    let mut text = Vec::new();
    // A broken pipe ends the text.
    (&mut output).take(MAX_OUTPUT_BYTES).read_to_end(&mut text).await.ok();
    if text.len() as u64 == MAX_OUTPUT_BYTES
        && let Some(full) = full
    {
        // The receiver is gone if the program has exited.
        full.send(()).ok();
    }
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await.ok();
    text
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::environment_tag::EnvironmentTag;
    use std::time::Instant;

    async fn query_shell(script: &str, limit: Duration) -> io::Result<QueryOutput> {
        let tag = EnvironmentTag::new();
        let mut command = Command::new("sh");
        command.args(["-c", script]).env(EnvironmentTag::VARIABLE, tag.nested_in(None));
        query(command, |id| ProcessTree::new(tag, id), limit).await
    }

    #[tokio::test]
    async fn leftover_process_delays_nothing() {
        let began = Instant::now();
        let query =
            query_shell("setsid sleep 60 & echo out; echo err >&2; exit 3", Duration::from_secs(30)).await.unwrap();
        assert_eq!((query.stdout.as_slice(), query.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(query.status.unwrap().code(), Some(3));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn excessive_output_is_cut() {
        let query = query_shell("yes", Duration::from_secs(30)).await.unwrap();
        assert!(query.status.is_none());
        assert_eq!(query.stdout.len() as u64, MAX_OUTPUT_BYTES);
    }

    #[tokio::test]
    async fn silent_program_is_killed() {
        let error = query_shell("sleep 60", Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
    }
}
