//! Keys outside the `.env` file: in a file of their own or from a command such as a password manager.

use opencode_run_core::{ExposeSecret, ModelConfig, SecretString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The maximum size of a key in bytes.
pub const MAX_KEY_BYTES: u64 = 16 << 10;

/// The reason why there is no key. No message contains any of the text that was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key cannot be read from {}", path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// The error of the operation.
        source: io::Error,
    },
    /// The command cannot be started.
    #[error("the command for the key cannot be started")]
    NotStarted(#[source] io::Error),
    /// The command failed. Its output is not shown, because it may be the key.
    #[error("the command for the key ended with {0}: run it by hand to see why")]
    Failed(ExitStatus),
    /// The command timed out.
    #[error("the command for the key did not exit within {0:?}")]
    TimedOut(Duration),
    /// The text is not a key.
    #[error("the text from {origin} is not a key: {why}")]
    NotAKey {
        /// The source of the text.
        origin: String,
        /// The problem, in words, without the text.
        why: &'static str,
    },
}

/// Returns the config with its key, read from its file or printed by its command; a config that has its key or
/// needs none is returned unchanged. White space around the key is trimmed.
///
/// The command is executed by `run`, which returns its output: how it is run, and what ends it if the caller stops
/// waiting, is decided by the program. Output beyond [`MAX_KEY_BYTES`] bytes need not be read.
///
/// # Errors
///
/// If the file cannot be read, or the file or the command yields no key, or `run` fails. The file may be a pipe;
/// the future waits for its writer.
pub async fn with_key(
    config: &Arc<ModelConfig>,
    run: impl AsyncFnOnce(&str) -> Result<Vec<u8>, KeyError>,
) -> Result<Arc<ModelConfig>, KeyError> {
    let (text, origin) = match (&config.api_key_file, &config.api_key_command) {
        (Some(path), _) => (read_key_file(path).await?, path.display().to_string()),
        (None, Some(command)) => (run(command).await?, "the command".to_owned()),
        (None, None) => return Ok(Arc::clone(config)),
    };
    let api_key = Some(key_in(text).map_err(|why| KeyError::NotAKey { origin, why })?);
    Ok(Arc::new(ModelConfig { api_key, api_key_file: None, api_key_command: None, ..ModelConfig::clone(config) }))
}

/// Extracts the key, or returns the problem.
fn key_in(text: Vec<u8>) -> Result<SecretString, &'static str> {
    let is_too_long = text.len() as u64 > MAX_KEY_BYTES;
    // The replacement character fails the check below.
    let text = SecretString::from(String::from_utf8(text).unwrap_or_else(|_| "\u{fffd}".to_owned()));
    let key = text.expose_secret().trim();
    if key.is_empty() {
        Err("it is empty")
    } else if is_too_long {
        Err("it is too long")
    } else if !key.chars().all(|c| c.is_ascii_graphic()) {
        Err("it has more than one line, or characters that no HTTP header can carry")
    } else {
        Ok(SecretString::from(key))
    }
}

/// Reads a file on its own thread, because a pipe waits for its writer and a network file system may not respond.
async fn read_key_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let (result, received) = oneshot::channel();
    let file = path.to_owned();
    let job = move || {
        let mut text = Vec::new();
        let read = File::open(file).and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_end(&mut text));
        // A failed send means that the caller is gone.
        result.send(read.map(|_| text)).ok();
    };
    std::thread::Builder::new().name("opencode-key".to_owned()).spawn(job).map_err(failed)?;
    received.await.unwrap_or_else(|_| Err(io::Error::other("the reading thread panicked"))).map_err(failed)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;

    async fn by_file(path: &Path) -> Result<Arc<ModelConfig>, KeyError> {
        let config = ModelConfig { api_key_file: Some(path.to_owned()), ..ModelConfig::new("m") };
        with_key(&Arc::new(config), async |command| panic!("{command} was run")).await
    }

    async fn printed(text: &[u8]) -> Result<Arc<ModelConfig>, KeyError> {
        let config = ModelConfig { api_key_command: Some("pass key".to_owned()), ..ModelConfig::new("m") };
        let run = async |command: &str| {
            assert_eq!(command, "pass key");
            Ok(text.to_vec())
        };
        with_key(&Arc::new(config), run).await
    }

    fn key(config: &ModelConfig) -> &str {
        config.api_key.as_ref().map_or("none", ExposeSecret::expose_secret)
    }

    #[tokio::test]
    async fn key_file_is_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-1\n").unwrap();
        let config = by_file(&file).await.unwrap();
        assert_eq!(key(&config), "sk-1");
        assert_eq!((&config.api_key_file, &config.api_key_command), (&None, &None));
        for text in [&b""[..], b"\n", b"sk-1\nsk-2\n", "sk-\u{e9}".as_bytes(), b"sk-\xff"] {
            std::fs::write(&file, text).unwrap();
            assert!(matches!(by_file(&file).await, Err(KeyError::NotAKey { .. })), "{text:?}");
        }
        let longest = "x".repeat(usize::try_from(MAX_KEY_BYTES).unwrap());
        std::fs::write(&file, &longest).unwrap();
        assert_eq!(key(&by_file(&file).await.unwrap()), longest);
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert!(matches!(by_file(&file).await, Err(KeyError::NotAKey { why: "it is too long", .. })));
        assert!(matches!(by_file(folder.path()).await, Err(KeyError::File { .. })));
        let error = by_file(&folder.path().join("none")).await.unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }

    #[tokio::test]
    async fn key_pipe_is_awaited() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let late = async {
            tokio::task::yield_now().await;
            writer.write_all(b"sk-1\n").unwrap();
            drop(writer);
        };
        let (config, ()) = tokio::join!(by_file(Path::new(&path)), late);
        assert_eq!(key(&config.unwrap()), "sk-1");
        assert!(matches!(by_file(Path::new("/dev/zero")).await, Err(KeyError::NotAKey { why: "it is too long", .. })));
    }

    #[tokio::test]
    async fn key_command_output_is_used() {
        let config = printed(b"sk-1\n").await.unwrap();
        assert_eq!((key(&config), &config.api_key_command), ("sk-1", &None));
        for text in [&b""[..], b"sk-\xff", b"sk-1\nsk-2"] {
            assert!(matches!(printed(text).await, Err(KeyError::NotAKey { .. })), "{text:?}");
        }
        let config = ModelConfig { api_key_command: Some("pass".to_owned()), ..ModelConfig::new("m") };
        let failed = with_key(&Arc::new(config), async |_| Err(KeyError::TimedOut(Duration::from_secs(1)))).await;
        assert!(matches!(failed, Err(KeyError::TimedOut(_))));
    }

    #[tokio::test]
    async fn config_with_key_is_unchanged() {
        let config = Arc::new(ModelConfig { api_key: Some("sk-1".into()), ..ModelConfig::new("m") });
        let same = with_key(&config, async |_| panic!("it has its key")).await.unwrap();
        assert!(Arc::ptr_eq(&same, &config));
    }
}
