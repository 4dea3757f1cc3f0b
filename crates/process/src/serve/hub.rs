//! The one stream of a server's events, and whose turn each event belongs to.

use super::lane::{Laggard, Lane, LaneSender, lane};
use crate::backoff;
use crate::dialect::{Client, ClientError, SessionEvent};
use crate::lines::{Line, Lines};
use futures_util::TryStreamExt;
use opencode_run_core::SessionId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::io::StreamReader;

/// The longest event that is read. Frames of the stream are single lines; a library for server-sent events would collect
/// a frame of any length, and a frame that is too long is to be skipped instead.
const LONGEST_EVENT: usize = 16 << 20;
/// How long the stream may be silent: a server sends a heartbeat every ten seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a turn waits for the stream to be opened, which takes milliseconds where the server is not busy.
const CONNECTION_LIMIT: Duration = Duration::from_mins(1);

/// Whose events are wanted.
#[derive(Debug, Default)]
struct Listeners {
    lanes: HashMap<SessionId, LaneSender>,
    /// The sessions of sub-agents, by the turn's session.
    sub_agents: HashMap<SessionId, SessionId>,
    /// Whether these sessions are at work, as far as the stream has said since it is followed without a gap.
    followed: HashMap<SessionId, bool>,
}

/// Reads a server's stream for all of its turns.
///
/// Dropping it stops the reading.
#[derive(Debug)]
pub(crate) struct Hub {
    listeners: Arc<Mutex<Listeners>>,
    connected: watch::Receiver<bool>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Hub {
    /// Begins to read.
    pub(crate) fn start(client: Client) -> Self {
        let listeners = Arc::new(Mutex::new(Listeners::default()));
        let (connection, connected) = watch::channel(false);
        let reader = tokio::spawn(read(client, Arc::clone(&listeners), connection));
        Self { listeners, connected, reader }
    }

    /// Waits until the stream is open, so that nothing that happens from then on is missed.
    ///
    /// # Errors
    ///
    /// If it is not open in time. The reader tries without end; who waits for it does not.
    pub(crate) async fn connected(&self) -> Result<(), ClientError> {
        let mut connected = self.connected.clone();
        let open = tokio::time::timeout(CONNECTION_LIMIT, connected.wait_for(|connected| *connected)).await;
        match open {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ClientError::NoAnswer("its stream of events cannot be opened".to_owned())),
        }
    }

    /// Begins to collect the events of a session and of its sub-agents.
    pub(crate) fn listen(&self, session: SessionId) -> Listening {
        let (sender, lane) = lane();
        lock(&self.listeners).lanes.insert(session.clone(), sender);
        Listening { lane, session, listeners: Arc::clone(&self.listeners) }
    }

    /// Begins to note whether a session is at work, whoever works there. It is taken for one that is not until the stream says
    /// otherwise.
    pub(crate) fn follow(&self, session: SessionId) {
        lock(&self.listeners).followed.insert(session, false);
    }

    /// Notes no more whether a session is at work.
    pub(crate) fn unfollow(&self, session: &SessionId) {
        lock(&self.listeners).followed.remove(session);
    }

    /// Returns whether a session was followed without a gap, and is not at work.
    pub(crate) fn is_quiet(&self, session: &SessionId) -> bool {
        lock(&self.listeners).followed.get(session) == Some(&false)
    }

    /// Takes a session for that of a sub-agent of a turn.
    pub(crate) fn adopt(&self, sub_agent: SessionId, turn: &SessionId) {
        lock(&self.listeners).adopt(sub_agent, turn);
    }
}

/// A turn's own events. Dropping it ends the collecting.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) lane: Lane,
    session: SessionId,
    listeners: Arc<Mutex<Listeners>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = lock(&self.listeners);
        listeners.lanes.remove(&self.session);
        listeners.sub_agents.retain(|_, session| *session != self.session);
    }
}

// The lock is held for plain look-ups and assignments only.
fn lock(listeners: &Mutex<Listeners>) -> MutexGuard<'_, Listeners> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listeners {
    /// Passes an event on, and returns its turn where that lags.
    fn deliver(&mut self, event: SessionEvent) -> Option<Laggard> {
        if let Some(parent) = &event.parent {
            self.adopt(event.session.clone(), parent);
        }
        if let Some(works) = event.works()
            && let Some(known) = self.followed.get_mut(&event.session)
        {
            *known = works;
        }
        let turn = self.sub_agents.get(&event.session).unwrap_or(&event.session);
        self.lanes.get(turn)?.send(event)
    }

    /// Takes a session for that of a sub-agent of a turn, or of one of its sub-agents.
    fn adopt(&mut self, sub_agent: SessionId, parent: &SessionId) {
        let turn = self.sub_agents.get(parent).unwrap_or(parent);
        if self.lanes.contains_key(turn) && !self.lanes.contains_key(&sub_agent) {
            let turn = turn.clone();
            self.sub_agents.insert(sub_agent, turn);
        }
    }

    fn mend(&self) {
        self.lanes.values().for_each(LaneSender::mend);
    }

    fn tear(&mut self) {
        self.followed.clear();
        for lane in self.lanes.values() {
            lane.tear();
        }
    }
}

/// Reads the stream, and opens it again whenever it breaks, until it is aborted.
async fn read(client: Client, listeners: Arc<Mutex<Listeners>>, connection: watch::Sender<bool>) {
    let mut pauses = backoff::reconnect();
    loop {
        match client.events().await {
            Err(error) => tracing::debug!(%error, "the stream of events cannot be opened"),
            Ok(response) => {
                let bytes = response.bytes_stream().map_err(std::io::Error::other);
                let mut lines = Lines::new(StreamReader::new(Box::pin(bytes)), LONGEST_EVENT);
                while let Ok(Some(line)) = tokio::time::timeout(SILENCE, lines.next()).await {
                    match line {
                        Line::Whole(line) => {
                            let Some(data) = line.strip_prefix(b"data:") else { continue };
                            // The first event says that the stream is open.
                            if !*connection.borrow() {
                                connection.send_replace(true);
                                lock(&listeners).mend();
                                pauses = backoff::reconnect();
                            }
                            let event = client.read_event(&String::from_utf8_lossy(data));
                            if let Some(event) = event {
                                let laggard = lock(&listeners).deliver(event);
                                if let Some(laggard) = laggard {
                                    laggard.wait().await;
                                }
                            }
                        }
                        Line::TooLong(bytes) => {
                            tracing::warn!(bytes, "an event was too long and left out");
                            lock(&listeners).tear();
                        }
                    }
                }
                connection.send_replace(false);
                lock(&listeners).tear();
            }
        }
        // It has no end.
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::RawJson;

    fn status(session: &str, status: &str) -> SessionEvent {
        let raw = format!(r#"{{"properties":{{"sessionID":"{session}","status":{{"type":"{status}"}}}}}}"#);
        let kind = "session.status".to_owned();
        SessionEvent { session: SessionId::new(session), parent: None, kind, raw: RawJson::parse(raw).unwrap() }
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_opened_is_not_waited_for_without_end() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(format!("http://{nobody}").parse().unwrap(), None, None).unwrap();
        let hub = Hub::start(client);
        tokio::time::pause();
        assert!(matches!(hub.connected().await, Err(ClientError::NoAnswer(_))));
    }

    #[test]
    fn who_is_at_work_is_known_of_followed_sessions_until_the_stream_breaks() {
        let mut listeners = Listeners::default();
        let known = |listeners: &Listeners, session| listeners.followed.get(&SessionId::new(session)).copied();
        listeners.deliver(status("a", "busy"));
        assert_eq!(known(&listeners, "a"), None);
        listeners.followed.insert(SessionId::new("a"), false);
        for (session, says, works) in
            [("b", "busy", false), ("a", "retry", true), ("a", "idle", false), ("a", "busy", true)]
        {
            listeners.deliver(status(session, says));
            assert_eq!(known(&listeners, "a"), Some(works), "{session} {says}");
        }
        listeners.deliver(SessionEvent { kind: "session.idle".to_owned(), ..status("a", "busy") });
        assert_eq!(known(&listeners, "a"), Some(false));
        listeners.deliver(SessionEvent { kind: "message.updated".to_owned(), ..status("a", "busy") });
        assert_eq!(known(&listeners, "a"), Some(false));
        listeners.tear();
        assert_eq!(known(&listeners, "a"), None);
    }
}
