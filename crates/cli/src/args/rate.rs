//! The rate of requests to a model source.

use opencode_run_core::ModelSourceType;
use std::str::FromStr;
use std::time::Duration;

/// A rate, such as `10/s` or `code=30/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The role of the model source; `None` for all.
    pub(crate) role: Option<ModelSourceType>,
    /// The minimum time between two requests.
    pub(crate) interval: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, rate) = match text.split_once('=') {
            Some((role, rate)) => (Some(role.parse().map_err(|error| format!("{error}"))?), rate),
            None => (None, text),
        };
        let interval = interval(rate).ok_or("write a number of requests and a unit, such as 10/s, 30/m or 500/h")?;
        Ok(Self { role, interval })
    }
}

fn interval(rate: &str) -> Option<Duration> {
    let (count, unit) = rate.split_once('/')?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" | "min" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return None,
    };
    let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
    Some(unit / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_has_role_and_unit() {
        let of = |text: &str| text.parse::<Rate>();
        assert_eq!(of("10/s"), Ok(Rate { role: None, interval: Duration::from_millis(100) }));
        let code = Some(ModelSourceType::Code);
        assert_eq!(of("code=30/m"), Ok(Rate { role: code, interval: Duration::from_secs(2) }));
        assert_eq!(of("code=1/h").unwrap().interval, Duration::from_hours(1));
        for wrong in ["10", "0/s", "10/day", "-1/s", "code=", "1.5/s", ""] {
            assert!(of(wrong).unwrap_err().contains("10/s"), "{wrong}");
        }
        assert!(of("cdoe=1/s").unwrap_err().contains("plan, think, code"));
    }
}
