#![allow(unreachable_pub, reason = "a module of one test")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidate, Candidates, ProvenInstance};
use app_audit::{
    Act, ActFilter, ActJournal, ActLog, ActRow, Answer, AuditExplorer, AuditLog, Count, Entry,
    Filter, Found, Journal, Listed, Names, Page, Plot, Row, Window,
};
use app_authz::app::{AppFacts, Workspace};
use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions,
};
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::{JobOrigin, Jobs, ProvisionerJob};
use app_authz::proxy::{Proxies, Proxy};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation};
use app_authz::{AppRequest, Directory, UserId, WorkspaceId};
use store::authorized::{JobRecord, Readable, Rows};
use store::import::Import;
use store::listing::{ListQuery, ListedWorkspace, Listing};
use store::provider::{ProviderSessions, ProviderSignIn, ProviderSignOut, SignInRefusal, SignedIn};
use store::refresh::{BegunRefresh, LinkId, LinkTokens, RefreshEnd, RefreshTurn};
use store::revocations::{Logged, Revocations, Slice, WatchedGrant};
use store::sharing::{Changed, FoundPeople, ShareChange, ShareRow, Sharing};
use store::{Error, MemoryStore, Store};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A store whose lookups of instances wait for a permit of the semaphore
#[derive(Clone)]
pub(crate) struct SlowStore(pub(crate) Arc<Semaphore>, Arc<MemoryStore>);

impl SlowStore {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)), Arc::default())
    }
}

impl Candidates for SlowStore {
    type Id = Uuid;
    type Token = Uuid;
    type Error = Error;

    async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>, Error> {
        assert_ne!(instance.as_str(), PANIC);
        self.0.acquire().await.unwrap().forget();
        Ok(Vec::new())
    }
}

pub(crate) const PANIC: &str = "i-0badbadbadbadbad0";

impl Store for SlowStore {
    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Directory for SlowStore {
    type Error = Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppFacts, Error> {
        self.1.app_access(request, tokens).await
    }
}

impl Sessions for SlowStore {
    type Error = Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        self.1.holders(tokens).await
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Error> {
        self.1.username(user).await
    }

    async fn update(
        &self,
        key: &ApiKey,
        update: KeyUpdate,
        ip: Option<IpAddr>,
    ) -> Result<(), Error> {
        self.1.update(key, update, ip).await
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        self.1.insert(key).await
    }

    async fn give(&self, id: &str, now: SystemTime) -> Result<bool, Error> {
        self.1.give(id, now).await
    }

    async fn log_out(&self, key: &ApiKey, others: OtherSessions) -> Result<Vec<String>, Error> {
        self.1.log_out(key, others).await
    }

    async fn ended(&self, ids: &[&str], now: SystemTime) -> Result<Vec<String>, Error> {
        self.1.ended(ids, now).await
    }

    async fn forget_ended(&self, now: SystemTime, at_most: u32) -> Result<u64, Error> {
        self.1.forget_ended(now, at_most).await
    }
}

impl Jobs for SlowStore {
    type Error = Error;

    async fn origin(&self, job: ProvisionerJob) -> Result<Option<JobOrigin>, Error> {
        self.1.origin(job).await
    }
}

impl Rows for SlowStore {
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        self.1.workspace(id).await
    }

    async fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> Result<Vec<Workspace>, Error> {
        self.1.workspaces(readable, after, limit).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        self.1.job(id).await
    }
}

impl Sharing for SlowStore {
    async fn find_people(
        &self,
        organization: OrganizationId,
        users: &[String],
        groups: &[String],
    ) -> Result<FoundPeople, Error> {
        self.1.find_people(organization, users, groups).await
    }

    async fn shares(&self, workspace: Option<WorkspaceId>) -> Result<Vec<ShareRow>, Error> {
        self.1.shares(workspace).await
    }

    async fn write_shares(
        &self,
        change: &ShareChange,
        act: &Act,
    ) -> Result<Option<Changed>, Error> {
        self.1.write_shares(change, act).await
    }
}

impl Revocations for SlowStore {
    async fn watch_grants(&self, grants: &[WatchedGrant], now: SystemTime) -> Result<(), Error> {
        self.1.watch_grants(grants, now).await
    }

    async fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> Result<Logged, Error> {
        self.1.revocations(since, slice, now).await
    }
}

impl ProviderSessions for SlowStore {
    async fn provider_sign_in(
        &self,
        sign_in: &ProviderSignIn<'_>,
    ) -> Result<Result<SignedIn, SignInRefusal>, Error> {
        self.1.provider_sign_in(sign_in).await
    }

    async fn provider_sign_out(
        &self,
        sign_out: &ProviderSignOut<'_>,
    ) -> Result<Vec<(String, UserId)>, Error> {
        self.1.provider_sign_out(sign_out).await
    }
}

impl LinkTokens for SlowStore {
    async fn begin_refresh(
        &self,
        link: LinkId,
        attempt: Uuid,
        now: SystemTime,
        until: SystemTime,
    ) -> Result<RefreshTurn, Error> {
        self.1.begin_refresh(link, attempt, now, until).await
    }

    async fn end_refresh(&self, begun: &BegunRefresh, end: RefreshEnd<'_>) -> Result<bool, Error> {
        self.1.end_refresh(begun, end).await
    }
}

impl Listing for SlowStore {
    async fn listed(&self, asked: &ListQuery) -> Result<Vec<ListedWorkspace>, Error> {
        self.1.listed(asked).await
    }
}

impl Proxies for SlowStore {
    type Error = Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, Error> {
        self.1.proxies().await
    }
}

impl KeyStore for SlowStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        self.1.keys(feature).await
    }
}

impl Rotation for SlowStore {
    type Error = Error;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, Error>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        self.1.rotate(feature, plan).await
    }
}

impl Journal for SlowStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        self.1.note(entries, window).await
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        self.1.count(counts).await
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Error> {
        self.1.end_sessions(window, at_most).await
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        self.1.forget(keep, at_most).await
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

impl ActJournal for SlowStore {
    type Error = Error;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Error> {
        self.1.note_acts(acts).await
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), Error> {
        self.1.count_acts(counts).await
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        self.1.forget_acts(keep, at_most).await
    }

    async fn records_acts(&self) -> Result<bool, Error> {
        self.1.records_acts().await
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

impl ActLog for SlowStore {
    type Error = Error;

    async fn list_acts(&self, filter: &ActFilter, page: Page) -> Result<Vec<ActRow>, Error> {
        self.1.list_acts(filter, page).await
    }
}

impl Import for SlowStore {
    type Session<'a> = <MemoryStore as Import>::Session<'a>;

    async fn begin_import(&self, dry_run: bool) -> Result<Self::Session<'_>, Error> {
        self.1.begin_import(dry_run).await
    }
}

impl AuditLog for SlowStore {
    type Error = Error;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Error> {
        self.1.list(filter, page).await
    }
}

impl AuditExplorer for SlowStore {
    async fn explore(&self, filter: &Filter, page: Page) -> Result<Vec<Listed>, Error> {
        self.1.explore(filter, page).await
    }

    async fn plot(&self, filter: &Filter) -> Result<Plot, Error> {
        self.1.plot(filter).await
    }

    async fn look_up(&self, names: &Names) -> Result<Found, Error> {
        self.1.look_up(names).await
    }

    async fn usernames(
        &self,
        users: &[app_audit::UserId],
    ) -> Result<HashMap<app_audit::UserId, String>, Error> {
        self.1.usernames(users).await
    }
}
