//! Reads the lines of a file of any size, one at a time.

use std::io::{self, BufRead, ErrorKind};

/// An item read from a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileLine<'a> {
    /// A line without its line break.
    Whole(&'a [u8]),
    /// A line that exceeds the limit.
    TooLong,
    /// The number of bytes at the end of the file without a line break.
    Truncated(u64),
}

/// Reads lines up to a limit in bytes.
#[derive(Debug)]
pub(crate) struct FileLines<R> {
    reader: R,
    limit: usize,
    line: Vec<u8>,
    whole_bytes: u64,
}

impl<R: BufRead> FileLines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, line: Vec::new(), whole_bytes: 0 }
    }

    /// Returns the total size in bytes of the lines read so far, including line breaks.
    pub(crate) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Returns the next line; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> io::Result<Option<FileLine<'_>>> {
        self.line.clear();
        let mut length = 0_u64;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok((length > 0).then_some(FileLine::Truncated(length)));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            length += text.len() as u64;
            if length <= self.limit as u64 {
                self.line.extend_from_slice(text);
            }
            let taken = text.len() + usize::from(end.is_some());
            self.reader.consume(taken);
            if end.is_some() {
                self.whole_bytes += length + 1;
                let fits = length <= self.limit as u64;
                return Ok(Some(if fits { FileLine::Whole(&self.line) } else { FileLine::TooLong }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    #[test]
    fn lines_may_be_long_or_truncated() {
        for capacity in 1..20 {
            let text = "one\n\ntoo long a line\ntwo\nthre";
            let mut lines = FileLines::new(BufReader::with_capacity(capacity, Cursor::new(text)), 5);
            assert_eq!(lines.next().unwrap(), Some(FileLine::Whole(b"one")));
            assert_eq!(lines.next().unwrap(), Some(FileLine::Whole(b"")));
            assert_eq!(lines.next().unwrap(), Some(FileLine::TooLong));
            assert_eq!(lines.next().unwrap(), Some(FileLine::Whole(b"two")));
            assert_eq!(lines.next().unwrap(), Some(FileLine::Truncated(4)));
            assert_eq!(lines.next().unwrap(), None);
            assert_eq!(lines.whole_bytes(), text.len() as u64 - 4);
        }
    }
}
