//! Reads a server's single event stream and dispatches each event to its turn.

use super::mailbox::{MailboxSender, TurnMailbox, mailbox};
use super::pace::Pace;
use crate::backoff;
use crate::lines::{Line, Lines};
use crate::protocol::{Client, ClientError, SessionEvent};
use futures_util::TryStreamExt;
use opencode_run_core::SessionId;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio_util::io::StreamReader;

/// The longest event that is read. Frames are single lines. Libraries for server-sent events buffer a frame of any
/// length; here a frame beyond this limit is skipped.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The longest silence of the stream: a server sends a heartbeat every ten seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a turn waits until the stream is open. This takes milliseconds unless the server is busy.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum number of sessions whose activity is tracked. Continuing any other session costs a request.
const MAX_TRACKED_SESSIONS: usize = 1024;
/// The maximum number of sub-agent sessions of one server: an attached server could name ever more.
const MAX_SUB_AGENTS: usize = 1 << 16;

/// The maximum number of directories whose failed plugins are recorded, and of failures for each.
const MAX_PLUGIN_FAILURES: (usize, usize) = (1024, 20);

/// The turns that receive events.
#[derive(Debug, Default)]
struct Subscribers {
    mailboxes: HashMap<SessionId, MailboxSender>,
    /// The sessions of sub-agents, with the session of their turn.
    sub_agents: HashMap<SessionId, SessionId>,
    /// Whether these sessions are busy, according to the stream since its last disconnect.
    activity: HashMap<SessionId, bool>,
    /// The failures of plugins, by directory.
    plugin_failures: HashMap<PathBuf, BTreeSet<String>>,
}

/// Reads a server's stream for all of its turns. It never waits for a turn: a slow consumer loses events.
///
/// Dropping it stops the reader.
#[derive(Debug)]
pub(crate) struct EventDispatcher {
    subscribers: Arc<Mutex<Subscribers>>,
    connected: watch::Receiver<bool>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for EventDispatcher {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl EventDispatcher {
    /// Starts the reader.
    pub(crate) fn start(client: Client) -> Self {
        let subscribers = Arc::new(Mutex::new(Subscribers::default()));
        let (connection, connected) = watch::channel(false);
        let reader = tokio::spawn(read(client, Arc::clone(&subscribers), connection));
        Self { subscribers, connected, reader }
    }

    /// Waits until the stream is open, so that no later event is missed.
    ///
    /// # Errors
    ///
    /// If it is not open in time. The reader retries forever; this call does not wait for that.
    pub(crate) async fn connected(&self) -> Result<(), ClientError> {
        let mut connected = self.connected.clone();
        let open = tokio::time::timeout(CONNECT_TIMEOUT, connected.wait_for(|connected| *connected)).await;
        match open {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ClientError::NoAnswer("its stream of events cannot be opened".to_owned())),
        }
    }

    /// Subscribes to the events of a session and of its sub-agents.
    pub(crate) fn subscribe(&self, session: SessionId) -> Subscription {
        let (sender, mailbox) = mailbox();
        lock(&self.subscribers).mailboxes.insert(session.clone(), sender);
        Subscription { mailbox, session, subscribers: Arc::clone(&self.subscribers) }
    }

    /// Starts to track whether a session is busy with any client. It counts as idle until the stream reports activity.
    pub(crate) fn track_activity(&self, session: SessionId) {
        lock(&self.subscribers).track_activity(session);
    }

    /// Stops tracking a session's activity.
    pub(crate) fn untrack_activity(&self, session: &SessionId) {
        lock(&self.subscribers).activity.remove(session);
    }

    /// Returns whether a session is known to be idle: tracked without a disconnect, and not busy.
    pub(crate) fn is_idle(&self, session: &SessionId) -> bool {
        lock(&self.subscribers).activity.get(session) == Some(&false)
    }

    /// Returns the failures of plugins in a directory, according to the stream.
    pub(crate) fn plugin_failures(&self, directory: &Path) -> Vec<String> {
        let canonical = directory.canonicalize();
        let subscribers = lock(&self.subscribers);
        let known = |directory: &Path| subscribers.plugin_failures.get(directory);
        let failures = known(directory).or_else(|| known(canonical.as_deref().ok()?));
        failures.into_iter().flatten().cloned().collect()
    }

    /// Forgets the failures of plugins in a directory that is evicted.
    pub(crate) fn forget_plugin_failures(&self, directory: &Path) {
        let canonical = directory.canonicalize();
        let mut subscribers = lock(&self.subscribers);
        for directory in [Some(directory), canonical.as_deref().ok()].into_iter().flatten() {
            subscribers.plugin_failures.remove(directory);
        }
    }

    /// Registers a session as that of a turn's sub-agent.
    pub(crate) fn add_sub_agent(&self, sub_agent: SessionId, turn: &SessionId) {
        lock(&self.subscribers).add_sub_agent(sub_agent, turn);
    }
}

/// A turn's own events. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) mailbox: TurnMailbox,
    session: SessionId,
    subscribers: Arc<Mutex<Subscribers>>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = lock(&self.subscribers);
        subscribers.mailboxes.remove(&self.session);
        subscribers.sub_agents.retain(|_, session| *session != self.session);
    }
}

// Held for plain look-ups and assignments only.
fn lock(subscribers: &Mutex<Subscribers>) -> MutexGuard<'_, Subscribers> {
    subscribers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscribers {
    /// Delivers an event. Returns whether its turn is behind and able to catch up.
    fn deliver(&mut self, event: SessionEvent) -> bool {
        if let Some(parent) = &event.parent {
            self.add_sub_agent(event.session.clone(), parent);
        }
        if let Some(is_working) = event.is_working
            && let Some(known) = self.activity.get_mut(&event.session)
        {
            *known = is_working;
        }
        let turn = self.sub_agents.get(&event.session).unwrap_or(&event.session);
        self.mailboxes.get(turn).is_some_and(|mailbox| mailbox.send(event))
    }

    fn track_activity(&mut self, session: SessionId) {
        if self.activity.len() >= MAX_TRACKED_SESSIONS {
            self.activity.clear();
        }
        self.activity.insert(session, false);
    }

    fn add_plugin_failure(&mut self, directory: PathBuf, failure: String) {
        let (max_directories, max_failures) = MAX_PLUGIN_FAILURES;
        if self.plugin_failures.len() >= max_directories {
            self.plugin_failures.clear();
        }
        let failures = self.plugin_failures.entry(directory).or_default();
        if failures.len() < max_failures {
            failures.insert(failure);
        }
    }

    /// Registers a session as that of a sub-agent, whose parent is a turn or another sub-agent.
    fn add_sub_agent(&mut self, sub_agent: SessionId, parent: &SessionId) {
        let turn = self.sub_agents.get(parent).unwrap_or(parent);
        if self.mailboxes.contains_key(turn) && !self.mailboxes.contains_key(&sub_agent) {
            if self.sub_agents.len() >= MAX_SUB_AGENTS && !self.sub_agents.contains_key(&sub_agent) {
                tracing::warn!(%sub_agent, "too many sub-agents: the events of this one are dropped");
                return;
            }
            let turn = turn.clone();
            self.sub_agents.insert(sub_agent, turn);
        }
    }

    fn reconnect(&self) {
        self.mailboxes.values().for_each(MailboxSender::reconnect);
    }

    fn disconnect(&mut self) {
        self.activity.clear();
        for mailbox in self.mailboxes.values() {
            mailbox.disconnect();
        }
    }
}

/// Reads the stream, and reconnects whenever it breaks, until the task is aborted.
async fn read(client: Client, subscribers: Arc<Mutex<Subscribers>>, connection: watch::Sender<bool>) {
    let mut pauses = backoff::reconnect();
    loop {
        match client.events().await {
            Err(error) => tracing::debug!(%error, "the stream of events cannot be opened"),
            Ok(response) => {
                let bytes = response.bytes_stream().map_err(std::io::Error::other);
                if deliver_all(StreamReader::new(Box::pin(bytes)), &client, &subscribers, &connection).await {
                    pauses = backoff::reconnect();
                }
                connection.send_replace(false);
                lock(&subscribers).disconnect();
            }
        }
        // The backoff is endless: there is always a next pause.
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Delivers the events of a stream until it breaks. Returns whether there was any.
async fn deliver_all(
    stream: impl AsyncRead + Unpin,
    client: &Client,
    subscribers: &Mutex<Subscribers>,
    connection: &watch::Sender<bool>,
) -> bool {
    let mut lines = Lines::new(stream, MAX_EVENT_BYTES);
    let mut pace = Pace::new();
    let mut is_open = false;
    while let Ok(Some(line)) = tokio::time::timeout(SILENCE_TIMEOUT, pace.next(lines.next())).await {
        match line {
            Line::Whole(line) => {
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                // The stream counts as open from its first event on.
                if !std::mem::replace(&mut is_open, true) {
                    connection.send_replace(true);
                    lock(subscribers).reconnect();
                }
                let data = String::from_utf8_lossy(data);
                let Some(event) = client.read_event(&data) else {
                    if let Some((directory, failure)) = client.plugin_failure(&data) {
                        lock(subscribers).add_plugin_failure(directory, failure);
                    }
                    continue;
                };
                pace.note(event.is_delta());
                let is_behind = lock(subscribers).deliver(event);
                if is_behind {
                    // On a single-threaded runtime the reader would otherwise keep the turn from catching up.
                    tokio::task::yield_now().await;
                }
            }
            Line::TooLong(bytes) => {
                tracing::warn!(bytes, "an event was too long and was dropped");
                // The event may have belonged to any turn, and no other event may follow.
                let mut subscribers = lock(subscribers);
                subscribers.disconnect();
                subscribers.reconnect();
            }
        }
    }
    is_open
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::StreamItem;
    use super::*;
    use crate::protocol::Generation;
    use opencode_run_core::RawJson;

    fn status(session: &str, status: &str) -> SessionEvent {
        let raw = format!(r#"{{"properties":{{"sessionID":"{session}","status":{{"type":"{status}"}}}}}}"#);
        let kind = "session.status".to_owned();
        let is_working = Some(status != "idle");
        SessionEvent {
            session: SessionId::new(session),
            parent: None,
            kind,
            raw: RawJson::parse(raw).unwrap(),
            is_working,
        }
    }

    #[tokio::test]
    async fn wait_for_unreachable_stream_times_out() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(Generation::V1, format!("http://{nobody}").parse().unwrap(), None, None).unwrap();
        let dispatcher = EventDispatcher::start(client);
        tokio::time::pause();
        assert!(matches!(dispatcher.connected().await, Err(ClientError::NoAnswer(_))));
    }

    fn line(session: &str, bytes: usize) -> String {
        let pad = "x".repeat(bytes);
        let properties = format!(r#"{{"sessionID":"{session}","pad":"{pad}"}}"#);
        format!("data: {{\"payload\":{{\"type\":\"message.updated\",\"properties\":{properties}}}}}\n\n")
    }

    async fn delivered(stream: &str, subscribers: &Mutex<Subscribers>) {
        let client = Client::new(Generation::V1, "http://127.0.0.1:1".parse().unwrap(), None, None).unwrap();
        let (connection, _connected) = watch::channel(false);
        assert!(deliver_all(stream.as_bytes(), &client, subscribers, &connection).await);
    }

    #[tokio::test(start_paused = true)]
    async fn stuck_turn_does_not_delay_others() {
        let subscribers = Mutex::new(Subscribers::default());
        let (stuck, _queue) = mailbox();
        let (sender, mut quick) = mailbox();
        lock(&subscribers).mailboxes.extend([(SessionId::new("stuck"), stuck), (SessionId::new("quick"), sender)]);
        let stream: String = (0..24).map(|_| line("stuck", 1 << 20) + &line("quick", 10)).collect();
        let began = tokio::time::Instant::now();
        delivered(&stream, &subscribers).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "the clock moves only if the reader waits");
        let events = quick.drain();
        assert!(
            events.len() == 24 && events.iter().all(|item| matches!(item, StreamItem::Event(_))),
            "{}",
            events.len()
        );
    }

    #[tokio::test]
    async fn turn_on_readers_thread_keeps_up() {
        let subscribers = Arc::new(Mutex::new(Subscribers::default()));
        let (sender, mut queue) = mailbox();
        lock(&subscribers).mailboxes.insert(SessionId::new("a"), sender);
        let turn = tokio::spawn(async move {
            let mut events = 0;
            while let Some(item) = queue.next().await {
                assert!(matches!(item, StreamItem::Event(_)), "after {events}: {item:?}");
                events += 1;
            }
            events
        });
        tokio::task::yield_now().await;
        delivered(&line("a", 1000).repeat(40_000), &subscribers).await;
        lock(&subscribers).mailboxes.clear();
        assert_eq!(turn.await.unwrap(), 40_000);
    }

    #[tokio::test]
    async fn overlong_event_disconnects_every_turn() {
        let subscribers = Mutex::new(Subscribers::default());
        let (sender, mut queue) = mailbox();
        lock(&subscribers).mailboxes.insert(SessionId::new("a"), sender);
        delivered(&(line("a", 10) + &line("b", MAX_EVENT_BYTES)), &subscribers).await;
        let items = queue.drain();
        assert!(
            matches!(items[..], [StreamItem::Event(_), StreamItem::Disconnected, StreamItem::Reconnected { .. }]),
            "{items:?}"
        );
    }

    #[test]
    fn tracked_sessions_and_sub_agents_are_bounded() {
        let mut subscribers = Subscribers::default();
        let (turn, (sender, _mailbox)) = (SessionId::new("turn"), mailbox());
        subscribers.mailboxes.insert(turn.clone(), sender);
        for id in 0..2 * MAX_SUB_AGENTS {
            subscribers.track_activity(SessionId::new(id.to_string()));
            subscribers.add_sub_agent(SessionId::new(id.to_string()), &turn);
        }
        assert!(subscribers.activity.len() <= MAX_TRACKED_SESSIONS);
        assert_eq!(subscribers.sub_agents.len(), MAX_SUB_AGENTS);
    }

    #[test]
    fn activity_is_known_until_disconnect() {
        let mut subscribers = Subscribers::default();
        let known = |subscribers: &Subscribers, session| subscribers.activity.get(&SessionId::new(session)).copied();
        assert!(!subscribers.deliver(status("a", "busy")));
        assert_eq!(known(&subscribers, "a"), None);
        subscribers.track_activity(SessionId::new("a"));
        for (session, says, is_working) in
            [("b", "busy", false), ("a", "retry", true), ("a", "idle", false), ("a", "busy", true)]
        {
            assert!(!subscribers.deliver(status(session, says)));
            assert_eq!(known(&subscribers, "a"), Some(is_working), "{session} {says}");
        }
        assert!(!subscribers.deliver(status("a", "idle")));
        assert_eq!(known(&subscribers, "a"), Some(false));
        assert!(!subscribers.deliver(SessionEvent { is_working: None, ..status("a", "busy") }));
        assert_eq!(known(&subscribers, "a"), Some(false));
        subscribers.disconnect();
        assert_eq!(known(&subscribers, "a"), None);
    }
}
