//! Rates of model sources, and pauses after a rate limit, which the gateway enforces.

use opencode_runner::{ExposeSecret, HostBuilder, ModelConfig, ModelSource, ModelSourceType, Throttle};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

/// The maximum number of queued rate limits. Further ones belong to the same burst.
const MAX_WAITING: usize = 64;

/// A rate limit that a request met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every executor makes these")]
pub struct RateLimit {
    /// The affected model sources, by the names that tasks use; tasks without a source use the empty name.
    pub sources: Vec<String>,
    /// The time after which the provider accepts requests again, if it named one.
    pub retry_after: Option<Duration>,
}

/// The throttles of all model sources. Sources with the same address and key are paused together.
#[derive(Debug)]
pub struct Throttles {
    by_role: Vec<(ModelSourceType, Throttle)>,
    by_name: HashMap<String, Throttle>,
    limits: Mutex<mpsc::Receiver<RateLimit>>,
    _sender: mpsc::Sender<RateLimit>,
}

impl Throttles {
    /// Creates the throttles of model sources. `interval` returns the minimum time between two requests of a source, if
    /// there is one.
    #[must_use]
    pub fn new(sources: &ModelSource, interval: impl Fn(ModelSourceType) -> Option<Duration>) -> Self {
        let (sender, limits) = mpsc::channel(MAX_WAITING);
        let mut groups: Vec<(&ModelConfig, Vec<ModelSourceType>)> = Vec::new();
        for (role, config) in sources.iter() {
            match groups.iter_mut().find(|(known, _)| is_same_account(known, config)) {
                Some((_, roles)) => roles.push(role),
                None => groups.push((config, vec![role])),
            }
        }
        let mut by_role = Vec::new();
        let mut by_name = HashMap::new();
        for (_, roles) in groups {
            let names: Vec<_> = roles.iter().flat_map(|role| names(*role, sources)).collect();
            let sending = sender.clone();
            let concerned = names.clone();
            let shared = Throttle::new(move |retry_after| {
                // If the channel is full, the batch has not taken earlier ones of the same burst.
                sending.try_send(RateLimit { sources: concerned.clone(), retry_after }).ok();
            });
            by_role.extend(roles.into_iter().map(|role| (role, shared.with_interval(interval(role)))));
            by_name.extend(names.into_iter().map(|name| (name, shared.clone())));
        }
        Self { by_role, by_name, limits: Mutex::new(limits), _sender: sender }
    }

    /// Makes the gateway of a host use the throttles.
    #[must_use]
    pub fn applied_to(&self, host: HostBuilder) -> HostBuilder {
        self.by_role.iter().fold(host, |host, (role, throttle)| host.throttle(*role, throttle.clone()))
    }

    /// Waits for the next rate limit.
    pub(super) async fn next_limit(&self) -> RateLimit {
        match self.limits.lock().await.recv().await {
            Some(limit) => limit,
            None => std::future::pending().await,
        }
    }

    /// Holds the requests of a source.
    pub(super) fn pause(&self, source: &str, time: Duration) {
        if let Some(throttle) = self.by_name.get(source) {
            throttle.pause(time);
        }
    }

    /// Returns the total time for which pauses have held the requests of a source.
    pub(super) fn paused_total(&self, source: &str) -> Duration {
        self.by_name.get(source).map(Throttle::paused_total).unwrap_or_default()
    }
}

impl Default for Throttles {
    fn default() -> Self {
        Self::new(&ModelSource::new(), |_| None)
    }
}

/// Returns the names of tasks' model sources that lead to this one: the source `default` stands in for all that are missing.
fn names(role: ModelSourceType, sources: &ModelSource) -> Vec<String> {
    let mut names = vec![role.as_str().to_owned()];
    if role == ModelSourceType::Default {
        let missing = ModelSourceType::ALL.into_iter().filter(|role| !sources.has_model(*role));
        names.extend(missing.map(|role| role.as_str().to_owned()));
        names.push(String::new());
    }
    names
}

/// Returns whether a provider counts the requests of two sources together.
fn is_same_account(one: &ModelConfig, other: &ModelConfig) -> bool {
    let key = |config: &ModelConfig| config.api_key.as_ref().map(|key| key.expose_secret().to_owned());
    let from = |config: &ModelConfig| (config.api_key_file.clone(), config.api_key_command.clone());
    one.base_url == other.base_url && key(one) == key(other) && from(one) == from(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str) -> ModelConfig {
        let base_url = Some("http://127.0.0.1:1/v1".to_owned());
        ModelConfig { base_url, api_key: Some(key.into()), ..ModelConfig::new("m") }
    }

    #[tokio::test]
    async fn sources_of_one_account_pause_together() {
        let mut sources = ModelSource::new();
        sources.set_model(ModelSourceType::Code, config("k1"));
        sources.set_model(ModelSourceType::Default, config("k1"));
        sources.set_model(ModelSourceType::Write, config("k2"));
        let throttles = Throttles::new(&sources, |_| None);
        throttles.pause("code", Duration::from_mins(1));
        let paused = |name: &str| throttles.by_name.get(name).is_some_and(|throttle| throttle.paused_for().is_some());
        assert!(paused("default") && paused("") && paused("plan"), "the default stands in for `plan`");
        assert!(!paused("write") && !paused("x/model"));
        assert_eq!(throttles.by_role.len(), 3);
        let waiting = tokio::time::timeout(Duration::from_millis(10), throttles.next_limit());
        assert!(waiting.await.is_err(), "a pause of ours is no rate limit");
    }
}
