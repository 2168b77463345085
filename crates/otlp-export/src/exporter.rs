use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authd_http::{RequestSpan, error_chain};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use identity_fetch::{FetchError, Fetcher};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::warn;
use uuid::Uuid;

use crate::encode::{Identified, request};
use crate::settings::Settings;

/// Sends spans to a collector, in the background
#[derive(Clone, Debug)]
pub struct Exporter {
    spans: mpsc::Sender<Message>,
    settings: Arc<Settings>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Span(RequestSpan),
    /// Everything before it has been sent, or dropped, once the sender gets its answer
    Flush(oneshot::Sender<()>),
}

impl Exporter {
    /// Starts to send spans through `fetcher`, on the current tokio runtime
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with timers.
    #[must_use]
    pub fn start(settings: Settings, fetcher: Fetcher) -> Self {
        let (sender, spans) = mpsc::channel(QUEUE);
        let (settings, dropped) = (Arc::new(settings), Arc::<AtomicU64>::default());
        let worker = Worker {
            settings: Arc::clone(&settings),
            fetcher,
            dropped: Arc::clone(&dropped),
            warned: None,
        };
        tokio::spawn(worker.run(spans));
        Self { spans: sender, settings, dropped }
    }

    /// Exports the request if the sampler selects it
    ///
    /// Does not wait: if too many spans wait for the collector, the span is dropped and counted.
    pub fn export(&self, span: RequestSpan) {
        let is_selected = self.settings.sampler.samples(&span);
        if is_selected && self.spans.try_send(Message::Span(span)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the spans so far are sent, for `limit` at most
    pub async fn flush(&self, limit: Duration) {
        let flushed = async {
            let (sender, done) = oneshot::channel();
            if self.spans.send(Message::Flush(sender)).await.is_ok() {
                let _ = done.await;
            }
        };
        let _ = timeout(limit, flushed).await;
    }
}

struct Worker {
    settings: Arc<Settings>,
    fetcher: Fetcher,
    dropped: Arc<AtomicU64>,
    /// When the log last had a line about dropped spans
    warned: Option<Instant>,
}

impl Worker {
    async fn run(mut self, mut spans: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        let mut due = interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let flushing = tokio::select! {
                message = spans.recv() => match message {
                    Some(Message::Span(span)) => {
                        batch.push(Identified { id: fresh_id(), span });
                        if batch.len() < BATCH {
                            continue;
                        }
                        None
                    }
                    Some(Message::Flush(done)) => Some(done),
                    None => break,
                },
                _ = due.tick() => None,
            };
            self.send(&mut batch).await;
            if let Some(done) = flushing {
                let _ = done.send(());
            }
        }
        self.send(&mut batch).await;
    }

    /// Sends the batch, and drops it if the collector does not take it
    async fn send(&mut self, batch: &mut Vec<Identified>) {
        if !batch.is_empty() {
            let body = Bytes::from(request(&self.settings.resource, batch));
            let failure = self.post(body).await.err();
            if failure.is_some() {
                let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                self.dropped.fetch_add(spans, Ordering::Relaxed);
            }
            batch.clear();
            self.report(failure.as_ref());
        }
    }

    /// Posts a request, which is repeated if the collector is busy or cannot be reached
    async fn post(&self, body: Bytes) -> Result<(), FetchError> {
        let Settings { endpoint, headers, .. } = &*self.settings;
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let headers: Vec<_> = std::iter::once(json).chain(headers.iter().cloned()).collect();
        let mut pauses = PAUSES.into_iter();
        loop {
            let sent = self.fetcher.post(endpoint, &headers, body.clone(), LONGEST_ANSWER).await;
            let Err(error) = sent else { return Ok(()) };
            // Other statuses would come again.
            let is_final = match &error {
                FetchError::Status(status) => ![429, 502, 503, 504].contains(&status.as_u16()),
                _ => false,
            };
            match pauses.next().filter(|_| !is_final) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// Writes the number of dropped spans to the log, once a minute
    fn report(&mut self, failure: Option<&FetchError>) {
        let now = Instant::now();
        if self.warned.is_some_and(|warned| now < warned + MINUTE) {
            return;
        }
        let spans = self.dropped.swap(0, Ordering::Relaxed);
        if spans > 0 {
            self.warned = Some(now);
            let error = failure.map(|error| error_chain(error));
            warn!(spans, error, "spans were not exported");
        }
    }
}

/// Random, and not zero
fn fresh_id() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

/// Spans that may wait for the collector
const QUEUE: usize = 4_096;

/// Spans of one request
const BATCH: usize = 512;

const INTERVAL: Duration = Duration::from_secs(5);

/// Pauses before a request is repeated
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

const MINUTE: Duration = Duration::from_secs(60);

/// The answer has nothing that is read
const LONGEST_ANSWER: usize = 64 * 1024;
