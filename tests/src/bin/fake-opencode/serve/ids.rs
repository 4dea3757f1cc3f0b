//! Maps the ids of a recording to those of a client.

use std::collections::HashMap;

/// The number of hexadecimal digits for the time in an id.
const TIME: usize = 12;
/// The number of random characters after them.
const CHANCE: usize = 14;

/// The mapping of the ids of a recorded turn to those of a played turn.
///
/// An id is a prefix, a time and random characters, such as `msg_20f7ef5d0000155544d08abc94`. Clients rely on ids that
/// ascend with their time, so all times are shifted by the difference between the recorded message and the client's.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    known: HashMap<String, String>,
    moved_by: u64,
    /// Distinguishes the sessions of sub-agents from those of other turns.
    number: usize,
}

impl Ids {
    /// Maps the recorded session and message to these.
    pub(crate) fn new(recorded: (&str, &str), played: (&str, &str), number: usize) -> Self {
        let time = |id: &str| id.get(4..4 + TIME).and_then(|time| u64::from_str_radix(time, 16).ok());
        let moved_by = match (time(recorded.1), time(played.1)) {
            (Some(recorded), Some(played)) => played.wrapping_sub(recorded),
            _ => 0,
        };
        let known = [(recorded.0, played.0), (recorded.1, played.1)];
        let known = known.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
        Self { known, moved_by, number }
    }

    /// Returns a text with all ids mapped.
    pub(crate) fn fit(&self, text: &str) -> String {
        let mut fitted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('_') {
            let begin = at.saturating_sub(3);
            let end = at + 1 + TIME + CHANCE;
            match rest.get(begin..at).zip(rest.get(at + 1..end)) {
                Some((kind @ ("msg" | "prt" | "per" | "que" | "frm" | "ses"), body))
                    if body.bytes().all(|byte| byte.is_ascii_alphanumeric())
                        && body.bytes().take(TIME).all(|byte| byte.is_ascii_hexdigit()) =>
                {
                    fitted.push_str(&rest[..begin]);
                    fitted.push_str(&self.id(kind, body));
                    rest = &rest[end..];
                }
                _ => {
                    fitted.push_str(&rest[..=at]);
                    rest = &rest[at + 1..];
                }
            }
        }
        fitted.push_str(rest);
        fitted
    }

    fn id(&self, kind: &str, body: &str) -> String {
        let whole = format!("{kind}_{body}");
        if let Some(known) = self.known.get(&whole) {
            return known.clone();
        }
        let (time, chance) = body.split_at(TIME);
        if kind == "ses" {
            // The time of a session id runs backwards; no client relies on it.
            return format!("ses_{time}{:014}", self.number);
        }
        let moved = u64::from_str_radix(time, 16).unwrap_or_default().wrapping_add(self.moved_by) & 0xffff_ffff_ffff;
        format!("{kind}_{moved:012x}{chance}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_order() {
        let recorded = ("ses_df0810a37ffee8yGFt4RkFBlzI", "msg_20f7ef5d0000155544d08abc94");
        let ids = Ids::new(recorded, ("ses_mine", "msg_30000000000000000000000000"), 7);
        let text = r#"{"s":"ses_df0810a37ffee8yGFt4RkFBlzI","m":"msg_20f7ef5d0000155544d08abc94","a":"msg_20f7efa30001F7RYLyzV0ZPcv7","c":"ses_df0810a37aaaaaaaaaaaaaaaaa","x":"call_1 é_"}"#;
        let fitted = ids.fit(text);
        assert_eq!(
            fitted,
            r#"{"s":"ses_mine","m":"msg_30000000000000000000000000","a":"msg_300000460001F7RYLyzV0ZPcv7","c":"ses_df0810a37aaa00000000000007","x":"call_1 é_"}"#
        );
    }
}
