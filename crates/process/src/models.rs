//! Lists models: those that opencode knows, and those of a model source's endpoint.

#[cfg(feature = "gateway")]
use crate::model_route;
use crate::{Launch, ServeExecutor, stderr_tail::StderrTail};
#[cfg(feature = "gateway")]
use opencode_run_core::ModelConfig;
#[cfg(feature = "gateway")]
use opencode_run_gateway::{GatewayOptions, ModelList, ProbeError, probe};
use std::path::Path;
use std::time::Duration;

/// The timeout of opencode's answer. It takes two seconds, and longer if it loads its catalog first.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The reason why opencode's models are unknown.
#[derive(Debug, thiserror::Error)]
#[error("cannot list opencode's models: {why}")]
pub struct ModelListError {
    why: String,
}

/// Returns the models that opencode can use in a directory, which takes some seconds. Each name is valid as a turn's
/// model, `provider/model`.
///
/// # Errors
///
/// If opencode cannot be started, fails, or does not answer within a minute. No process of it is left in any case.
pub async fn known_models(launch: &Launch, directory: &Path) -> Result<Vec<String>, ModelListError> {
    let failed = |why: String| ModelListError { why };
    let Some(arguments) = launch.opencode().generation().models_arguments() else {
        let executor = ServeExecutor::new(launch.clone()).map_err(|error| failed(error.to_string()))?;
        let names = executor.model_names(directory).await;
        executor.shutdown().await;
        return names.map_err(failed);
    };
    let query = launch.query(arguments, directory, REQUEST_TIMEOUT).await.map_err(|error| failed(error.to_string()))?;
    if let Some(status) = query.status.filter(|status| !status.success()) {
        let mut tail = StderrTail::default();
        String::from_utf8_lossy(&query.stderr).lines().for_each(|line| tail.push(line));
        return Err(failed(format!("it exited with {status}: {}", tail.text())));
    }
    Ok(names(&String::from_utf8_lossy(&query.stdout)))
}

/// Requests the models of a model source's endpoint, in one request that costs no tokens and takes at most `limit`. The
/// gateway sends the request, with the source's key.
///
/// # Errors
///
/// If the endpoint cannot be reached, rejects the key, or has no list.
#[cfg(feature = "gateway")]
pub async fn listed_models(config: &ModelConfig, limit: Duration) -> Result<ModelList, ProbeError> {
    probe(&model_route::upstream(config), &GatewayOptions::default(), limit).await
}

/// Parses the list, one name per line.
fn names(list: &str) -> Vec<String> {
    list.lines().map(str::trim).filter(|line| line.contains('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_name() {
        assert_eq!(names("opencode/a\nstub/a b/c\r\n\nsome words\n"), ["opencode/a", "stub/a b/c"]);
    }
}
