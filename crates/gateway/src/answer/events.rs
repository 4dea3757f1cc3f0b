//! Splits a stream of server-sent events with bounded memory.

use memchr::memchr2;

/// The maximum size of an event that is inspected. Events of a model's text have some hundred bytes; larger ones
/// contain a file in a tool's arguments, an image or the whole answer again, and are passed on uninspected.
pub(super) const MAX_INSPECTED_BYTES: usize = 256 * 1024;
/// The maximum length of a stored event name; the names of all known formats are shorter.
const MAX_NAME_BYTES: usize = 64;

/// An event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SseEvent<'e> {
    /// The name in its `event:` line; may be empty.
    pub(super) name: &'e [u8],
    /// The data of the event; `None` if it is larger than [`MAX_INSPECTED_BYTES`].
    pub(super) data: Option<&'e [u8]>,
}

/// An event exceeds the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits a stream of server-sent events, whatever its chunks are.
#[derive(Debug)]
pub(super) struct EventReader {
    max_event_bytes: u64,
    /// The beginning of the current line.
    line: Vec<u8>,
    line_bytes: u64,
    /// The data of the event so far, its lines joined by line feeds.
    data: Vec<u8>,
    data_bytes: u64,
    has_data: bool,
    name: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a following line feed belongs to it.
    after_return: bool,
}

impl EventReader {
    pub(super) fn new(max_event_bytes: u64) -> Self {
        Self {
            max_event_bytes,
            line: Vec::new(),
            line_bytes: 0,
            data: Vec::new(),
            data_bytes: 0,
            has_data: false,
            name: Vec::new(),
            after_return: false,
        }
    }

    /// Reads the next bytes and calls `on_event` for each event that they complete.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if a line or the data of an event exceeds the limit.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(SseEvent<'_>)) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = MAX_INSPECTED_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.line_bytes += part.len() as u64;
            if self.line_bytes + self.data_bytes > self.max_event_bytes {
                return Err(TooLong);
            }
            let Some(end) = end else { break };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(&mut on_event);
        }
        Ok(())
    }

    /// Treats the end of the stream as the end of the current event.
    pub(super) fn finish(&mut self, mut on_event: impl FnMut(SseEvent<'_>)) {
        if self.line_bytes > 0 {
            self.end_line(&mut on_event);
        }
        self.dispatch(&mut on_event);
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(SseEvent<'_>)) {
        if self.line_bytes == 0 {
            self.dispatch(on_event);
            return;
        }
        let at = memchr::memchr(b':', &self.line).unwrap_or(self.line.len());
        let (field, value) = self.line.split_at(at);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            // Some servers begin with a byte order mark.
            b"data" | b"\xef\xbb\xbfdata" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data_bytes += self.line_bytes;
                let room = MAX_INSPECTED_BYTES.saturating_sub(self.data.len());
                self.data.extend_from_slice(&value[..value.len().min(room)]);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(&value[..value.len().min(MAX_NAME_BYTES)]);
            }
            _ => {}
        }
        self.line.clear();
        self.line_bytes = 0;
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(SseEvent<'_>)) {
        if self.has_data {
            let is_whole = self.data_bytes <= MAX_INSPECTED_BYTES as u64;
            on_event(SseEvent { name: &self.name, data: is_whole.then_some(&self.data) });
        }
        self.has_data = false;
        self.data.clear();
        self.data.shrink_to(MAX_INSPECTED_BYTES / 16);
        self.line.shrink_to(MAX_INSPECTED_BYTES / 16);
        self.data_bytes = 0;
        self.name.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, Option<String>)> {
        let mut reader = EventReader::new(1 << 30);
        let mut events = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut on_event = |event: SseEvent<'_>| events.push((text(event.name), event.data.map(text)));
        for piece in pieces {
            reader.read(piece, &mut on_event).unwrap();
        }
        reader.finish(&mut on_event);
        events
    }

    fn event(name: &str, data: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(data.to_owned()))
    }

    #[test]
    fn events_are_split_per_standard() {
        let stream = b": comment\n\nevent: ping\ndata: {}\n\ndata:a\r\ndata: b\r\rid: 3\ndata:  c\n\nevent: none\n\nretry\ndata\n\ndata: last";
        assert_eq!(
            events(&[stream]),
            [event("ping", "{}"), event("", "a\nb"), event("", " c"), event("", ""), event("", "last")]
        );
        assert_eq!(events(&[b"\xef\xbb\xbfdata: x\n\n"]), [event("", "x")]);
    }

    #[test]
    fn large_event_is_reported_without_data() {
        let large = format!("event: big\ndata: {}\n\ndata: x\n\n", "y".repeat(MAX_INSPECTED_BYTES));
        assert_eq!(events(&[large.as_bytes()]), [("big".to_owned(), None), event("", "x")]);
    }

    #[test]
    fn endless_events_are_rejected() {
        for piece in [&b"x"[..], b"data: y\n", b": z"] {
            let mut reader = EventReader::new(1000);
            let begun = reader.read(b"data: ", |_| panic!("an event"));
            assert_eq!(begun, Ok(()));
            assert!((0..1000).any(|_| reader.read(piece, |_| panic!("an event")).is_err()), "{piece:?}");
        }
        let mut reader = EventReader::new(1000);
        for _ in 0..10_000 {
            assert_eq!(reader.read(b": a comment\n", |_| panic!("an event")), Ok(()), "comments are dropped");
        }
    }

    proptest! {
        #[test]
        fn result_is_independent_of_chunk_boundaries(text in "(data: |event: |:|\n|\r|\r\n|x|\\{\\}){0,40}", cuts in prop::collection::vec(0..80usize, 0..12)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[text.as_bytes()]));
        }
    }
}
