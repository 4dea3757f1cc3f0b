//! Takes secrets out of texts and streams.

use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use memchr::{memchr_iter, memmem};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// A secret shorter than this is not looked for: it would be found in texts that mean something else, such as the `none` or
/// `ollama` that stands for a key where none is needed.
pub const SHORTEST_SECRET: usize = 8;

const MARK: &[u8] = b"[redacted]";

/// Replaces secrets by `[redacted]`, in whole texts and in streams.
///
/// A secret is also found as JSON and URLs write it, where that differs. One shorter than [`SHORTEST_SECRET`] bytes is not
/// looked for. Clones share what they look for; it is zeroised when the last one is dropped, and `Debug` does not show it.
///
/// ```
/// use opencode_run_gateway::Redactor;
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

/// What is looked for, the longest first.
#[derive(Default)]
struct Secrets(Vec<SecretSlice<u8>>);

/// What stands in a secret's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mask {
    /// `[redacted]`.
    Mark,
    /// The same, filled up or cut to the secret's length, so that a length that was announced holds.
    SameLength,
}

/// Redacts a stream, whose chunks may be cut inside a secret.
///
/// Only the end of a chunk that could be the beginning of a secret is held back until the next one.
pub struct RedactorStream {
    redactor: Redactor,
    mask: Mask,
    held: Vec<u8>,
}

impl Redactor {
    /// Looks for these secrets.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut all: Vec<SecretSlice<u8>> = Vec::new();
        for secret in secrets {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST_SECRET {
                continue;
            }
            for form in [secret.to_owned(), in_json(secret), secret.replace('/', "\\/"), in_url(secret)] {
                if all.iter().all(|known| known.expose_secret() != form.as_bytes()) {
                    all.push(form.into_bytes().into());
                }
            }
        }
        all.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(Arc::new(Secrets(all)))
    }

    /// Returns whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Returns the text without the secrets; the same text if there was none in it.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            None => Cow::Borrowed(text),
            // A secret is UTF-8, so that what is left of the text around it is UTF-8 as well.
            Some(redacted) => Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()),
        }
    }

    /// Returns the bytes without the secrets; none if there was none in them.
    pub(crate) fn redact_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        Finder::new(self).next(bytes, 0)?;
        let mut stream = self.stream();
        let mut out = stream.push(Bytes::copy_from_slice(bytes)).to_vec();
        out.extend_from_slice(&stream.finish());
        Some(out)
    }

    /// Returns what redacts a stream.
    #[must_use]
    pub fn stream(&self) -> RedactorStream {
        RedactorStream { redactor: self.clone(), mask: Mask::Mark, held: Vec::new() }
    }

    /// Returns what redacts a stream and keeps its length.
    pub(crate) fn stream_of_same_length(&self) -> RedactorStream {
        RedactorStream { redactor: self.clone(), mask: Mask::SameLength, held: Vec::new() }
    }

    /// Returns where an end of the text begins, at `from` or behind it, that could go on as a secret; the text's length if
    /// there is none.
    fn unfinished(&self, text: &[u8], from: usize) -> usize {
        let starts = self.0.0.iter().filter_map(|secret| {
            let secret = secret.expose_secret();
            let from = from.max(text.len().saturating_sub(secret.len() - 1));
            memchr_iter(secret[0], &text[from..]).map(|at| from + at).find(|at| secret.starts_with(&text[*at..]))
        });
        starts.min().unwrap_or(text.len())
    }
}

/// Finds secrets in a text one after the other, and looks at no part of it twice.
struct Finder<'r> {
    redactor: &'r Redactor,
    /// Where each secret is next, if that is known: at its place, or at the text's end if it comes no more.
    next: Vec<Option<usize>>,
}

impl<'r> Finder<'r> {
    fn new(redactor: &'r Redactor) -> Self {
        Self { redactor, next: vec![None; redactor.0.0.len()] }
    }

    /// Returns where the first secret at `from` or behind it is: the longest of those that begin there.
    fn next(&mut self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.redactor.0.0.iter().zip(&mut self.next).map(|(secret, next)| {
            let secret = secret.expose_secret();
            let start = match *next {
                Some(start) if start >= from => start,
                _ => memmem::find(&text[from..], secret).map_or(text.len(), |at| from + at),
            };
            *next = Some(start);
            (start, start + secret.len())
        });
        // Of two that begin at the same place the longer one comes first, and `min_by_key` takes the first.
        found.min_by_key(|(start, _)| *start).filter(|(start, _)| *start < text.len())
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.0.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedactorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactorStream").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl RedactorStream {
    /// Takes the next chunk and returns what can be passed on.
    #[must_use]
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let text = if self.held.is_empty() {
            chunk
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(&chunk);
            Bytes::from(text)
        };
        let redactor = self.redactor.clone();
        let mut finder = Finder::new(&redactor);
        let mut out = Vec::new();
        let mut from = 0;
        loop {
            let unfinished = redactor.unfinished(&text, from);
            match finder.next(&text, from) {
                // What could still become a longer secret, and begins no later, is waited for.
                Some((start, end)) if start < unfinished => {
                    out.extend_from_slice(&text[from..start]);
                    self.mask.put(end - start, &mut out);
                    from = end;
                }
                _ => {
                    self.held = text[unfinished..].to_vec();
                    let rest = text.slice(from..unfinished);
                    if out.is_empty() {
                        return rest;
                    }
                    out.extend_from_slice(&rest);
                    return out.into();
                }
            }
        }
    }

    /// Returns what was held back, at the stream's end.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.held);
        let mut finder = Finder::new(&self.redactor);
        let mut out = Vec::new();
        let mut from = 0;
        while let Some((start, end)) = finder.next(&text, from) {
            out.extend_from_slice(&text[from..start]);
            self.mask.put(end - start, &mut out);
            from = end;
        }
        out.extend_from_slice(&text[from..]);
        out.into()
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

/// Returns the secret as it stands in a JSON string.
fn in_json(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns the secret as it stands in a URL.
fn in_url(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
        out
    })
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
    fn a_text_without_a_secret_is_the_same_text() {
        assert!(matches!(redactor(&["sk-12345678"]).redact("sk-1234567"), Cow::Borrowed("sk-1234567")));
        assert!(matches!(Redactor::default().redact("x"), Cow::Borrowed("x")));
    }

    #[test]
    fn every_occurrence_and_every_form_is_replaced() {
        let redactor = redactor(&["a/b\"c+d=12"]);
        assert_eq!(redactor.redact("a/b\"c+d=12a/b\"c+d=12"), "[redacted][redacted]");
        assert_eq!(redactor.redact(r#"{"key":"a/b\"c+d=12"}"#), r#"{"key":"[redacted]"}"#);
        assert_eq!(redactor.redact("?key=a%2Fb%22c%2Bd%3D12&x"), "?key=[redacted]&x");
        assert_eq!(self::redactor(&["a/bcdefgh"]).redact(r"a\/bcdefgh"), "[redacted]");
    }

    #[test]
    fn a_short_secret_is_left_alone() {
        assert!(redactor(&["none", "ollama", ""]).is_empty());
    }

    #[test]
    fn of_secrets_in_each_other_the_longest_is_replaced() {
        let redactor = redactor(&["sk-12345678", "sk-12345678-long", "45678901"]);
        assert_eq!(redactor.redact("sk-12345678-long sk-12345678-lon"), "[redacted] [redacted]-lon");
        assert_eq!(redactor.redact("sk-1234567890145678901"), "[redacted]901[redacted]");
        let pieces: &[&[u8]] = &[b"sk-12345678", b"-long"];
        assert_eq!(in_pieces(&mut redactor.stream(), pieces), b"[redacted]");
        assert_eq!(in_pieces(&mut redactor.stream(), &pieces[..1]), b"[redacted]");
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut stream = redactor(&["sk-12345678"]).stream();
        assert_eq!(&stream.push("data: token\n\n".into())[..], b"data: token\n\n");
        assert_eq!(&stream.push("data: sk".into())[..], b"data: ");
        assert_eq!(&stream.push("ip\n\n".into())[..], b"skip\n\n");
        assert!(stream.finish().is_empty());
    }

    #[test]
    fn the_length_can_be_kept() {
        let long = redactor(&["sk-1234567890"]);
        assert_eq!(in_pieces(&mut long.stream_of_same_length(), &[b"<sk-12", b"34567890>"]), b"<[redacted]***>");
        let short = redactor(&["12345678"]);
        assert_eq!(in_pieces(&mut short.stream_of_same_length(), &[b"<12345678>"]), b"<[redacte>");
    }

    #[test]
    fn a_text_full_of_secrets_is_gone_through_once() {
        // Looking through the rest again for each of them would take minutes.
        let text = "sk-12345678 ".repeat(200_000);
        assert_eq!(redactor(&["sk-12345678", "never-there"]).redact(&text), "[redacted] ".repeat(200_000));
    }

    #[test]
    fn nothing_shows_what_is_looked_for() {
        let redactor = redactor(&["sk-12345678"]);
        let mut stream = redactor.stream();
        assert_eq!(&stream.push("12345678".into())[..], b"12345678");
        for text in [format!("{redactor:?}"), format!("{stream:?}")] {
            assert!(!text.contains("sk-12345678"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(text in "(sk-|aba|abacabadab|x|sk-aaaaaaaa){0,12}", cuts in prop::collection::vec(0..120usize, 0..12)) {
            let redactor = redactor(&["sk-aaaaaaaa", "abacabadab", "aaaaaaaasksk"]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let redacted = in_pieces(&mut redactor.stream(), &pieces);
            let whole = redactor.redact(&text);
            prop_assert_eq!(whole.as_bytes(), &redacted[..]);
            prop_assert_eq!(in_pieces(&mut redactor.stream_of_same_length(), &pieces).len(), text.len());
            prop_assert!(Finder::new(&redactor).next(&redacted, 0).is_none());
        }
    }
}
