//! How old rows are deleted without delaying other statements

use std::time::Duration;

/// Rows of one statement: few enough that it takes milliseconds
pub(crate) const BATCH: u32 = 1_000;

/// Pause between two batches, so that other statements are not starved
pub(crate) const BATCH_PAUSE: Duration = Duration::from_millis(100);
