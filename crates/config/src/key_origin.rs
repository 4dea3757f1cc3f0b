//! A key that stands elsewhere than in the `.env`: in a file of its own, or with a password manager.

use opencode_run_core::{ExposeSecret, ModelConfig, SecretString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The longest key, in bytes: what is longer is something else.
const LONGEST: u64 = 16 << 10;
/// How long a command may take: somebody may have to unlock a password manager first.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);
/// How often it is looked whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why there is no key. No text holds any of what was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key cannot be read from {}: {}", path.display(), source)]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The command cannot be started.
    #[error("the command for the key cannot be started: {0}")]
    NotStarted(io::Error),
    /// The command failed. What it wrote is not shown: it may be the key.
    #[error("the command for the key ended with {0}: run it by hand to see why")]
    Failed(ExitStatus),
    /// The command did not end.
    #[error("the command for the key did not end within {COMMAND_LIMIT:?}")]
    NoEnd,
    /// What was read is no key.
    #[error("what {origin} gives is no key: {why}")]
    NoKey {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Returns the config with its key in it, read from its file or from its command where it names one; a config that has its
/// key, or that needs none, comes back as it is.
///
/// It blocks: a command may wait for a person. A command is run by the shell (`sh -c`), without a standard input, and what
/// it writes to standard error is shown as it comes. White space around the key is left out.
///
/// # Errors
///
/// If the file cannot be read, or the command fails or takes more than two minutes, or what they give is no key.
pub fn with_key(config: &Arc<ModelConfig>) -> Result<Arc<ModelConfig>, KeyError> {
    let (text, origin) = match (&config.api_key_file, &config.api_key_command) {
        (Some(path), _) => (of_file(path)?, path.display().to_string()),
        (None, Some(command)) => (of_command(command)?, "the command".to_owned()),
        (None, None) => return Ok(Arc::clone(config)),
    };
    let key = SecretString::from(text.expose_secret().trim());
    let why = if key.expose_secret().is_empty() {
        "it is empty"
    } else if text.expose_secret().len() as u64 > LONGEST {
        "it is too long"
    } else if !key.expose_secret().chars().all(|c| c.is_ascii_graphic()) {
        "it has more than one line, or characters that fit in no HTTP header"
    } else {
        return Ok(Arc::new(ModelConfig {
            api_key: Some(key),
            api_key_file: None,
            api_key_command: None,
            ..ModelConfig::clone(config)
        }));
    };
    Err(KeyError::NoKey { origin, why })
}

fn of_file(path: &Path) -> Result<SecretString, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    // The opening of a pipe without a writer would wait for one.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    read(File::open(path).map_err(failed)?).map_err(failed)
}

/// Reads a little more than the longest key.
fn read(from: impl Read) -> io::Result<SecretString> {
    let mut text = String::new();
    let read = from.take(LONGEST + 1).read_to_string(&mut text);
    let text = SecretString::from(text);
    match read {
        // Whatever it is, the check of its characters refuses it.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(SecretString::from("\u{fffd}")),
        read => read.map(|_| text),
    }
}

fn of_command(command: &str) -> Result<SecretString, KeyError> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell)
        .args([flag, command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(KeyError::NotStarted)?;
    let (sender, output) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Apart, since what the command leaves in the background may keep the pipe open.
        thread::spawn(move || sender.send(read(stdout)).ok());
    }
    let deadline = Instant::now() + COMMAND_LIMIT;
    let status = loop {
        match child.try_wait().map_err(KeyError::NotStarted)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                child.kill().ok();
                child.wait().ok();
                return Err(KeyError::NoEnd);
            }
            None => thread::sleep(LOOK_EVERY),
        }
    };
    if !status.success() {
        return Err(KeyError::Failed(status));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    output.recv_timeout(left).map_err(|_| KeyError::NoEnd)?.map_err(KeyError::NotStarted)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn by_file(path: &Path) -> Result<Arc<ModelConfig>, KeyError> {
        with_key(&Arc::new(ModelConfig { api_key_file: Some(path.to_owned()), ..ModelConfig::new("m") }))
    }

    fn by_command(command: &str) -> Result<Arc<ModelConfig>, KeyError> {
        with_key(&Arc::new(ModelConfig { api_key_command: Some(command.to_owned()), ..ModelConfig::new("m") }))
    }

    fn key(config: &ModelConfig) -> &str {
        config.api_key.as_ref().map_or("none", ExposeSecret::expose_secret)
    }

    #[test]
    fn a_key_is_read_from_its_file_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-1\n").unwrap();
        let config = by_file(&file).unwrap();
        assert_eq!(key(&config), "sk-1");
        assert_eq!((&config.api_key_file, &config.api_key_command), (&None, &None));
        for text in ["", "\n", "sk-1\nsk-2\n", "sk-\u{e9}"] {
            std::fs::write(&file, text).unwrap();
            assert!(matches!(by_file(&file), Err(KeyError::NoKey { .. })), "{text:?}");
        }
        std::fs::write(&file, b"sk-\xff").unwrap();
        assert!(matches!(by_file(&file), Err(KeyError::NoKey { .. })));
        let longest = "x".repeat(usize::try_from(LONGEST).unwrap());
        std::fs::write(&file, &longest).unwrap();
        assert_eq!(key(&by_file(&file).unwrap()), longest);
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert!(matches!(by_file(&file), Err(KeyError::NoKey { why: "it is too long", .. })));
        assert!(matches!(by_file(folder.path()), Err(KeyError::File { .. })));
        let error = by_file(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }

    #[test]
    fn a_key_is_printed_by_its_command() {
        let config = by_command("printf 'sk-%s' 1").unwrap();
        assert_eq!((key(&config), &config.api_key_command), ("sk-1", &None));
        // What goes on in the background does not keep the key from being taken, unless it writes on.
        assert_eq!(key(&by_command("echo sk-2; sleep 60 >/dev/null &").unwrap()), "sk-2");
        assert!(matches!(by_command("echo sk-secret; exit 3"), Err(KeyError::Failed(_))));
        assert!(!by_command("echo sk-secret; exit 3").unwrap_err().to_string().contains("sk-secret"));
        assert!(matches!(by_command("true"), Err(KeyError::NoKey { .. })));
        assert!(matches!(by_command("yes"), Err(KeyError::Failed(_) | KeyError::NoKey { .. })));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_a_bad_key() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        assert_eq!(read(Broken).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(read(&b"\xff"[..]).is_ok());
    }

    #[test]
    fn a_config_with_its_key_is_left_as_it_is() {
        let config = Arc::new(ModelConfig { api_key: Some("sk-1".into()), ..ModelConfig::new("m") });
        assert!(Arc::ptr_eq(&with_key(&config).unwrap(), &config));
    }
}
