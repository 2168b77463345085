//! What `Service::maintain` starts, and what `Maintenance::finish` waits for

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use agent_auth::{Candidate, Candidates, ProvenInstance, Rules};
use app_audit::{Act, ActJournal};
use authd_http::{ActAudit, Limits, MaintenanceSettings, Service};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use identity_fetch::Identity;
use uuid::Uuid;

struct NoAgents;

impl Candidates for NoAgents {
    type Id = Uuid;
    type Token = Uuid;
    type Error = Infallible;

    async fn by_instance(&self, _: ProvenInstance<'_>) -> Result<Vec<Candidate>, Infallible> {
        Ok(Vec::new())
    }
}

/// Takes a while for each act
#[derive(Default)]
struct SlowJournal {
    noted: AtomicU64,
    /// The age beyond which acts were deleted, in seconds
    kept: AtomicU64,
}

impl ActJournal for SlowJournal {
    type Error = Infallible;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Infallible> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.noted.fetch_add(u64::try_from(acts.len()).unwrap(), Ordering::Relaxed);
        Ok(())
    }

    async fn count_acts(&self, _: &[(Uuid, u64)]) -> Result<(), Infallible> {
        Ok(())
    }

    async fn forget_acts(&self, keep: Duration, _: u32) -> Result<u64, Infallible> {
        self.kept.store(keep.as_secs(), Ordering::Relaxed);
        Ok(0)
    }

    async fn records_acts(&self) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn is_unavailable(error: &Infallible) -> bool {
        match *error {}
    }
}

#[tokio::test(start_paused = true)]
async fn old_rows_are_deleted_and_the_end_waits_for_what_is_being_recorded() {
    let journal = Arc::new(SlowJournal::default());
    let clock = Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let authd = Service::new(Limits::default(), clock)
        .with_agents(Arc::new(NoAgents), Identity::builtin(), Rules::default())
        .with_act_audit(Arc::clone(&journal), ActAudit::new(false, None));

    let day = Duration::from_secs(86_400);
    let maintenance = authd.maintain(MaintenanceSettings::default().keep_rows(Some(day))).await;
    let forged = Request::post("/api/v2/workspaceagents/aws-instance-identity")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(br#"{"document": "{}", "signature": "AAAA"}"#)));
    let answer = authd.answer_to([192, 0, 2, 7].into(), forged.unwrap()).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // Time is the test's own: background work runs while this sleeps.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(journal.noted.load(Ordering::Relaxed), 0, "the answer does not wait");

    maintenance.finish().await;
    assert_eq!(journal.noted.load(Ordering::Relaxed), 1);
    assert_eq!(journal.kept.load(Ordering::Relaxed), 86_400);
}
