use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use app_audit::{Act, Entry, Observer, RecordError, SpoolFile};
use tracing::{error, warn};

use crate::error::chain;

/// Logs what goes wrong with the audit of visits
pub(crate) fn observer() -> Arc<dyn Observer> {
    Arc::new(AuditLog {
        left_out: "visits that are anonymous or refused were left out of the audit",
    })
}

/// Logs what goes wrong with the audit of sign-ins
pub(crate) fn act_observer() -> Arc<dyn Observer> {
    Arc::new(AuditLog { left_out: "sign-ins that were refused were left out of the audit" })
}

#[derive(Debug)]
struct AuditLog {
    /// The line about what was left out
    left_out: &'static str,
}

impl Observer for AuditLog {
    fn unrecorded(&self, entry: &Entry, why: RecordError) {
        // The log is the only trace of the event, so it gets all of it.
        error!(%why, event = app_audit::spool_line(entry), "an audit event was not recorded");
    }

    fn act_unrecorded(&self, act: &Act, why: RecordError) {
        error!(%why, event = app_audit::spool_act_line(act), "an audit event was not recorded");
    }

    fn limited(&self, visits: u64) {
        warn!(visits, "{}", self.left_out);
    }

    fn failing(&self, error: &dyn std::error::Error, waiting: usize) {
        error!(error = chain(error), waiting, "the audit cannot be written");
    }
}

/// The file for events that the store did not get; those that it cannot take are logged
pub(crate) fn spool(path: PathBuf) -> SpoolFile {
    SpoolFile::new(path, |event| error!(event, "an audit event was not recorded"))
}

/// Waits until the spool file is on the disk, and logs what is in it
pub(crate) async fn flush(spool: Arc<SpoolFile>) {
    let file = spool.path().display().to_string();
    let flushed = tokio::task::spawn_blocking(move || spool.flush(FLUSH)).await;
    let Ok(spooled) = flushed else { return };
    if spooled.written > 0 {
        warn!(
            events = spooled.written,
            file,
            "audit events that the database did not get are in a file; `authd audit replay` \
             records them"
        );
    }
    if let Some(error) = spooled.error {
        error!(events = spooled.failed, file, error, "audit events are in the log alone");
    }
}

/// Time for writing the spool file when the server stops
const FLUSH: Duration = Duration::from_secs(5);
