//! Redacts secrets in texts and streams.

#[cfg(test)]
mod encodings;
mod escapes;
mod pattern;

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use self::{escapes::Lattice, pattern::Pattern};

/// The minimum length of a secret. Shorter ones would match unrelated text, such as the `none` or `ollama` that is
/// used as a key if none is required.
pub const MIN_SECRET_BYTES: usize = 8;

const MARK: &[u8] = b"[redacted]";

/// Replaces secrets by `[redacted]`, in whole texts and in streams.
///
/// Finds a secret in any mixture of escapes for JSON, URLs, HTML or programs, nested up to three levels, in
/// hexadecimal, and in base64, once or twice, also together with other bytes. Secrets shorter than
/// [`MIN_SECRET_BYTES`] bytes are ignored. Clones share the secrets; they are zeroised when the last clone is
/// dropped, and `Debug` does not show them.
///
/// ```
/// use opencode_run_core::Redactor;
///
/// let redactor = Redactor::new(["sk-1234567890".into()]);
/// assert_eq!(redactor.redact("the key is sk-1234567890."), "the key is [redacted].");
///
/// let mut stream = redactor.stream();
/// let mut out = stream.push("the key is sk-123".into()).to_vec();
/// out.extend(stream.push("4567890.".into()));
/// out.extend(stream.finish());
/// assert_eq!(out, b"the key is [redacted].");
/// ```
#[derive(Clone, Default)]
pub struct Redactor(Arc<Secrets>);

/// The patterns of all secrets.
struct Secrets {
    patterns: Vec<Pattern>,
    /// Whether a pattern can begin with each byte.
    is_first: [bool; 256],
}

impl Default for Secrets {
    fn default() -> Self {
        Self { patterns: Vec::new(), is_first: [false; 256] }
    }
}

/// The next secret in a text.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// No secret follows.
    None,
    /// The match begins and ends here.
    Secret { start: usize, end: usize },
    /// The text from here on may become a secret, or a longer one, with the next chunk.
    Unfinished { start: usize },
}

/// The replacement of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mask {
    /// `[redacted]`.
    Mark,
    /// `[redacted]`, padded or cut to the secret's length, so that an announced length stays correct.
    SameLength,
}

/// Redacts a stream, even if a secret is split between chunks.
///
/// Only the end of a chunk that could be the beginning of a secret is held back until the next chunk.
pub struct RedactorStream {
    redactor: Redactor,
    mask: Mask,
    held: Vec<u8>,
}

impl Redactor {
    /// Creates a redactor of these secrets.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| secret.expose_secret().len() >= MIN_SECRET_BYTES);
        let patterns: Vec<_> = secrets.flat_map(|secret| Pattern::all(secret.expose_secret())).collect();
        let mut is_first = [false; 256];
        for pattern in &patterns {
            pattern.first_bytes(|byte| is_first[usize::from(byte)] = true);
        }
        Self(Arc::new(Secrets { patterns, is_first }))
    }

    /// Returns whether there are no secrets to find.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.patterns.is_empty()
    }

    /// Returns the text with secrets redacted; borrowed if it contained none.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            None => Cow::Borrowed(text),
            // A secret is UTF-8, so the text around it stays UTF-8.
            Some(redacted) => Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()),
        }
    }

    /// Returns the redacted bytes; `None` if they contained no secret.
    #[must_use]
    pub fn redact_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.find(&Lattice::new(bytes), 0, true) == Found::None {
            return None;
        }
        let mut stream = self.stream();
        let mut out = stream.push(Bytes::copy_from_slice(bytes)).to_vec();
        out.extend_from_slice(&stream.finish());
        Some(out)
    }

    /// Returns a redactor for a stream.
    #[must_use]
    pub fn stream(&self) -> RedactorStream {
        RedactorStream { redactor: self.clone(), mask: Mask::Mark, held: Vec::new() }
    }

    /// Returns a redactor for a stream that preserves its length.
    #[must_use]
    pub fn stream_of_same_length(&self) -> RedactorStream {
        RedactorStream { redactor: self.clone(), mask: Mask::SameLength, held: Vec::new() }
    }

    /// Finds the first secret at or after `from`, the longest of those that begin there. Unless the text is whole,
    /// its end may be the beginning of a secret.
    fn find(&self, lattice: &Lattice<'_>, from: usize, is_whole: bool) -> Found {
        let text = lattice.text();
        let Secrets { patterns, is_first } = &*self.0;
        for start in (from..text.len()).filter(|start| is_first[usize::from(text[*start])]) {
            let mut end = None;
            for pattern in patterns.iter().filter(|pattern| pattern.can_begin_with(text[start])) {
                let reach = pattern.read(lattice, start);
                if reach.needs_more && !is_whole {
                    return Found::Unfinished { start };
                }
                end = end.max(reach.end);
            }
            if let Some(end) = end {
                return Found::Secret { start, end };
            }
        }
        Found::None
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("patterns", &self.0.patterns.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedactorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactorStream").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl RedactorStream {
    /// Takes the next chunk and returns the part that can be passed on.
    #[must_use]
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let text = if self.held.is_empty() {
            chunk
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(&chunk);
            Bytes::from(text)
        };
        let (out, held) = self.redacted(&text, false);
        self.held = text[held..].to_vec();
        out.map_or_else(|| text.slice(..held), Bytes::from)
    }

    /// Returns the part that was held back, at the end of the stream.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.held);
        self.redacted(&text, true).0.unwrap_or(text).into()
    }

    /// Returns the redacted text (`None` if it is unchanged) and the offset of the part that is held back.
    fn redacted(&self, text: &[u8], is_whole: bool) -> (Option<Vec<u8>>, usize) {
        let mut out = Vec::new();
        let mut from = 0;
        let lattice = Lattice::new(text);
        let held = loop {
            match self.redactor.find(&lattice, from, is_whole) {
                Found::Secret { start, end } => {
                    out.extend_from_slice(&text[from..start]);
                    self.mask.put(end - start, &mut out);
                    from = end;
                }
                Found::Unfinished { start } => break start,
                Found::None => break text.len(),
            }
        };
        if from == 0 {
            return (None, held);
        }
        out.extend_from_slice(&text[from..held]);
        (Some(out), held)
    }
}

impl Mask {
    fn put(self, length: usize, out: &mut Vec<u8>) {
        match self {
            Self::Mark => out.extend_from_slice(MARK),
            Self::SameLength => out.extend(MARK.iter().copied().chain(std::iter::repeat(b'*')).take(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|secret| SecretString::from(*secret)))
    }

    fn in_pieces(stream: &mut RedactorStream, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&stream.finish());
        out
    }

    #[test]
    fn text_without_secret_is_borrowed() {
        assert!(matches!(redactor(&["sk-12345678"]).redact("sk-1234567"), Cow::Borrowed("sk-1234567")));
        assert!(matches!(Redactor::default().redact("x"), Cow::Borrowed("x")));
    }

    #[test]
    fn all_occurrences_are_redacted() {
        let redactor = redactor(&["a/b\"c+d=12"]);
        assert_eq!(redactor.redact("a/b\"c+d=12a/b\"c+d=12"), "[redacted][redacted]");
        assert_eq!(redactor.redact(r#"{"key":"a/b\"c+d=12"}"#), r#"{"key":"[redacted]"}"#);
        assert_eq!(redactor.redact("?key=a%2Fb%22c%2Bd%3D12&x"), "?key=[redacted]&x");
        assert_eq!(self::redactor(&["a/bcdefgh"]).redact(r"a\/bcdefgh"), "[redacted]");
    }

    #[test]
    fn short_secret_is_ignored() {
        assert!(redactor(&["none", "ollama", ""]).is_empty());
    }

    #[test]
    fn longest_overlapping_secret_is_redacted() {
        let redactor = redactor(&["sk-12345678", "sk-12345678-long", "45678901"]);
        assert_eq!(redactor.redact("sk-12345678-long sk-12345678-lon"), "[redacted] [redacted]-lon");
        assert_eq!(redactor.redact("sk-1234567890145678901"), "[redacted]901[redacted]");
        let pieces: &[&[u8]] = &[b"sk-12345678", b"-long"];
        assert_eq!(in_pieces(&mut redactor.stream(), pieces), b"[redacted]");
        assert_eq!(in_pieces(&mut redactor.stream(), &pieces[..1]), b"[redacted]");
    }

    #[test]
    fn only_possible_beginnings_are_held_back() {
        let mut stream = redactor(&["sk-12345678"]).stream();
        assert_eq!(&stream.push("data: token\n\n".into())[..], b"data: token\n\n");
        assert_eq!(&stream.push("data: sk".into())[..], b"data: ");
        assert_eq!(&stream.push("ip\n\n".into())[..], b"skip\n\n");
        assert!(stream.finish().is_empty());
    }

    #[test]
    fn redaction_can_preserve_length() {
        let long = redactor(&["sk-1234567890"]);
        assert_eq!(in_pieces(&mut long.stream_of_same_length(), &[b"<sk-12", b"34567890>"]), b"<[redacted]***>");
        let short = redactor(&["12345678"]);
        assert_eq!(in_pieces(&mut short.stream_of_same_length(), &[b"<12345678>"]), b"<[redacte>");
    }

    #[test]
    fn redaction_time_is_linear() {
        // A quadratic search would take minutes.
        let text = "sk-12345678 ".repeat(200_000);
        assert_eq!(redactor(&["sk-12345678", "never-there"]).redact(&text), "[redacted] ".repeat(200_000));
    }

    #[test]
    fn debug_hides_secrets() {
        let redactor = redactor(&["sk-12345678"]);
        let mut stream = redactor.stream();
        assert_eq!(&stream.push("12345678".into())[..], b"12345678");
        for text in [format!("{redactor:?}"), format!("{stream:?}")] {
            assert!(!text.contains("sk-12345678"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn result_is_independent_of_chunk_boundaries(text in "(sk-|aba|abacabadab|x|sk-aaaaaaaa){0,12}", cuts in prop::collection::vec(0..120usize, 0..12)) {
            let redactor = redactor(&["sk-aaaaaaaa", "abacabadab", "aaaaaaaasksk"]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let redacted = in_pieces(&mut redactor.stream(), &pieces);
            let whole = redactor.redact(&text);
            prop_assert_eq!(whole.as_bytes(), &redacted[..]);
            prop_assert_eq!(in_pieces(&mut redactor.stream_of_same_length(), &pieces).len(), text.len());
            prop_assert!(redactor.redact_bytes(&redacted).is_none());
        }
    }
}
