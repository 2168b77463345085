use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::Exposition;

/// The texts of the metrics, of which one is made at a time
///
/// A text costs a statement and as much processor time as several sign-ins, and everyone may ask.
/// Clients that wait for a text at the same time share it. None gets a text that was begun before
/// it asked. The more clients had a text, the later the next is begun: a shared text is still sent
/// to each of them, and clients that ask without a pause would get tens of thousands a second.
#[derive(Debug)]
pub(crate) struct Texts {
    turn: Semaphore,
    last: Mutex<Last>,
}

/// The last text of each format, and when it was begun
#[derive(Debug, Default)]
struct Last {
    begun: Option<Instant>,
    /// How many clients got the text that was begun last
    clients: u32,
    text: Option<(Instant, Bytes)>,
    open_metrics: Option<(Instant, Bytes)>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), last: Mutex::default() }
    }
}

impl Texts {
    /// A text of this format, which `make` makes unless one was made meanwhile
    pub(crate) async fn get<E>(
        &self,
        exposition: Exposition,
        make: impl AsyncFnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let asked = Instant::now();
        // It is never closed.
        let _turn = self.turn.acquire().await;
        let next = {
            let mut last = self.last();
            let shared = last.of(exposition).clone().filter(|(begun, _)| *begun > asked);
            if let Some((_, text)) = shared {
                last.clients = last.clients.saturating_add(1);
                return Ok(text);
            }
            last.next()
        };
        if let Some(next) = next {
            sleep_until(next).await;
        }
        let begun = Instant::now();
        {
            let mut last = self.last();
            (last.begun, last.clients) = (Some(begun), 1);
        }
        let text = make().await?;
        *self.last().of(exposition) = Some((begun, text.clone()));
        Ok(text)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Nothing under this lock can panic half way.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    const fn of(&mut self, exposition: Exposition) -> &mut Option<(Instant, Bytes)> {
        match exposition {
            Exposition::Text => &mut self.text,
            Exposition::OpenMetrics => &mut self.open_metrics,
        }
    }

    /// When the next text may be begun; `None` for the first
    fn next(&self) -> Option<Instant> {
        let pause = (PAUSE_PER_CLIENT * self.clients).clamp(PAUSE, LONGEST_PAUSE);
        self.begun.map(|begun| begun + pause)
    }
}

/// The shortest time from the beginning of one text to that of the next
const PAUSE: Duration = Duration::from_millis(10);

/// The same for each client that got the text: about a thousand answers a second
const PAUSE_PER_CLIENT: Duration = Duration::from_millis(1);

/// Short enough for a scraper that waits among many clients
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_that_wait_at_the_same_time_share_a_text() {
        let (texts, made) = (Texts::default(), AtomicU32::new(0));
        let ask = async |exposition| {
            let text = texts.get(exposition, async || {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let number = made.fetch_add(1, Ordering::Relaxed) + 1;
                Ok::<_, Infallible>(Bytes::from(number.to_string()))
            });
            String::from_utf8_lossy(&text.await.unwrap_or_default()).into_owned()
        };
        let start = Instant::now();
        let first = join_all((0..100).map(|_| ask(Exposition::Text))).await;
        // The first text was begun when its client asked; the others need a later one.
        assert_eq!(first[0], "1");
        assert!(first[1..].iter().all(|text| text == "2"), "{first:?}");
        assert!(start.elapsed() < Duration::from_millis(20), "{:?}", start.elapsed());
        // What has happened since the last text is in the next, which waits for 99 clients.
        let before = Instant::now();
        assert_eq!(ask(Exposition::Text).await, "3");
        let waited = before.elapsed();
        assert!((95..=105).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(ask(Exposition::OpenMetrics).await, "4");
        let before = Instant::now();
        assert_eq!(ask(Exposition::Text).await, "5");
        assert!(before.elapsed() >= Duration::from_millis(9), "{:?}", before.elapsed());
    }
}
