//! Holds the requests to an upstream: a maximum rate, and pauses while the provider refuses requests.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

/// The interval between the requests that are released after a pause, so that they are not the next burst.
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);
/// The longest pause that a provider can ask for: its clock may be wrong.
const MAX_PAUSE: Duration = Duration::from_hours(6);
/// The longest time for which a request is held: clients wait for about five minutes.
pub(crate) const MAX_HOLD: Duration = Duration::from_mins(4);
/// The status of an overloaded Anthropic API.
const OVERLOADED: u16 = 529;

/// Holds the requests to one provider while it refuses them, and enforces a rate.
///
/// An answer with status 429 pauses all routes with the throttle for the time in its `retry-after`; an answer with 503 or
/// 529 does so if it has one. Requests that arrive meanwhile wait in the gateway. A clone is another handle to the same
/// throttle.
#[derive(Clone)]
pub struct Throttle {
    pauses: Arc<Pauses>,
    queue: Arc<Queue>,
}

type OnRateLimit = Box<dyn Fn(Option<Duration>) + Send + Sync>;

struct Pauses {
    until: watch::Sender<Pause>,
    on_rate_limit: OnRateLimit,
}

/// The last pause, and the length of all.
#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    end: Option<Instant>,
    total: Duration,
}

impl Pause {
    fn rest(self) -> Duration {
        self.end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()))
    }
}

/// The requests that wait, in the order of their arrival.
struct Queue {
    interval: Option<Duration>,
    /// The time at which the next request may be sent.
    next: Mutex<Instant>,
}

impl Throttle {
    /// Creates a throttle without a rate. The function is called with the `retry-after` of each answer that refuses a request
    /// for now, on the gateway's thread, and must return immediately.
    pub fn new(on_rate_limit: impl Fn(Option<Duration>) + Send + Sync + 'static) -> Self {
        let pauses = Pauses { until: watch::Sender::new(Pause::default()), on_rate_limit: Box::new(on_rate_limit) };
        Self { pauses: Arc::new(pauses), queue: Arc::new(Queue::new(None)) }
    }

    /// Returns a throttle with the same pauses and a rate of its own: at least this time is between two requests.
    #[must_use]
    pub fn with_interval(&self, interval: impl Into<Option<Duration>>) -> Self {
        Self { pauses: Arc::clone(&self.pauses), queue: Arc::new(Queue::new(interval.into())) }
    }

    /// Holds all requests for this time from now on. A longer pause that was set before stays.
    pub fn pause(&self, time: Duration) {
        let time = time.min(MAX_PAUSE);
        self.pauses.until.send_if_modified(|pause| {
            let more = time.saturating_sub(pause.rest());
            if more.is_zero() {
                return false;
            }
            *pause = Pause { end: Some(Instant::now() + time), total: pause.total + more };
            true
        });
    }

    /// Returns the rest of the pause; `None` without one.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        let rest = self.pauses.until.borrow().rest();
        Some(rest).filter(|rest| !rest.is_zero())
    }

    /// Returns the time for which requests were held by pauses so far.
    #[must_use]
    pub fn paused_total(&self) -> Duration {
        let pause = *self.pauses.until.borrow();
        pause.total.saturating_sub(pause.rest())
    }

    /// Takes the head of an answer, which may refuse the request for now.
    pub(crate) fn note(&self, status: StatusCode, headers: &HeaderMap) {
        let after = retry_after(headers, SystemTime::now());
        let is_limit = match status.as_u16() {
            429 => true,
            503 | OVERLOADED => after.is_some(),
            _ => false,
        };
        if !is_limit {
            return;
        }
        if let Some(after) = after {
            self.pause(after);
        }
        (self.pauses.on_rate_limit)(after);
    }

    /// Waits until a request may leave.
    pub(crate) async fn pass(&self) {
        if self.queue.interval.is_none() && self.paused_for().is_none() {
            return;
        }
        // The mutex is fair: requests leave in the order of their arrival.
        let mut next = self.queue.next.lock().await;
        loop {
            self.pause_ended().await;
            tokio::time::sleep_until(*next).await;
            if self.paused_for().is_none() {
                break;
            }
        }
        *next = Instant::now() + self.queue.interval.unwrap_or(RELEASE_INTERVAL);
    }

    async fn pause_ended(&self) {
        let mut until = self.pauses.until.subscribe();
        loop {
            let pause = *until.borrow_and_update();
            let Some(end) = pause.end.filter(|end| *end > Instant::now()) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                // The sender is in `self`.
                _ = until.changed() => {}
            }
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("interval", &self.queue.interval).finish_non_exhaustive()
    }
}

impl Queue {
    fn new(interval: Option<Duration>) -> Self {
        Self { interval, next: Mutex::new(Instant::now()) }
    }
}

/// Returns the time in `retry-after-ms` or `retry-after`, which is a number of seconds or a date. A time of 0 names none.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let milliseconds = text("retry-after-ms").and_then(number).map(|milliseconds| milliseconds / 1000.0);
    let seconds = || text(RETRY_AFTER.as_str()).and_then(number);
    let named = milliseconds.or_else(seconds).map(|seconds| seconds.min(MAX_PAUSE.as_secs_f64()));
    let date = || httpdate::parse_http_date(text(RETRY_AFTER.as_str())?).ok()?.duration_since(now).ok();
    named.map(Duration::from_secs_f64).or_else(date).filter(|after| !after.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn retry_after_has_three_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let of = |fields: &[(&'static str, &str)]| retry_after(&head(fields), now);
        assert_eq!(of(&[("retry-after", "30")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("retry-after", "1.5")]), Some(Duration::from_millis(1500)));
        assert_eq!(of(&[("retry-after-ms", "250"), ("retry-after", "9")]), Some(Duration::from_millis(250)));
        assert_eq!(of(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("retry-after", "1e99")]), Some(MAX_PAUSE));
        for text in ["0", "-3", "soon", "NaN", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(of(&[("retry-after", text)]), None, "{text}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn only_refusals_pause() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let throttle = Throttle::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        for (status, named, expected) in [(200, true, 0), (500, true, 0), (503, false, 0), (429, false, 1)] {
            let headers = if named { head(&[("retry-after", "60")]) } else { HeaderMap::new() };
            throttle.note(StatusCode::from_u16(status).unwrap(), &headers);
            assert_eq!((calls.load(Ordering::Relaxed), throttle.paused_for()), (expected, None), "{status}");
        }
        throttle.note(StatusCode::SERVICE_UNAVAILABLE, &head(&[("retry-after", "60")]));
        assert!(calls.load(Ordering::Relaxed) == 2 && throttle.paused_for() > Some(Duration::from_secs(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn pause_holds_and_longer_one_stays() {
        let throttle = Throttle::new(|_| {});
        let other_rate = throttle.with_interval(Duration::from_secs(1));
        throttle.pause(Duration::from_secs(10));
        throttle.pause(Duration::from_secs(5));
        let began = Instant::now();
        tokio::join!(throttle.pass(), throttle.pass(), other_rate.pass());
        assert_eq!((throttle.paused_for(), throttle.paused_total()), (None, Duration::from_secs(10)));
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_secs(10) && elapsed < Duration::from_secs(11), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_not_exceeded() {
        let throttle = Throttle::new(|_| {}).with_interval(Duration::from_millis(100));
        let began = Instant::now();
        let cancelled = tokio::time::timeout(Duration::from_millis(50), async {
            throttle.pass().await;
            throttle.pass().await;
        });
        assert!(cancelled.await.is_err(), "the second one waits");
        for number in 1..=20_u32 {
            throttle.pass().await;
            assert!(began.elapsed() >= Duration::from_millis(100) * number, "no place is lost, and none is early");
        }
        assert!(began.elapsed() < Duration::from_millis(2200));
    }
}
