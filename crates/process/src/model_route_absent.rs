//! Replaces the route to a model source in a build without the feature `gateway`: there is never one.

use opencode_run_core::{Budget, Ending, ModelConfig, ModelSourceType, ModelTraffic, SessionId, StartError};
use std::time::Duration;

/// The gateway, which this build does not have.
#[derive(Debug, Clone)]
pub(crate) enum SharedGateway {}

/// The limits of the gateway on the requests to a model source, which this build does not have: there is no value.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Throttle {}

/// A route through the gateway.
#[derive(Debug)]
pub(crate) enum ModelRoute {}

/// A turn's lease of a route.
#[derive(Debug)]
pub(crate) enum RouteLease {}

impl SharedGateway {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(crate) fn route(
        &self,
        _: ModelSourceType,
        _: &ModelConfig,
        _: Option<Throttle>,
    ) -> Result<ModelRoute, StartError> {
        match *self {}
    }
}

impl ModelRoute {
    pub(crate) fn source(&self) -> ModelSourceType {
        match *self {}
    }

    pub(crate) fn rewrite_endpoint(&self, _: &ModelConfig) -> ModelConfig {
        match *self {}
    }

    pub(crate) fn lease(&self, _: &SessionId, _: Budget) -> Result<RouteLease, StartError> {
        match *self {}
    }

    pub(crate) fn lease_for_process(&self, _: Budget) -> Result<RouteLease, StartError> {
        match *self {}
    }
}

impl RouteLease {
    pub(crate) fn include(&mut self, _: &SessionId) {
        match *self {}
    }

    pub(crate) fn with_idle_limit(self, _: Option<Duration>) -> Self {
        self
    }

    pub(crate) fn conclude(&self, _: Ending) -> Ending {
        match *self {}
    }

    pub(crate) fn traffic(&self) -> ModelTraffic {
        match *self {}
    }
}

/// Waits forever: without a lease there is no progress.
pub(crate) async fn progressed(route_lease: &mut Option<RouteLease>) {
    match route_lease {
        Some(route_lease) => match *route_lease {},
        None => std::future::pending().await,
    }
}
