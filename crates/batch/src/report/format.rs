//! Numbers as people read them.

use super::rates::float;

/// Returns a duration such as `4.2 s`, `3 min 20 s` or `2 h 05 min`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        _ if ms < 1000 => format!("{ms} ms"),
        0..10 => format!("{:.1} s", float(ms) / 1000.0),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Returns an amount in USD with the digits that matter.
pub(crate) fn cost(usd: f64) -> String {
    match usd {
        _ if usd == 0.0 => "$0".to_owned(),
        _ if usd < 0.01 => format!("${usd:.4}"),
        _ if usd < 100.0 => format!("${usd:.2}"),
        _ => format!("${usd:.0}"),
    }
}

/// Returns a count such as `950`, `12.3k` or `4.5M`.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", float(number) / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", float(number) / 1e6),
        _ => format!("{:.1}G", float(number) / 1e9),
    }
}

/// Returns a share as percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_significant_digits() {
        let durations = [0, 999, 4200, 59_999, 200_000, 7_500_000, 200_000_000].map(duration);
        assert_eq!(durations, ["0 ms", "999 ms", "4.2 s", "59 s", "3 min 20 s", "2 h 05 min", "2 d 7 h"]);
        assert_eq!([0.0, 0.0012, 0.5, 12.345, 1234.5].map(cost), ["$0", "$0.0012", "$0.50", "$12.35", "$1234"]);
        assert_eq!([950, 12_345, 4_500_000].map(count), ["950", "12.3k", "4.5M"]);
    }
}
