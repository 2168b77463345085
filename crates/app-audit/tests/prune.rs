//! Old rows are deleted in batches, and ages are read strictly

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Mutex;
use std::time::Duration;

use app_audit::{Age, Answer, Count, Entry, Journal, ParseAgeError, Window, prune};

/// A journal with a number of old rows, which keeps the sizes of batches
#[derive(Default)]
struct Old {
    rows: Mutex<u64>,
    batches: Mutex<Vec<(Duration, u64)>>,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("broken")]
struct Broken;

impl Journal for Old {
    type Error = Broken;

    async fn note(&self, _: &[Entry], _: Window) -> Result<Vec<Answer>, Broken> {
        Err(Broken)
    }

    async fn count(&self, _: &[Count]) -> Result<(), Broken> {
        Err(Broken)
    }

    async fn end_sessions(&self, _: Window, _: u32) -> Result<u64, Broken> {
        Err(Broken)
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Broken> {
        let mut batches = self.batches.lock().unwrap();
        if batches.len() == 100 {
            return Err(Broken);
        }
        let mut rows = self.rows.lock().unwrap();
        let deleted = (*rows).min(at_most.into());
        *rows -= deleted;
        batches.push((keep, deleted));
        Ok(deleted)
    }

    fn is_unavailable(_: &Broken) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn rows_are_deleted_in_batches_until_none_is_left() {
    for (rows, batches, called_with) in [
        (0, 1, vec![]),
        (4_999, 1, vec![]),
        (5_000, 2, vec![]),
        (212_345, 43, vec![100_000, 200_000]),
    ] {
        let journal = Old { rows: Mutex::new(rows), ..Old::default() };
        let mut progress = Vec::new();
        let keep = Duration::from_secs(7);
        assert_eq!(
            prune(async |most| journal.forget(keep, most).await, |rows| progress.push(rows)).await,
            Ok(rows)
        );
        assert_eq!(progress, called_with, "{rows}");
        let done = journal.batches.into_inner().unwrap();
        assert_eq!(done.len(), batches, "{rows}");
        assert!(done.iter().all(|&(asked, deleted)| asked == keep && deleted <= 5_000));
    }
    let journal = Old { rows: Mutex::new(u64::MAX), ..Old::default() };
    assert_eq!(
        prune(async |most| journal.forget(Duration::ZERO, most).await, |_| ()).await,
        Err(Broken)
    );
}

#[test]
fn an_age_is_days_or_weeks() {
    let day = Duration::from_secs(86_400);
    for (text, age) in
        [("1d", day), ("400d", 400 * day), ("52w", 364 * day), ("036500d", 36_500 * day)]
    {
        let parsed: Age = text.parse().unwrap();
        assert_eq!(Duration::from(parsed), age, "{text}");
        assert_eq!(parsed.to_string(), format!("{} days", age.as_secs() / 86_400));
    }
    for text in [
        "",
        "d",
        "w",
        "0d",
        "0w",
        "400",
        "400 d",
        " 400d",
        "400D",
        "4y",
        "1d1w",
        "-1d",
        "+1d",
        "1.5d",
        "36501d",
        "5215w",
        "4294967296d",
        "613566757w",
        "٣d",
    ] {
        assert_eq!(text.parse::<Age>(), Err(ParseAgeError), "{text}");
    }
}
