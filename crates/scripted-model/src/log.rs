//! The file that gets every request as a line of JSON.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::RecordedRequest;

/// A file that grows by a line for each request.
#[derive(Debug)]
pub(crate) struct Log(Mutex<File>);

impl Log {
    /// Opens the file for appending, and makes it if there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends a request in one write; a full disk costs the line, not the answer.
    pub(crate) fn write(&self, request: &RecordedRequest) {
        if let Ok(mut line) = serde_json::to_vec(request) {
            line.push(b'\n');
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line).ok();
        }
    }
}
