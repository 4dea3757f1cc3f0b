//! The fake as a server.

mod answers;
mod ids;
mod model;
mod replay;
mod routes;
mod state;
mod streams;
mod turn;
mod v2;

use crate::invocation::Invocation;
use crate::output::write;
use axum::Router;
use axum::serve::ListenerExt;
use opencode_run_tests::script::Stream;
use opencode_run_tests::serve_script::Serving;
use state::Server;
use std::error::Error;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Prints the address, and answers until the process is killed.
pub(crate) fn serve(invocation: &Arc<Invocation>, serving: &Serving) -> Result<(), Box<dyn Error>> {
    // One thread, so that the client's own measurements have the other processor.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", serving.port)).await?;
        let address = listener.local_addr()?;
        let server = Arc::new(Server::new(Arc::clone(invocation), serving.clone()));
        let app = if invocation.is_v2 {
            v2::exit_at_end_of_stdin(Arc::clone(invocation));
            Router::new().fallback(v2::answer).with_state(server)
        } else {
            Router::new().fallback(routes::answer).with_state(server)
        };
        let ready = if invocation.is_v2 {
            format!("{{\"url\":\"http://{address}\"}}\n")
        } else {
            format!("opencode server listening on http://{address}\n")
        };
        write(Stream::Stdout, ready.as_bytes())?;
        // Without this an event waits for the acknowledgement of the previous one.
        let listener = listener.tap_io(|connection| {
            connection.set_nodelay(true).ok();
        });
        axum::serve(listener, app).await
    })?;
    Ok(())
}
