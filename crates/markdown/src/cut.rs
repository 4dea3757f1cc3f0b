//! Removes the middle of long texts, because the important part of a tool's output is at its beginning or end.

/// A text, or its beginning and end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    Whole(&'a str),
    Middle { head: &'a str, omitted: usize, tail: &'a str },
}

/// Removes the middle of a text of more than `limit` bytes, so that at most `limit` bytes remain.
///
/// Cuts at line breaks unless that removes more than half of what could remain.
pub(crate) fn cut(text: &str, limit: usize) -> Cut<'_> {
    if text.len() <= limit {
        return Cut::Whole(text);
    }
    let half = limit / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let head = match head.rfind('\n') {
        Some(end) if end >= half / 2 => &head[..=end],
        _ => head,
    };
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    let tail = match tail.find('\n') {
        Some(end) if end < half / 2 => &tail[end + 1..],
        _ => tail,
    };
    Cut::Middle { head, omitted: text.len() - head.len() - tail.len(), tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_within_limit_is_whole() {
        assert_eq!(cut("1234", 4), Cut::Whole("1234"));
        assert_eq!(cut("", 0), Cut::Whole(""));
    }

    #[test]
    fn middle_of_long_text_is_omitted() {
        assert_eq!(cut("12345", 4), Cut::Middle { head: "12", omitted: 1, tail: "45" });
        assert_eq!(cut("12345", 0), Cut::Middle { head: "", omitted: 5, tail: "" });
        assert_eq!(cut("12345", 1), Cut::Middle { head: "", omitted: 5, tail: "" });
    }

    #[test]
    fn cut_never_splits_characters() {
        assert_eq!(cut("ééééé", 6), Cut::Middle { head: "é", omitted: 6, tail: "é" });
    }

    #[test]
    fn cut_prefers_line_breaks() {
        assert_eq!(cut("1\n2\n345\n6\n7", 8), Cut::Middle { head: "1\n2\n", omitted: 4, tail: "6\n7" });
        assert_eq!(cut("1\n23456789012\n3", 12), Cut::Middle { head: "1\n2345", omitted: 3, tail: "9012\n3" });
        // The boundary case: the head keeps as much as it loses, but the tail would lose more.
        assert_eq!(cut("12\n45678\n0", 8), Cut::Middle { head: "12\n", omitted: 3, tail: "78\n0" });
    }
}
