use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Exposition;

/// The last texts of the metrics, for clients that ask more often than anyone reads metrics
///
/// A text costs a statement and as much processor time as several sign-ins, and everyone may ask.
#[derive(Debug, Default)]
pub(crate) struct Texts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The second in which texts are counted
    since: Option<Instant>,
    made: u32,
    text: Option<Bytes>,
    open_metrics: Option<Bytes>,
}

impl Texts {
    /// The last text, if enough were made in this second; `None` if the client gets a new one
    pub(crate) fn last(&self, exposition: Exposition, now: Instant) -> Option<Bytes> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since| now.saturating_duration_since(since) >= SECOND;
        if state.since.is_none_or(is_over) {
            (state.since, state.made) = (Some(now), 0);
        }
        let last = state.of(exposition).clone().filter(|_| state.made >= TEXTS_PER_SECOND);
        if last.is_none() {
            state.made += 1;
        }
        last
    }

    pub(crate) fn keep(&self, exposition: Exposition, text: Bytes) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state.of(exposition) = Some(text);
    }
}

impl State {
    const fn of(&mut self, exposition: Exposition) -> &mut Option<Bytes> {
        match exposition {
            Exposition::Text => &mut self.text,
            Exposition::OpenMetrics => &mut self.open_metrics,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// More than several scrapers and a person need
const TEXTS_PER_SECOND: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_texts_are_made_in_a_second() {
        let (texts, start) = (Texts::default(), Instant::now());
        let mut made = 0;
        let mut ask = |exposition, at| match texts.last(exposition, at) {
            Some(text) => text,
            None => {
                made += 1;
                let text = Bytes::from(format!("{made}"));
                texts.keep(exposition, text.clone());
                text
            }
        };
        for number in 1..=10 {
            assert_eq!(ask(Exposition::Text, start), format!("{number}"));
        }
        assert_eq!(ask(Exposition::Text, start + SECOND / 2), "10");
        assert_eq!(ask(Exposition::OpenMetrics, start), "11", "the first of its kind");
        assert_eq!(ask(Exposition::OpenMetrics, start), "11");
        assert_eq!(ask(Exposition::Text, start + SECOND), "12");
    }
}
