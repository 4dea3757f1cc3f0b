//! Reads text from a file that an option names, which may be a pipe or a device.

use super::nonblocking::Blocking;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a text file of at most `max` bytes, without its byte order mark.
///
/// A pipe is read to its end, however slow its writer is, on a separate thread. Cancel safe. A pipe or device with
/// more than `max` bytes is an error, like a file of that size.
///
/// # Errors
///
/// The problem, in words that continue "it cannot be read: ".
pub(crate) async fn read_text(file: &Path, max: u64) -> Result<String, String> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || read(&file, max)).await.map_err(|error| error.to_string())?
}

/// Reads like [`read_text`], on this thread.
pub(crate) fn read(file: &Path, max: u64) -> Result<String, String> {
    let opened = File::open(file).map_err(|error| error.to_string())?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err("it is a directory".to_owned());
    }
    read_bounded(Blocking(opened), max)
}

/// Reads text of at most `max` bytes to its end.
///
/// # Errors
///
/// If it is longer, cannot be read, or is not UTF-8.
pub(crate) fn read_bounded(reader: impl Read, max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.take(max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > max {
        return Err(format!("it is longer than {} MiB", max >> 20));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_limit_applies_to_devices() {
        assert_eq!(read_bounded(std::io::repeat(b'x'), 2 << 20).unwrap_err(), "it is longer than 2 MiB");
        assert_eq!(read_bounded(&b"12345"[..], 5).unwrap(), "12345");
    }

    #[test]
    fn byte_order_mark_is_dropped() {
        assert_eq!(read_bounded("\u{feff}{}".as_bytes(), 10).unwrap(), "{}");
    }

    #[test]
    fn non_utf8_error_names_byte() {
        assert_eq!(read_bounded(&b"ab\xff"[..], 10).unwrap_err(), "it is not UTF-8 from byte 2 on");
    }
}
