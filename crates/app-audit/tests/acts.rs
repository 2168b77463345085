//! What a recorder of acts does with storms and floods, and what a spool keeps of acts

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::{
    Act, ActJournal, ActKind, ActRecorder, ActRow, RecordError, Settings, Spool, SpoolFile,
    SubjectKind, spool_act_line,
};
use tokio::time::sleep;
use uuid::Uuid;

/// A journal that takes every act, or none while it is locked
#[derive(Debug, Default)]
struct Table {
    rows: Mutex<Vec<Act>>,
    counts: Mutex<Vec<(Uuid, u64)>>,
    is_locked: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("locked")]
struct Locked;

impl ActJournal for Table {
    type Error = Locked;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Locked> {
        if self.is_locked.load(Ordering::SeqCst) {
            return Err(Locked);
        }
        self.rows.lock().unwrap().extend(acts.iter().cloned());
        Ok(())
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), Locked> {
        self.counts.lock().unwrap().extend(counts);
        Ok(())
    }

    async fn forget_acts(&self, _: Duration, _: u32) -> Result<u64, Locked> {
        Ok(0)
    }

    async fn records_acts(&self) -> Result<bool, Locked> {
        Ok(true)
    }

    fn is_unavailable(_: &Locked) -> bool {
        true
    }
}

fn sign_in(agent: u128, from: IpAddr) -> Act {
    Act::new(ActKind::AgentSignIn, time())
        .agent(Uuid::from_u128(agent), Uuid::from_u128(agent))
        .subject(SubjectKind::Instance, &format!("i-{agent}"))
        .proof("aws")
        .request(Uuid::new_v4(), Some(from), b"agent")
        .detail("agent_name", "main")
}

fn forged(instance: u32, from: IpAddr) -> Act {
    Act::new(ActKind::AgentSignIn, time())
        .refused("bad_signature")
        .subject(SubjectKind::ClaimedInstance, &format!("i-{instance}"))
        .request(Uuid::new_v4(), Some(from), b"")
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_000_000_123_456)
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

#[tokio::test(start_paused = true)]
async fn a_fleet_behind_one_address_keeps_its_room_while_the_table_is_locked_and_flooded() {
    let table = Arc::new(Table { is_locked: AtomicBool::new(true), ..Table::default() });
    let recorder = ActRecorder::start(Arc::clone(&table), Settings::default());
    // Strangers come first, each from an address of their own.
    let strangers = (0..20_000_u32)
        .filter(|n| recorder.record(forged(*n, n.to_be_bytes().into())).is_ok())
        .count();
    assert_eq!(strangers, 5_000, "half of the queue");
    for agent in 0..5_000 {
        drop(recorder.record(sign_in(agent, address(1))).unwrap());
        // It is captured already.
        drop(recorder.record(sign_in(agent, address(1))).unwrap());
    }
    assert_eq!(recorder.record(sign_in(5_000, address(1))).unwrap_err(), RecordError::Full);
    table.is_locked.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(2)).await;
    let rows = table.rows.lock().unwrap();
    let signed_in: Vec<_> = rows.iter().filter(|act| act.agent.is_some()).collect();
    assert_eq!(signed_in.len(), 5_000);
    assert!(signed_in.iter().all(|act| act.times == 2), "the second time is counted");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_limited_by_address_and_log_ins_by_user() {
    let table = Arc::new(Table::default());
    let recorder = ActRecorder::start(Arc::clone(&table), Settings::default());
    let log_in = |user: u128| {
        Act::new(ActKind::LogIn, time()).user(Uuid::from_u128(user)).request(
            Uuid::new_v4(),
            Some(address(1)),
            b"",
        )
    };
    for n in 0..100 {
        let expected = if n < 60 { None } else { Some(RecordError::Limited) };
        assert_eq!(recorder.record(forged(n, address(1))).err(), expected, "{n}");
        assert_eq!(recorder.record(log_in(1)).err(), expected, "{n}");
        assert_eq!(recorder.record(log_in(2 + u128::from(n))).err(), None, "many users behind it");
        assert_eq!(recorder.record(sign_in(n.into(), address(1))).err(), None);
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(table.rows.lock().unwrap().len(), 60 + 60 + 100 + 100);
    assert_eq!(recorder.stats().limited, 80);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_again_is_counted_without_a_statement_of_its_own() {
    let table = Arc::new(Table::default());
    let recorder = ActRecorder::start(Arc::clone(&table), Settings::default());
    let first = sign_in(1, address(1));
    recorder.record(first.clone()).unwrap().await.unwrap();
    for _ in 0..10 {
        recorder.record(sign_in(1, address(1))).unwrap().await.unwrap();
    }
    recorder.drain(Duration::from_secs(1)).await;
    assert_eq!(table.rows.lock().unwrap().len(), 1);
    assert_eq!(*table.counts.lock().unwrap(), [(first.id(), 10)]);
}

#[test]
fn an_operator_without_a_name_is_printed_by_uid() {
    let printed = |name| {
        let act = Act::new(ActKind::Import, time()).operator(name, "", Some(1_000));
        ActRow::from(&act).to_string()
    };
    assert!(printed("ann").contains("  by ann (not verified)"), "{}", printed("ann"));
    assert!(printed("").contains("  by uid 1000 (not verified)"), "{}", printed(""));
}

#[tokio::test]
async fn a_spool_keeps_acts_as_they_are_beside_visits() {
    let path = std::env::temp_dir().join(format!("authd-acts-{}.jsonl", Uuid::new_v4()));
    let spool = Arc::new(SpoolFile::new(path.clone(), |line| panic!("not written: {line}")));
    let table = Arc::new(Table { is_locked: AtomicBool::new(true), ..Table::default() });
    let settings = Settings::default().spool(Some(Arc::clone(&spool)));
    let recorder = ActRecorder::start(table, settings);
    let import = Act::new(ActKind::Import, time())
        .operator("root", "alice", Some(0))
        .detail_value("added", 7.into());
    let acts = [sign_in(1, address(1)), forged(2, "2001:db8::1".parse().unwrap()), import];
    for act in &acts {
        drop(recorder.record(act.clone()).unwrap());
    }
    recorder.drain(Duration::ZERO).await;
    assert_eq!(spool.flush(Duration::from_secs(60)).written, 3);
    let read = Spool::read(&path).unwrap();
    assert!(read.entries().is_empty());
    let mut found = read.acts();
    let mut expected = acts.to_vec();
    // It holds a lock on the file.
    drop(read);
    for list in [&mut found, &mut expected] {
        list.sort_by_key(Act::id);
    }
    assert_eq!(found, expected);

    // An operator may have added lines of the log that are in the file as well.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.repeat(2)).unwrap();
    assert_eq!(Spool::read(&path).unwrap().acts().len(), acts.len());

    // Two sign-ins of one hour share a row, but are two acts.
    let [one, two] = [(); 2].map(|()| sign_in(1, address(1)));
    assert_eq!(one.id(), two.id());
    std::fs::write(&path, [&one, &two].map(spool_act_line).join("\n")).unwrap();
    assert_eq!(Spool::read(&path).unwrap().acts().len(), 2);

    let line = spool_act_line(&acts[0]);
    for (from, to, problem) in [
        ("\"version\":2", "\"version\":3", "version 3 is not known"),
        ("\"times\":1", "\"times\":0", "`times` is 0"),
        ("\"agent_sign_in\"", "\"else\"", "unknown variant"),
        ("\"subject\":\"i-1\"", "\"subject\":null", "`subject` does not fit"),
        ("\"proof\":\"aws\"", "\"proof\":\"a\\u0000\"", "NUL"),
        ("\"proof\":\"aws\",", "", "missing field `proof`"),
        ("\"proof\":\"aws\",", "\"proof\":\"aws\",\"more\":1,", "unknown field `more`"),
    ] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line, "{from}");
        std::fs::write(&path, changed).unwrap();
        let error = Spool::read(&path).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
}
