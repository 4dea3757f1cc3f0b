//! Runs tasks of many tenants, each with its own key, on a bounded number of shared servers.
//!
//! ```sh
//! cargo run --example shared_servers                            # three tenants, with opencode's default model
//! cargo run --example shared_servers -- BASE_URL MODEL KEY... # a tenant for each key of any OpenAI-compatible
//! server
//! ```
//!
//! The tasks work in new directories under the system's temp directory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{Host, ModelConfig, ModelSource, ModelSourceType, Prompt};
use std::env;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let endpoint = arguments.next().zip(arguments.next());
    let keys: Vec<_> = if endpoint.is_some() { arguments.map(Some).collect() } else { vec![None; 3] };

    let host = Host::builder().max_servers(2).server_idle_timeout(Duration::from_secs(30)).build().await?;

    for (tenant, api_key) in keys.into_iter().enumerate() {
        let mut sources = ModelSource::new();
        let mut prompt = Prompt::new("Say hello.");
        if let Some((base_url, model)) = &endpoint {
            let base_url = Some(base_url.clone());
            let config = ModelConfig { base_url, api_key: api_key.map(Into::into), ..ModelConfig::new(model) };
            sources.set_model(ModelSourceType::Code, config);
            prompt = prompt.source_type(ModelSourceType::Code);
        }
        let builder = host.runner().task_name(format!("tenant-{tenant}")).workspace(env::temp_dir());
        let runner = builder.model_source(sources).build().await?;
        let turn = runner.run(prompt).await?;
        println!("tenant {tenant}: {}", turn.answer()?);
    }
    host.shutdown().await;
    Ok(())
}
