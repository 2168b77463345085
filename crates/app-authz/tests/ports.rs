//! The ports through pointers and behind `dyn`, and what an implementer may leave out

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::as_conversions, reason = "to trait objects")]

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use app_authz::app::{
    AppFacts, DynDirectory, Transition, UncheckedRequest, Workspace, WorkspaceFacts,
};
use app_authz::credential::{
    ApiKey, DynSessions, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions,
    UserStatus,
};
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::{DynJobs, JobKind, JobOrigin, Jobs, ProvisionerJob};
use app_authz::proxy::{DynProxies, Proxies, Proxy};
use app_authz::token::{
    Change, CryptoKey, DynKeyStore, DynRotation, Feature, KeyStore, Rotation, Secret,
};
use app_authz::{AppRequest, Cause, Directory, UserId, WorkspaceId};
use uuid::Uuid;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const ANN: UserId = UserId(Uuid::from_u128(1));

/// A store that answers, or fails
#[derive(Clone)]
struct Store {
    fails: bool,
}

#[derive(Debug)]
struct Down(std::io::Error);

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is down")
    }
}

impl Error for Down {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Store {
    fn answer<T>(&self, answer: T) -> Result<T, Down> {
        if self.fails { Err(Down(std::io::Error::other("refused"))) } else { Ok(answer) }
    }
}

impl Directory for Store {
    type Error = Down;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppFacts, Down> {
        let id = WorkspaceId(Uuid::from_u128(2));
        let workspace = Workspace::new((id, request.workspace()), (ANN, request.user()), acme());
        let facts = AppFacts::default()
            .with_workspace(WorkspaceFacts::new(ANN, workspace, Transition::Start, None))
            .with_holders(tokens.iter().map(holder));
        self.answer(facts)
    }
}

impl Sessions for Store {
    type Error = Down;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Down> {
        self.answer(tokens.iter().map(holder).collect())
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Down> {
        self.answer((user == ANN).then(|| "ann".to_owned()))
    }

    async fn update(&self, _: &ApiKey, _: KeyUpdate, _: Option<IpAddr>) -> Result<(), Down> {
        self.answer(())
    }

    async fn insert(&self, _: &NewKey<'_>) -> Result<(), Down> {
        self.answer(())
    }

    async fn give(&self, id: &str, _: SystemTime) -> Result<bool, Down> {
        self.answer(id == "a")
    }

    async fn log_out(&self, key: &ApiKey, _: OtherSessions) -> Result<Vec<String>, Down> {
        self.answer(vec![key.id.clone()])
    }

    async fn ended(&self, ids: &[&str], _: SystemTime) -> Result<Vec<String>, Down> {
        self.answer(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    async fn forget_ended(&self, _: SystemTime, at_most: u32) -> Result<u64, Down> {
        self.answer(u64::from(at_most))
    }
}

impl KeyStore for Store {
    type Error = Down;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Down> {
        self.answer(vec![key(feature)])
    }
}

impl Rotation for Store {
    type Error = Down;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, Down>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        self.answer(plan(&[key(feature)]).len())
    }
}

impl Proxies for Store {
    type Error = Down;

    async fn proxies(&self) -> Result<Vec<Proxy>, Down> {
        self.answer(vec![Proxy::new(Uuid::nil(), "sydney", [0; 32])])
    }
}

impl Jobs for Store {
    type Error = Down;

    async fn origin(&self, _: ProvisionerJob) -> Result<Option<JobOrigin>, Down> {
        let workspace = Workspace::new((WorkspaceId(Uuid::nil()), "dev"), (ANN, "ann"), acme());
        self.answer(Some(JobOrigin::Workspace(workspace)))
    }
}

fn acme() -> OrganizationId {
    OrganizationId(Uuid::from_u128(3))
}

fn key(feature: Feature) -> CryptoKey {
    CryptoKey::new(feature, 1, Secret::new([1]), NOW)
}

fn token() -> SessionToken {
    "0123456789-abcdefghijklmnopqrstuv".parse().unwrap()
}

fn holder(token: &SessionToken) -> KeyHolder {
    KeyHolder::new(
        ApiKey::new(token.id(), token.secret_digest(), ANN, NOW),
        UserStatus::Active,
        "ann",
    )
}

fn request() -> AppRequest {
    let fields = UncheckedRequest {
        access_method: "path".to_owned(),
        username_or_id: "ann".to_owned(),
        workspace_name_or_id: "dev".to_owned(),
        app_slug_or_port: "code".to_owned(),
        ..UncheckedRequest::default()
    };
    fields.try_into().unwrap()
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the store waits for something"),
    }
}

/// What each method answers, as text; or its error
type Answers = Vec<Result<String, Box<dyn Error + Send + Sync>>>;

/// Uses a port with its future sent to another thread, as a server does
fn sent<T: fmt::Debug, E: Error + Send + Sync + 'static>(
    future: impl Future<Output = Result<T, E>> + Send,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    Ok(format!("{:?}", ready(future)?))
}

fn directory(directory: impl Directory) -> Answers {
    vec![sent(directory.app_access(&request(), &[token()]))]
}

fn sessions(sessions: impl Sessions) -> Answers {
    let (token, tokens) = (token(), [token()]);
    let key = holder(&token).key;
    let new = NewKey::new(&token, ANN, NOW, NOW);
    vec![
        sent(sessions.holders(&tokens)),
        sent(sessions.username(ANN)),
        sent(sessions.update(&key, KeyUpdate::default(), None)),
        sent(sessions.insert(&new)),
        sent(sessions.give("a", NOW)),
        sent(sessions.log_out(&key, OtherSessions::Keep)),
        sent(sessions.ended(&["a", "b"], NOW)),
        sent(sessions.forget_ended(NOW, 7)),
    ]
}

fn keys(store: impl KeyStore) -> Answers {
    vec![sent(store.keys(Feature::OidcConvert))]
}

fn rotation(store: impl Rotation) -> Answers {
    // A plan may borrow.
    let mut seen = Vec::new();
    let answer = sent(store.rotate(Feature::TailnetResume, |rows| {
        seen.extend(rows.iter().map(|row| row.sequence));
        rows.iter().cloned().map(Change::Insert).collect()
    }));
    assert!(answer.is_err() || seen == [1]);
    vec![answer]
}

fn proxies(store: impl Proxies) -> Answers {
    vec![sent(store.proxies())]
}

fn jobs(store: impl Jobs) -> Answers {
    vec![sent(store.origin(ProvisionerJob::new(JobId(Uuid::nil()), JobKind::WorkspaceBuild)))]
}

/// The answers of all ports through one kind of pointer
macro_rules! all {
    ($store:expr) => {
        [
            directory($store),
            sessions($store),
            keys($store),
            rotation($store),
            proxies($store),
            jobs($store),
        ]
    };
}

/// The answers of all ports behind `dyn`, in one kind of pointer
macro_rules! behind_dyn {
    ($pointer:ident, $store:expr) => {
        [
            directory($pointer::new($store) as $pointer<dyn DynDirectory>),
            sessions($pointer::new($store) as $pointer<dyn DynSessions>),
            keys($pointer::new($store) as $pointer<dyn DynKeyStore>),
            rotation($pointer::new($store) as $pointer<dyn DynRotation>),
            proxies($pointer::new($store) as $pointer<dyn DynProxies>),
            jobs($pointer::new($store) as $pointer<dyn DynJobs>),
        ]
    };
}

#[test]
fn a_port_answers_the_same_through_pointers_and_behind_dyn() {
    let store = Store { fails: false };
    let texts = |answers: [Answers; 6]| {
        answers.map(|all| all.into_iter().map(Result::unwrap).collect::<Vec<_>>())
    };
    let plain = texts(all!(store.clone()));
    assert_eq!(plain[5].len() + plain[1].len(), 9);
    assert_eq!(plain[1][1], "Some(\"ann\")");
    for others in [
        all!(&store),
        all!(&&store),
        all!(Arc::new(store.clone())),
        all!(Box::new(store.clone())),
        behind_dyn!(Arc, store.clone()),
        behind_dyn!(Box, store.clone()),
        behind_dyn!(Arc, Arc::new(store.clone()) as Arc<Store>),
    ] {
        assert_eq!(texts(others), plain);
    }
}

#[test]
fn an_erased_error_has_the_error_of_the_store() {
    let store = Store { fails: true };
    for error in all!(&store).into_iter().flatten().map(Result::unwrap_err) {
        assert!(error.downcast_ref::<Down>().is_some(), "{error}");
    }
    for error in
        behind_dyn!(Arc, Store { fails: true }).into_iter().flatten().map(Result::unwrap_err)
    {
        assert_eq!(error.to_string(), "the store is down");
        assert_eq!(error.source().unwrap().to_string(), "refused");
        let cause = error.downcast_ref::<Cause>().unwrap();
        assert!(cause.get().downcast_ref::<Down>().is_some());
    }
}

/// A host without proxies and provisioners writes one line for each
#[test]
fn what_a_host_does_not_have_needs_no_method() {
    struct Bare;

    impl Proxies for Bare {
        type Error = Infallible;
    }

    impl Jobs for Bare {
        type Error = Infallible;
    }

    assert_eq!(ready(Bare.proxies()), Ok(vec![]));
    let job = ProvisionerJob::new(JobId(Uuid::nil()), JobKind::WorkspaceBuild);
    assert_eq!(ready(Bare.origin(job)), Ok(None));
    assert_eq!(proxies(Arc::new(Bare) as Arc<dyn DynProxies>)[0].as_deref().unwrap(), "[]");
}
