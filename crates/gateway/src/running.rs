//! A running gateway.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::shared::GatewayState;

/// A gateway, as long as a handle or a route exists. Dropping it stops its thread.
pub(crate) struct RunningGateway {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<GatewayState>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            thread.join().ok();
        }
    }
}
