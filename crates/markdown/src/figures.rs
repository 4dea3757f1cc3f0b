//! Formats times, durations, tokens and costs for people.

use jiff::Timestamp;
use opencode_run_core::Usage;
use std::time::{Duration, SystemTime};

/// Returns a time as RFC 3339 in UTC, to the second.
pub(crate) fn time(at: SystemTime) -> String {
    match Timestamp::try_from(at) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "out of range".to_owned(),
    }
}

/// Returns a duration such as `1.5s`, `2m5s` or `1h30m`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        return format!("{seconds}.{}s", time.subsec_millis() / 100);
    }
    let units = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut text = String::new();
    for (count, unit) in units.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&count.to_string());
        text.push_str(unit);
    }
    text
}

/// Returns the sum of the tokens and the non-zero counts.
pub(crate) fn tokens(usage: Usage) -> String {
    let Usage { input, output, reasoning, cache_read, cache_write } = usage;
    let kinds = [
        ("input", input),
        ("output", output),
        ("reasoning", reasoning),
        ("cache read", cache_read),
        ("cache write", cache_write),
    ];
    let kinds: Vec<_> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { "none reported".to_owned() } else { format!("{} ({})", usage.total(), kinds.join(", ")) }
}

/// Returns a cost such as `$0.0021`, to a millionth of a dollar; opencode reports `0` if it knows no price.
pub(crate) fn cost(dollars: f64) -> String {
    if dollars == 0.0 || !dollars.is_finite() {
        return "none reported".to_owned();
    }
    if dollars.abs() < 1e-6 {
        return "less than $0.000001".to_owned();
    }
    let exact = format!("{dollars:.6}");
    // At least two decimal places, as usual for money.
    let (whole, places) = exact.split_once('.').unwrap_or((&exact, ""));
    let places = places.trim_end_matches('0');
    format!("${whole}.{places:0<2}")
}

/// Returns the number with the word in singular or plural, such as `2 steps`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted() {
        let cases = [(0, "0.0s"), (1_560, "1.5s"), (59_999, "59.9s"), (60_000, "1m"), (125_400, "2m5s")];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_mins(90)), "1h30m");
        assert_eq!(duration(Duration::MAX), "5124095576030431h15s");
    }

    #[test]
    fn costs_keep_significant_digits() {
        let cases = [
            (0.0, "none reported"),
            (0.0021, "$0.0021"),
            (1.5, "$1.50"),
            (12.0, "$12.00"),
            (1e-6, "$0.000001"),
            (3e-7, "less than $0.000001"),
        ];
        for (dollars, text) in cases {
            assert_eq!(cost(dollars), text);
        }
    }

    #[test]
    fn times_are_utc_and_never_fail() {
        assert_eq!(time(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_999)), "2023-11-14T22:13:20Z");
        let far = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 60));
        assert_eq!(far.map_or("out of range".to_owned(), time), "out of range");
    }

    #[test]
    fn only_used_tokens_are_listed() {
        assert_eq!(tokens(Usage::default()), "none reported");
        assert_eq!(tokens(Usage { input: 3, cache_read: 4, ..Usage::default() }), "7 (input 3, cache read 4)");
    }
}
