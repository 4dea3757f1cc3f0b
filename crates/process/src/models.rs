//! Which models there are: those that opencode knows, and those that the endpoint of a model source lists.

use crate::protocol::Generation;
use crate::{Launch, ServeExecutor, model_route, stderr_tail::StderrTail};
use opencode_run_core::ModelConfig;
use opencode_run_gateway::{ModelList, Options, ProbeError, probe};
use std::path::Path;
use std::time::Duration;

/// How long opencode may take to answer. It takes two seconds, and longer where it loads its catalog first.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Why it is not known which models opencode knows.
#[derive(Debug, thiserror::Error)]
#[error("opencode does not say which models it knows: {why}")]
pub struct ModelListError {
    why: String,
}

/// Asks opencode which models can be used in a directory, which costs some seconds. Each name is what a turn takes for its
/// model, `provider/model`.
///
/// # Errors
///
/// If opencode cannot be started, fails, or does not answer within a minute. Nothing of it is left in any case.
pub async fn known_models(launch: &Launch, directory: &Path) -> Result<Vec<String>, ModelListError> {
    let failed = |why: String| ModelListError { why };
    if launch.opencode().generation() == Generation::V2 {
        // Its command line would use, or start, a background service that knows nothing of this environment.
        let executor = ServeExecutor::new(launch.clone()).map_err(|error| failed(error.to_string()))?;
        let names = executor.model_names(directory).await;
        executor.shutdown().await;
        return names.map_err(failed);
    }
    let arguments = launch.opencode().generation().models_arguments();
    let query = launch.query(arguments, directory, REQUEST_TIMEOUT).await.map_err(|error| failed(error.to_string()))?;
    if let Some(status) = query.status.filter(|status| !status.success()) {
        let mut tail = StderrTail::default();
        String::from_utf8_lossy(&query.stderr).lines().for_each(|line| tail.push(line));
        return Err(failed(format!("it ended with {status}: {}", tail.text())));
    }
    Ok(names(&String::from_utf8_lossy(&query.stdout)))
}

/// Asks the endpoint of a model source for its models, in one request that costs no tokens and takes `limit` at most. It is
/// reached as the gateway reaches it, with the source's key.
///
/// # Errors
///
/// Why there is no list: the endpoint cannot be reached, does not take the key, or has none.
pub async fn listed_models(config: &ModelConfig, limit: Duration) -> Result<ModelList, ProbeError> {
    probe(&model_route::upstream(config), &Options::default(), limit).await
}

/// Reads the list, a name a line.
fn names(list: &str) -> Vec<String> {
    list.lines().map(str::trim).filter(|line| line.contains('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name() {
        assert_eq!(names("opencode/a\nstub/a b/c\r\n\nsome words\n"), ["opencode/a", "stub/a b/c"]);
    }
}
