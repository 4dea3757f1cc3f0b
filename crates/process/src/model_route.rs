//! The route from opencode to a model source, through a gateway in this process, so that the source's key stays here.

use crate::request::err_no_prices;
use opencode_run_core::{
    Budget, Ending, FailureKind, ModelConfig, ModelSourceType, ModelTraffic, ProviderPackage, Remedy, SessionId,
    StartError, TurnFailure,
};
pub(crate) use opencode_run_gateway::Throttle;
use opencode_run_gateway::{
    AnswerFault, Gateway, KeyHeader, Lease, LeaseError, LimitReached, Parameters, Prices, Protocol, Route, Upstream,
    UsageBudget, UsageLimits,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The shortest interval between two reports of progress to a turn.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The gateway of a launch. It starts with its first route and is shared by all clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedGateway(Arc<Mutex<Option<Gateway>>>);

impl SharedGateway {
    /// Returns a gateway that has not started; `None` in a build without one.
    #[expect(clippy::unnecessary_wraps, reason = "a build without the feature `gateway` has none")]
    pub(crate) fn new() -> Option<Self> {
        Some(Self::default())
    }

    /// Opens a route to a source.
    ///
    /// # Errors
    ///
    /// If the gateway cannot be started, or cannot reach the source.
    pub(crate) fn route(
        &self,
        source: ModelSourceType,
        config: &ModelConfig,
        throttle: Option<Throttle>,
    ) -> Result<ModelRoute, StartError> {
        let mut gateway = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gateway = match &mut *gateway {
            Some(gateway) => gateway,
            slot @ None => slot.insert(Gateway::start().map_err(|error| {
                StartError::new(FailureKind::Io, "cannot start the gateway to the model")
                    .remedy(Remedy::BypassGateway)
                    .caused_by(error)
            })?),
        };
        ModelRoute::open(gateway, source, config, throttle)
    }
}

/// A route to one model source. Dropping it closes the route.
#[derive(Debug)]
pub(crate) struct ModelRoute {
    path: Route,
    source: ModelSourceType,
}

/// A turn's lease of a route. Dropping it ends the requests of the turn.
#[derive(Debug)]
pub(crate) struct RouteLease {
    admission: Lease,
    account: UsageBudget,
    source: ModelSourceType,
    included: HashSet<SessionId>,
    bytes: watch::Receiver<u64>,
    content: watch::Receiver<u64>,
    /// The time from which progress may be reported again.
    next: Instant,
    /// The time for which liveness without content counts as progress, and the time since which there has been only
    /// liveness.
    liveness_limit: Duration,
    contentless_since: Option<Instant>,
}

impl ModelRoute {
    /// Opens a route to a source. The throttle holds its requests.
    ///
    /// # Errors
    ///
    /// If the gateway cannot reach the source: its base URL or its key is invalid.
    pub(crate) fn open(
        gateway: &Gateway,
        source: ModelSourceType,
        config: &ModelConfig,
        throttle: Option<Throttle>,
    ) -> Result<Self, StartError> {
        let path = gateway.open(&Upstream { throttle, ..upstream(config) }).map_err(|error| {
            let message = format!("the model source `{source}` cannot be used");
            StartError::new(FailureKind::Config, message).caused_by(error)
        })?;
        Ok(Self { path, source })
    }

    /// Returns the source that the route leads to.
    pub(crate) fn source(&self) -> ModelSourceType {
        self.source
    }

    /// Returns the source as opencode gets it: with the route as base URL and a placeholder key.
    pub(crate) fn rewrite_endpoint(&self, config: &ModelConfig) -> ModelConfig {
        ModelConfig {
            base_url: Some(self.path.base_url().to_owned()),
            api_key: Some(self.path.placeholder().into()),
            api_key_header: None,
            ..config.clone()
        }
    }

    /// Leases the route to a session and its sub-agents.
    ///
    /// # Errors
    ///
    /// If the budget cannot be enforced.
    pub(crate) fn lease(&self, session: &SessionId, budget: Budget) -> Result<RouteLease, StartError> {
        self.route_lease(budget, |account| self.path.lease(session.as_str(), account))
    }

    /// Leases the route to any session, for a route that was opened for one process.
    ///
    /// # Errors
    ///
    /// If the budget cannot be enforced.
    pub(crate) fn lease_for_process(&self, budget: Budget) -> Result<RouteLease, StartError> {
        self.route_lease(budget, |account| self.path.lease_to_anyone(account))
    }

    fn route_lease(
        &self,
        budget: Budget,
        admit: impl FnOnce(&UsageBudget) -> Result<Lease, LeaseError>,
    ) -> Result<RouteLease, StartError> {
        let Budget { max_cost_usd, max_requests, max_tokens } = budget;
        let account = UsageBudget::new(UsageLimits { max_cost_usd, max_requests, max_tokens_total: max_tokens })
            .map_err(|error| StartError::new(FailureKind::Usage, error.to_string()))?;
        let admission = admit(&account).map_err(|error| self.err_not_leased(error))?;
        let bytes = account.watch_bytes();
        let content = account.watch_content();
        Ok(RouteLease {
            admission,
            account,
            source: self.source,
            included: HashSet::new(),
            bytes,
            content,
            next: Instant::now(),
            liveness_limit: Duration::MAX,
            contentless_since: None,
        })
    }

    fn err_not_leased(&self, error: LeaseError) -> StartError {
        let source = self.source;
        match error {
            LeaseError::NoPrices => err_no_prices(source),
            other => StartError::new(FailureKind::Busy, format!("the model source `{source}`: {other}")),
        }
    }
}

impl RouteLease {
    /// Adds the session of a sub-agent. Since 1.18 opencode's requests also name the parent of a sub-agent.
    pub(crate) fn include(&mut self, sub_agent: &SessionId) {
        if self.included.insert(sub_agent.clone()) {
            // If the session is already included, the error can be ignored.
            self.admission.include(sub_agent.as_str()).ok();
        }
    }

    /// Limits how long liveness without content counts as progress: a turn with liveness only ends after
    /// three times its idle limit.
    ///
    /// Comments, pings and empty pieces of text show that the provider is at work: while a model thinks for minutes,
    /// they keep the connection open. A provider that sends nothing else hangs, or wants the turn to hang.
    pub(crate) fn with_idle_limit(mut self, idle: Option<Duration>) -> Self {
        self.liveness_limit = idle.map_or(Duration::MAX, |idle| idle.saturating_mul(2));
        self
    }

    /// Waits for progress: output of the model, or liveness of the provider within its limit. While the provider is paused, the
    /// idle limit stands still, so that is reported as progress as well.
    pub(crate) async fn progressed(&mut self) {
        loop {
            tokio::time::sleep_until(self.next).await;
            if self.admission.is_held() {
                self.next = Instant::now() + PROGRESS_INTERVAL;
                self.contentless_since = None;
                return;
            }
            if !self.received_bytes().await {
                self.next = Instant::now() + PROGRESS_INTERVAL;
                continue;
            }
            self.next = Instant::now() + PROGRESS_INTERVAL;
            if self.content.has_changed().unwrap_or(false) {
                self.content.mark_unchanged();
                self.contentless_since = None;
                return;
            }
            let since = *self.contentless_since.get_or_insert_with(Instant::now);
            if since.elapsed() <= self.liveness_limit {
                return;
            }
        }
    }

    /// Waits for bytes of an answer. Returns whether there are any: a source whose requests can be held is looked at again after
    /// a while.
    async fn received_bytes(&mut self) -> bool {
        let has_bytes = async {
            if self.bytes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        if self.admission.is_throttled() {
            tokio::time::timeout(PROGRESS_INTERVAL, has_bytes).await.is_ok()
        } else {
            has_bytes.await;
            true
        }
    }

    /// Returns the ending of a turn, which is better known here if a limit was reached or the gateway has seen a fault in
    /// the provider's last answer: opencode reports a refused request as a failure of the provider.
    pub(crate) fn conclude(&self, ending: Ending) -> Ending {
        match (ending, self.limit_reached()) {
            (Ending::Stopped, _) => Ending::Stopped,
            (_, Some(limit)) => Ending::Failed(limit),
            (Ending::Failed(failure), None) => Ending::Failed(explain(failure, self.admission.answer_fault())),
            (ending, None) => ending,
        }
    }

    /// Returns the traffic so far.
    pub(crate) fn traffic(&self) -> ModelTraffic {
        let seen = self.admission.traffic();
        let mut traffic = ModelTraffic::new(self.source);
        traffic.requests = seen.requests;
        traffic.refused = seen.refused;
        traffic.failed = seen.failed;
        traffic.input_tokens = seen.tokens.input;
        traffic.output_tokens = seen.tokens.output;
        traffic.cost_usd = seen.cost_usd;
        traffic.bytes_sent = seen.bytes_sent;
        traffic.bytes_received = seen.bytes_received;
        let answers = u32::try_from(seen.first_byte.answers).unwrap_or(u32::MAX);
        traffic.first_byte_ms = (answers > 0).then(|| seen.first_byte.sum_ms / f64::from(answers));
        traffic
    }

    /// Returns the limit that a request exceeded, as the failure of the turn.
    fn limit_reached(&self) -> Option<TurnFailure> {
        let message = match self.account.limit_reached()? {
            LimitReached::Cost { max, value } => {
                format!("the limit on the cost of {max} USD was reached: {value:.6} USD were used")
            }
            LimitReached::Requests { max, .. } => format!("the limit of {max} requests to the model was reached"),
            LimitReached::Tokens { max, value } => {
                format!("the limit of {max} tokens was reached: {value} were used")
            }
            LimitReached::Unmetered { .. } => {
                "the limit on tokens or cost cannot be enforced, because the number of used tokens is unknown: the model's \
                 provider does not report it, or an answer was cancelled before its end"
                    .to_owned()
            }
            other => format!("a limit was reached: {other:?}"),
        };
        Some(TurnFailure::Limit { message })
    }
}

/// Returns the failure that replaces opencode's report of a faulty answer.
fn explain(failure: TurnFailure, fault: Option<AnswerFault>) -> TurnFailure {
    let is_of_model = matches!(
        failure,
        TurnFailure::Provider { .. }
            | TurnFailure::MalformedAnswer { .. }
            | TurnFailure::Opencode { .. }
            | TurnFailure::Protocol { .. }
    );
    let provider = |message| TurnFailure::Provider { message, status: None, retryable: None, url: None };
    let Some(fault) = fault.filter(|_| is_of_model) else { return failure };
    match (fault, failure) {
        (AnswerFault::Unpriced { what }, _) => {
            let message =
                format!("the limit on the cost cannot be enforced: a request uses {what}, whose price is unknown");
            TurnFailure::Limit { message }
        }
        // opencode reports more, including a status, if it understood the error.
        (AnswerFault::Error { message }, TurnFailure::Provider { message: reported, status, retryable, url })
            if reported.contains(&message) =>
        {
            TurnFailure::Provider { message: reported, status, retryable, url }
        }
        (AnswerFault::Error { message }, _) => provider(message),
        (fault @ AnswerFault::BrokenOff, _) => provider(fault.to_string()),
        (fault, _) => TurnFailure::MalformedAnswer { message: fault.to_string() },
    }
}

/// Waits for progress; forever without a lease.
pub(crate) async fn progressed(route_lease: &mut Option<RouteLease>) {
    match route_lease {
        Some(route_lease) => route_lease.progressed().await,
        None => std::future::pending().await,
    }
}

/// Returns a source as the gateway needs it.
pub(crate) fn upstream(config: &ModelConfig) -> Upstream {
    let protocol = match config.provider.as_str() {
        ProviderPackage::ANTHROPIC => Protocol::Anthropic,
        ProviderPackage::GOOGLE => Protocol::Google,
        ProviderPackage::OPENAI_COMPATIBLE | "@ai-sdk/openai" => Protocol::OpenAiCompatible,
        _ => Protocol::Other,
    };
    Upstream {
        credential: config.api_key.clone(),
        key_header: config.api_key_header.clone().map_or(KeyHeader::ProtocolDefault, KeyHeader::Named),
        // Fixed: a command of the agent could request a more expensive model, and the limit on the cost would not hold.
        model: Some(config.model.clone()),
        // Set by the gateway, since the provider packages drop some parameters, and some agents have their own.
        parameters: Parameters {
            temperature: config.temperature,
            top_p: config.top_p,
            top_k: config.top_k,
            max_tokens: config.max_tokens,
        },
        prices: config.price_input.zip(config.price_output).map(|(input, output)| Prices { input, output }),
        ..Upstream::new(config.base_url.clone().unwrap_or_default(), protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::ExposeSecret;

    fn config() -> ModelConfig {
        ModelConfig {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            api_key: Some("sk-1234567890".into()),
            api_key_header: Some("X-Key".to_owned()),
            ..ModelConfig::new("m")
        }
    }

    fn route(config: &ModelConfig) -> ModelRoute {
        ModelRoute::open(&Gateway::start().unwrap(), ModelSourceType::Code, config, None).unwrap()
    }

    #[test]
    fn rewritten_endpoint_hides_key_and_address() {
        let seen = route(&config()).rewrite_endpoint(&config());
        assert_ne!(seen.api_key.unwrap().expose_secret(), "sk-1234567890");
        assert_ne!(seen.base_url, config().base_url);
        assert_eq!((seen.model.as_str(), seen.api_key_header), ("m", None));
    }

    #[tokio::test]
    async fn cost_limit_needs_prices() {
        let budget = Budget { max_cost_usd: Some(1.0), ..Budget::default() };
        let session = SessionId::new("ses_1");
        let error = route(&config()).lease(&session, budget).unwrap_err();
        assert_eq!(error.kind, FailureKind::Config);
        assert_eq!(error.remedy, Some(Remedy::SetPrices(ModelSourceType::Code)));
        let priced = ModelConfig { price_input: Some(1.0), price_output: Some(2.0), ..config() };
        let route = route(&priced);
        let route_lease = route.lease(&session, budget).unwrap();
        assert_eq!((route_lease.limit_reached(), route_lease.traffic().requests), (None, 0));
    }

    #[test]
    fn answer_fault_explains_the_failure() {
        let opencode = || TurnFailure::Opencode { message: "UnknownError: x".to_owned() };
        let status = |message: &str| TurnFailure::Provider {
            message: message.to_owned(),
            status: Some(421),
            retryable: Some(false),
            url: None,
        };
        let error = || AnswerFault::Error { message: "GPU fell over".to_owned() };
        let said = |failure, fault| {
            let failure = explain(failure, fault);
            (failure.kind(), failure.to_string())
        };
        let provider = |message: &str| (FailureKind::Provider, format!("the model's provider failed: {message}"));
        assert_eq!(said(opencode(), None), (FailureKind::Opencode, "opencode failed: UnknownError: x".to_owned()));
        assert_eq!(said(status("the request was refused"), Some(AnswerFault::Empty)), provider("its answer was empty"));
        assert_eq!(said(opencode(), Some(error())), provider("GPU fell over"));
        let known = status("status: GPU fell over");
        assert_eq!(explain(known.clone(), Some(error())), known, "it says more");
        let unpriced = AnswerFault::Unpriced { what: "another service tier" };
        assert_eq!(said(status("refused"), Some(unpriced)).0, FailureKind::Limit);
        let crashed = TurnFailure::ServerLost { message: "gone".to_owned() };
        assert_eq!(explain(crashed.clone(), Some(error())), crashed, "it has nothing to do with the model");
    }
}
