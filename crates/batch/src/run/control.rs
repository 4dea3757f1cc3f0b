//! Control of a running batch, from this process or over a socket.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// The maximum size of a request in bytes.
const MAX_LEN: u64 = 1 << 20;
/// The maximum size of an answer in bytes: it names each running task.
const MAX_ANSWER_LEN: u64 = 64 << 20;

/// A request to a running batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ControlRequest {
    /// Report the figures.
    Status,
    /// Start no tasks until the batch is resumed.
    Pause,
    /// End a pause.
    Resume,
    /// Cancel a task.
    Cancel {
        /// The id of the task.
        id: String,
    },
    /// Run a finished task again.
    Requeue {
        /// The id of the task.
        id: String,
    },
    /// Change the maximum number of parallel tasks.
    Jobs {
        /// The maximum number of parallel tasks.
        jobs: usize,
    },
    /// Add the tasks of a file.
    Add {
        /// The tasks file.
        file: PathBuf,
    },
    /// Act like the next Ctrl-C: first finish the running tasks, then interrupt them, then kill them.
    Signal,
}

/// A request, and the channel for its answer.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a request and its answer")]
pub struct ControlMessage {
    /// The request of the user.
    pub request: ControlRequest,
    /// The sender of the answer: an object, with `error` if the request was refused.
    pub answer: oneshot::Sender<Value>,
}

/// A request that was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No batch listens.
    #[error("no batch with these results is running")]
    NotRunning,
    /// The socket cannot be used.
    #[error("the batch cannot be reached")]
    Io(#[from] io::Error),
    /// The batch refused the request.
    #[error("{0}")]
    Refused(String),
}

/// Passes the requests that arrive at a socket to a batch, until the future is dropped; then the socket is removed. Only this user can
/// connect.
///
/// # Errors
///
/// If the socket cannot be created.
#[cfg(unix)]
pub async fn serve(socket: &Path, private: &Path, controls: mpsc::Sender<ControlMessage>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Created in a directory that only this user can enter, and moved once no other user can connect to it.
    let made = private.join("socket");
    std::fs::remove_file(&made).ok();
    let (short, _folder) = short_path(&made)?;
    let listener = tokio::net::UnixListener::bind(short)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, socket)?;
    let _removed = Removed(socket.to_owned());
    loop {
        let (stream, _) = listener.accept().await?;
        let controls = controls.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, controls).await {
                tracing::debug!("a request to the batch failed: {error}");
            }
        });
    }
}

/// Passes no requests: this system has no such sockets.
///
/// # Errors
///
/// Always.
#[cfg(not(unix))]
pub async fn serve(_: &Path, _: &Path, _: mpsc::Sender<ControlMessage>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns a path of a socket that the system accepts, and the handle that the path needs. Socket addresses hold about
/// 100 bytes, and the results may be deep in the file system.
#[cfg(unix)]
fn short_path(path: &Path) -> io::Result<(PathBuf, Option<std::fs::File>)> {
    use std::os::fd::AsRawFd;
    const MAX_SOCKET_PATH: usize = 100;
    if cfg!(target_os = "linux")
        && path.as_os_str().len() > MAX_SOCKET_PATH
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
    {
        let folder = std::fs::File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        return Ok((short, Some(folder)));
    }
    Ok((path.to_owned(), None))
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[cfg(unix)]
async fn answer(mut stream: tokio::net::UnixStream, controls: mpsc::Sender<ControlMessage>) -> io::Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read).take(MAX_LEN).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Err(error) => json!({"error": format!("not a request: {error}")}),
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            // A batch that has ended does not answer.
            controls.send(ControlMessage { request, answer: sender }).await.ok();
            receiver.await.unwrap_or_else(|_| json!({"error": "the batch has ended"}))
        }
    };
    write.write_all(format!("{answer}\n").as_bytes()).await
}

/// Sends a request to a running batch and returns its answer.
///
/// # Errors
///
/// If no batch is listening, or the batch refuses the request.
#[cfg(unix)]
pub async fn request(socket: &Path, request: &ControlRequest) -> Result<Value, ControlError> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let connecting = async {
        let (short, _folder) = short_path(socket)?;
        tokio::net::UnixStream::connect(short).await
    };
    let mut stream = match connecting.await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ControlError::NotRunning);
        }
        Err(error) => return Err(error.into()),
    };
    let text = serde_json::to_string(request).map_err(io::Error::other)?;
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).take(MAX_ANSWER_LEN).read_line(&mut line).await?;
    let answer: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(ControlError::Refused(error.to_owned())),
        None => Ok(answer),
    }
}

/// Sends no request: this system has no such sockets.
///
/// # Errors
///
/// Always.
#[cfg(not(unix))]
pub async fn request(_: &Path, _: &ControlRequest) -> Result<Value, ControlError> {
    Err(ControlError::Io(io::ErrorKind::Unsupported.into()))
}
