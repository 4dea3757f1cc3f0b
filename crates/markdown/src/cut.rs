//! Long texts lose their middle, since what matters in a tool's output stands at its beginning and at its end.

/// A text, or its two ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    Whole(&'a str),
    Middle { head: &'a str, left_out: usize, tail: &'a str },
}

/// Cuts the middle out of a text of more than `limit` bytes, so that at most `limit` bytes are left.
///
/// It cuts between lines where that costs no more than half of what could stay.
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
    Cut::Middle { head, left_out: text.len() - head.len() - tail.len(), tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_within_the_limit_is_whole() {
        assert_eq!(cut("1234", 4), Cut::Whole("1234"));
        assert_eq!(cut("", 0), Cut::Whole(""));
    }

    #[test]
    fn the_middle_of_a_longer_one_is_left_out_and_counted() {
        assert_eq!(cut("12345", 4), Cut::Middle { head: "12", left_out: 1, tail: "45" });
        assert_eq!(cut("12345", 0), Cut::Middle { head: "", left_out: 5, tail: "" });
        assert_eq!(cut("12345", 1), Cut::Middle { head: "", left_out: 5, tail: "" });
    }

    #[test]
    fn no_character_is_torn() {
        assert_eq!(cut("ééééé", 6), Cut::Middle { head: "é", left_out: 6, tail: "é" });
    }

    #[test]
    fn lines_are_kept_whole_where_that_costs_little() {
        assert_eq!(cut("1\n2\n345\n6\n7", 8), Cut::Middle { head: "1\n2\n", left_out: 4, tail: "6\n7" });
        assert_eq!(cut("1\n23456789012\n3", 12), Cut::Middle { head: "1\n2345", left_out: 3, tail: "9012\n3" });
        // At half of a half: the head keeps as much as it loses, the tail would lose its line end besides.
        assert_eq!(cut("12\n45678\n0", 8), Cut::Middle { head: "12\n", left_out: 3, tail: "78\n0" });
    }
}
