//! The file that keeps events which the journal did not get

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use app_audit::{
    AgentId, AppId, Entry, OrganizationId, Recorder, Resource, Settings, Spool, SpoolFile,
    Workspace, WorkspaceId, parse_ip,
};
use common::{Log, Table, visit, with};
use uuid::Uuid;

/// A folder that is removed when the test ends
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("authd-spool-{}", Uuid::now_v7().simple()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("audit-spool.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn spool_in(folder: &Folder) -> SpoolFile {
    SpoolFile::new(folder.file(), |line| panic!("not written: {line}"))
}

fn entry(n: u128) -> Entry {
    Entry::new(&visit(n, 0), Uuid::from_u128(n))
}

fn kept(spool: &SpoolFile, entries: impl IntoIterator<Item = Entry>) -> u64 {
    for entry in entries {
        assert!(spool.keep(&entry, false));
    }
    let spooled = spool.flush(Duration::from_secs(60));
    assert_eq!((spooled.failed, spooled.error), (0, None));
    spooled.written
}

fn read(path: &Path) -> Vec<Entry> {
    Spool::read(path).unwrap().entries()
}

#[test]
fn what_is_read_is_what_was_kept() {
    let odd = "\"\\\n\u{1b}[31m\u{7f}\u{2028}ä😀";
    let workspace = Workspace::new(
        WorkspaceId(Uuid::from_u128(3)),
        odd,
        "alice",
        OrganizationId(Uuid::from_u128(4)),
    );
    let agent = Some((AgentId(Uuid::from_u128(5)), "main".to_owned()));
    let events = [
        visit(1, 0),
        with(visit(1, 0), |it| it.user = None),
        with(visit(1, 0), |it| {
            it.reason = Some("not_shared");
            it.status = 404;
        }),
        with(visit(1, 0), |it| {
            it.resource = Resource::App(AppId(Uuid::from_u128(6)), odd.to_owned())
        }),
        with(visit(1, 0), |it| {
            it.resource = Resource::Port("8080s".to_owned());
            it.agent = agent.clone();
        }),
        with(visit(1, 0), |it| {
            it.resource = Resource::Terminal;
            it.agent = agent;
            it.workspace = Some(workspace);
        }),
        with(visit(1, 0), |it| {
            it.ip = parse_ip("2001:db8::1");
            it.user_agent = vec![b'x'; 70_000];
        }),
        with(visit(1, 0), |it| {
            it.ip = parse_ip("192.0.2.1");
            it.user_agent = b"\xff\0".to_vec();
        }),
    ];
    let entries: Vec<_> = (1..)
        .zip(&events)
        .map(|(n, event)| {
            let mut entry = Entry::new(event, Uuid::from_u128(n));
            entry.visits = 1 + u64::try_from(n).unwrap();
            entry
        })
        .collect();
    let folder = Folder::new();
    let spool = spool_in(&folder);
    assert!(!folder.file().exists(), "made with the first event");
    assert_eq!(kept(&spool, entries.clone()), 8);
    assert_eq!(read(&folder.file()), entries);
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Another process goes on with the file, and an event that is there twice counts once.
    let other = spool_in(&folder);
    kept(&other, [entry(100), entry(1)]);
    assert_eq!(read(&folder.file()).len(), 9);
}

#[test]
fn a_line_that_is_not_an_event_is_named_and_nothing_is_read() {
    let folder = Folder::new();
    let spool = spool_in(&folder);
    kept(&spool, [entry(1), entry(2)]);
    let good = fs::read_to_string(folder.file()).unwrap();
    let line = good.lines().nth(1).unwrap();
    for (from, to, problem) in [
        ("{", "", "expected"),
        ("\"version\":1", "\"version\":3", "version 3 is not known"),
        ("\"version\":1,", "", "missing field `version`"),
        ("\"agent_name\":null,", "", "missing field `agent_name`"),
        ("\"ip\":null,", "", "missing field `ip`"),
        ("\"visits\":1", "\"visits\":0", "`visits` is 0"),
        ("\"visits\":1", "\"visits\":-1", "invalid value"),
        ("\"visits\":1", "\"visits\":1,\"more\":1", "unknown field `more`"),
        ("\"action\":\"open\"", "\"action\":\"close\"", "`action` is not `open`"),
        ("\"workspace_app\"", "\"workspace\"", "`resource_type` is not known"),
        ("\"allow\"", "\"deny\"", "`reason` does not fit"),
        ("\"reason\":null", "\"reason\":\"x\"", "`reason` does not fit"),
        ("\"status_code\":200", "\"status_code\":70000", "invalid value"),
        ("\"code\"", "\"co\\u0000de\"", "NUL"),
        ("\"time\":\"2", "\"time\":\"x", "`time` is not RFC 3339"),
        ("\"key\":\"", "\"key\":\"0", "64 lower-case"),
        ("}}}", "}}", "it ends early"),
        ("}}}", "}}} x", "trailing characters"),
    ] {
        assert!(line.contains(from), "{from}");
        let broken = good.replace(line, &line.replacen(from, to, 1));
        fs::write(folder.file(), broken).unwrap();
        let said = Spool::read(&folder.file()).unwrap_err().to_string();
        assert!(said.contains("line 2: ") && said.contains(problem), "{to}: {said}");
    }
    fs::write(folder.file(), "").unwrap();
    assert!(read(&folder.file()).is_empty());
    assert!(Spool::read(&folder.0.join("missing")).unwrap_err().to_string().contains("missing"));
}

#[test]
fn a_process_that_was_killed_in_the_middle_of_a_line_spoils_that_line_alone() {
    let folder = Folder::new();
    kept(&spool_in(&folder), [entry(1)]);
    let mut file = fs::OpenOptions::new().append(true).open(folder.file()).unwrap();
    file.write_all(b"{\"version\":1,\"ke").unwrap();
    kept(&spool_in(&folder), [entry(2)]);
    let said = Spool::read(&folder.file()).unwrap_err().to_string();
    assert!(said.contains("line 2: it ends early"), "{said}");
    let text = fs::read_to_string(folder.file()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.ends_with('}')).collect();
    fs::write(folder.file(), lines.join("\n")).unwrap();
    assert_eq!(read(&folder.file()), [entry(1), entry(2)]);
}

#[test]
fn a_file_that_is_set_aside_gets_nothing_more() {
    let folder = Folder::new();
    let spool = spool_in(&folder);
    let aside = |number: u128| {
        kept(&spool, [entry(number)]);
        let read = Spool::read(&folder.file()).unwrap();
        // Waits until the file has its new name.
        assert!(spool.keep(&entry(number + 100), false));
        read.set_aside().unwrap()
    };
    let first = aside(1);
    assert_eq!(first, folder.0.join("audit-spool.jsonl.replayed"));
    assert_eq!(read(&first), [entry(1)]);
    let second = aside(2);
    assert_eq!(second, folder.0.join("audit-spool.jsonl.replayed.2"));
    assert_eq!(read(&second), [entry(2), entry(101)]);
    kept(&spool, []);
    assert_eq!(read(&folder.file()), [entry(102)]);
}

#[test]
fn the_file_is_bounded_and_a_flood_gets_half_of_it() {
    let folder = Folder::new();
    let file = fs::File::create(folder.file()).unwrap();
    file.set_len(33 << 20).unwrap();
    let spool = spool_in(&folder);
    assert!(!spool.keep(&entry(1), true));
    assert!(spool.keep(&entry(1), false));
    assert_eq!(spool.flush(Duration::from_secs(60)).written, 1);
    file.set_len(64 << 20).unwrap();
    assert!(!spool_in(&folder).keep(&entry(1), false));
    // Once an operator has taken the file away there is room again.
    fs::remove_file(folder.file()).unwrap();
    assert!(spool_in(&folder).keep(&entry(1), false));
}

#[test]
fn what_cannot_be_written_is_handed_back() {
    let folder = Folder::new();
    fs::write(folder.0.join("taken"), "").unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let fallback = move |line: &str| sender.send(line.to_owned()).unwrap();
    let spool = SpoolFile::new(folder.0.join("taken/spool"), fallback);
    assert!(spool.keep(&entry(1), false), "only the thread finds out");
    let spooled = spool.flush(Duration::from_secs(60));
    assert_eq!((spooled.written, spooled.failed, spooled.error.is_some()), (0, 1, true));
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), [app_audit::spool_line(&entry(1))]);

    let spool = SpoolFile::new(folder.0.join("new/folder/spool"), |_| unreachable!());
    assert_eq!(kept(&spool, [entry(1)]), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_recorder_cannot_write_is_in_the_file() {
    let folder = Folder::new();
    let (spool, log) = (Arc::new(spool_in(&folder)), Arc::new(Log::default()));
    let settings = Settings::default().queue(100).observer(Arc::<Log>::clone(&log));
    let settings = settings.spool(Some(Arc::clone(&spool)));
    let recorder = Recorder::start(Arc::new(Table::locked()), settings);
    let recorded = (0..150).filter(|n| recorder.record(visit(u128::from(*n), *n)).is_ok()).count();
    assert_eq!(recorded, 100);
    let drained = recorder.drain(Duration::from_secs(10)).await;
    assert_eq!((drained.written, drained.spooled, drained.lost), (0, 100, 0));
    assert!(recorder.record(visit(150, 0)).is_err());
    assert_eq!((recorder.stats().spooled, recorder.stats().lost), (151, 0));
    assert_eq!(spool.flush(Duration::from_secs(60)).written, 151);
    let entries = read(&folder.file());
    let users: std::collections::HashSet<_> =
        entries.iter().map(|entry| entry.record.user_id).collect();
    assert_eq!((entries.len(), users.len()), (151, 151));
    assert!(log.unrecorded.lock().unwrap().is_empty());
}
