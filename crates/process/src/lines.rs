//! Reads lines of a stream in bounded memory: a line that is too long is skipped and counted, never fatal.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of a read in bytes.
const CHUNK: usize = 64 << 10;

/// One line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A complete line.
    Whole(Vec<u8>),
    /// A line longer than the limit, of which only the length in bytes is known.
    TooLong(u64),
}

/// Splits a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    stream: R,
    limit: usize,
    chunk: Vec<u8>,
    /// The part of the chunk that has not been processed.
    rest: std::ops::Range<usize>,
    line: Vec<u8>,
    /// The number of skipped bytes of the current line.
    skipped: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Returns a reader of the lines of `stream`, of at most `limit` bytes each.
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        Self { stream, limit, chunk: vec![0; CHUNK], rest: 0..0, line: Vec::new(), skipped: 0 }
    }

    /// Returns the next line; the last one need not have a line break. Returns `None` at the end of the stream or if it
    /// fails: a broken pipe is an end too.
    ///
    /// Dropping the future loses no data.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        loop {
            let rest = &self.chunk[self.rest.clone()];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let start = self.rest.start;
                self.take(start..start + end);
                self.rest.start = start + end + 1;
                return Some(self.finish());
            }
            self.take(self.rest.clone());
            let read = self.stream.read(&mut self.chunk).await.unwrap_or(0);
            self.rest = 0..read;
            if read == 0 {
                return (!self.line.is_empty() || self.skipped > 0).then(|| self.finish());
            }
        }
    }

    fn take(&mut self, range: std::ops::Range<usize>) {
        self.rest.start = range.end;
        if self.skipped > 0 {
            self.skipped += range.len() as u64;
        } else if self.line.len() + range.len() > self.limit {
            self.skipped = (self.line.len() + range.len()) as u64;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(&self.chunk[range]);
        }
    }

    fn finish(&mut self) -> Line {
        let mut line = std::mem::take(&mut self.line);
        match std::mem::take(&mut self.skipped) {
            0 => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                Line::Whole(line)
            }
            skipped => Line::TooLong(skipped),
        }
    }
}

/// Properties that hold for any stream.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    use super::{Line, Lines};
    use futures_util::{FutureExt, stream};
    use std::task::Poll;
    use tokio_util::io::StreamReader;

    /// Asserts that a stream in these pieces is split into the same lines as a whole, complete or counted, although
    /// every wait for a piece is cancelled once.
    ///
    /// # Panics
    ///
    /// If a line differs.
    pub fn lines(pieces: &[Vec<u8>], limit: usize) {
        assert_eq!(cut(pieces, limit), expected(&pieces.concat(), limit));
    }

    /// Splits a stream into lines.
    pub(crate) fn cut(pieces: &[Vec<u8>], limit: usize) -> Vec<Line> {
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let mut is_ready = true;
        let stream = stream::poll_fn(|_| {
            is_ready = !is_ready;
            if is_ready {
                Poll::Ready(pieces.next().map(|piece| Ok::<_, std::io::Error>(&piece[..])))
            } else {
                Poll::Pending
            }
        });
        let mut lines = Lines::new(StreamReader::new(stream), limit);
        let mut all = Vec::new();
        loop {
            // A pending read is dropped and started again.
            match lines.next().now_or_never() {
                Some(Some(line)) => all.push(line),
                Some(None) => return all,
                None => {}
            }
        }
    }

    /// Returns the expected lines of a complete text.
    fn expected(bytes: &[u8], limit: usize) -> Vec<Line> {
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        lines.pop_if(|last| last.is_empty());
        let line = |line: &[u8]| {
            if line.len() > limit {
                return Line::TooLong(line.len() as u64);
            }
            Line::Whole(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        };
        lines.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], limit: usize) -> Vec<Line> {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        fuzzing::cut(&pieces, limit)
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_may_arrive_in_pieces() {
        assert_eq!(cut(&[b"a", b"b\nc\r\n", b"\nd"], 10), [whole("ab"), whole("c"), whole(""), whole("d")]);
        assert_eq!(cut(&[], 10), []);
    }

    #[test]
    fn overlong_line_is_counted_and_skipped() {
        let long = vec![b'x'; 3 * CHUNK];
        let lines = cut(&[b"ok\n", &long, b"\nnext\n"], 10);
        assert_eq!(lines, [whole("ok"), Line::TooLong(long.len() as u64), whole("next")]);
        assert_eq!(cut(&[&long], 10), [Line::TooLong(long.len() as u64)]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_the_lines(
            pieces in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..40),
                0..8,
            ),
            limit in 0usize..20,
        ) {
            fuzzing::lines(&pieces, limit);
        }
    }
}
