//! The log file with one JSON line per request.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::RecordedRequest;

/// A file with one line per request.
#[derive(Debug)]
pub(crate) struct Log(Mutex<File>);

impl Log {
    /// Opens the file for appending, and creates it if it does not exist.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends a request in one write; on a full disk the line is lost, but the request is still answered.
    pub(crate) fn write(&self, request: &RecordedRequest) {
        if let Ok(mut line) = serde_json::to_vec(request) {
            line.push(b'\n');
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line).ok();
        }
    }
}
