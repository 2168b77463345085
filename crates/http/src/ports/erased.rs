//! The optional ports with their types erased, so that a service is one type whatever it has

use std::sync::Arc;
use std::time::SystemTime;

use app_audit::{
    Act, ActFilter, ActLog, ActRow, AuditExplorer, AuditLog, Filter, Found, Listed, Names, Page,
    Plot, Row,
};
use app_authz::app::WorkspaceFacts;
use app_authz::{Rules, UserId, WorkspaceId};
use fleet_import::{Document, Options};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::facts::Facts;
use store::import::Import;
use store::listing::{ListQuery, ListedWorkspace, Listing};
use store::revocations::{Logged, Revocations, Slice, WatchedGrant};
use store::sharing::{self, Changed, ShareChange, ShareError, ShareRequest, ShareRow, Sharing};

use super::{AuditPorts, Health};
use crate::error::Error;
use crate::imports::{self, Imported};
use crate::oidc::AnyOidc;
use crate::port_error::ErasedPortError;
use crate::route_groups::{RouteGroup, Routes};

/// The optional parts of a service that only read or write tables, and the routes that were chosen
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) routes: Routes,
    pub(crate) log: Option<Arc<dyn AnyLog>>,
    pub(crate) import: Option<Arc<dyn AnyImport>>,
    pub(crate) listing: Option<Arc<dyn AnyListing>>,
    pub(crate) sharing: Option<Arc<dyn AnySharing>>,
    pub(crate) oidc: Option<Arc<dyn AnyOidc>>,
    pub(crate) health: Option<Arc<dyn AnyHealth>>,
}

impl Parts {
    /// Whether `/audit` is answered, so that pages may link to it
    pub(crate) fn has_audit_page(&self) -> bool {
        self.log.is_some() && self.routes.contains(RouteGroup::Audit)
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, ErasedPortError>>;

/// [`AuditPorts`]
pub(crate) trait AnyLog: Send + Sync {
    fn list<'a>(&'a self, filter: &'a Filter, page: Page) -> Answer<'a, Vec<Row>>;
    fn list_acts<'a>(&'a self, filter: &'a ActFilter, page: Page) -> Answer<'a, Vec<ActRow>>;
    fn explore<'a>(&'a self, filter: &'a Filter, page: Page) -> Answer<'a, Vec<Listed>>;
    fn plot<'a>(&'a self, filter: &'a Filter) -> Answer<'a, Plot>;
    fn look_up<'a>(&'a self, names: &'a Names) -> Answer<'a, Found>;
}

impl<S: AuditPorts> AnyLog for S {
    fn list<'a>(&'a self, filter: &'a Filter, page: Page) -> Answer<'a, Vec<Row>> {
        async move { Ok(AuditLog::list(self, filter, page).await?) }.boxed()
    }

    fn list_acts<'a>(&'a self, filter: &'a ActFilter, page: Page) -> Answer<'a, Vec<ActRow>> {
        async move { Ok(ActLog::list_acts(self, filter, page).await?) }.boxed()
    }

    fn explore<'a>(&'a self, filter: &'a Filter, page: Page) -> Answer<'a, Vec<Listed>> {
        async move { Ok(AuditExplorer::explore(self, filter, page).await?) }.boxed()
    }

    fn plot<'a>(&'a self, filter: &'a Filter) -> Answer<'a, Plot> {
        async move { Ok(AuditExplorer::plot(self, filter).await?) }.boxed()
    }

    fn look_up<'a>(&'a self, names: &'a Names) -> Answer<'a, Found> {
        async move { Ok(AuditExplorer::look_up(self, names).await?) }.boxed()
    }
}

/// [`Import`]
pub(crate) trait AnyImport: Send + Sync {
    fn import(
        &self,
        document: Document,
        options: Options,
    ) -> BoxFuture<'_, Result<Imported, Error>>;
}

impl<S: Import + Send> AnyImport for S {
    fn import(
        &self,
        document: Document,
        options: Options,
    ) -> BoxFuture<'_, Result<Imported, Error>> {
        imports::apply(self, document, options).boxed()
    }
}

/// [`Listing`]
pub(crate) trait AnyListing: Send + Sync {
    fn listed<'a>(&'a self, asked: &'a ListQuery) -> Answer<'a, Vec<ListedWorkspace>>;
}

impl<S: Listing + Send> AnyListing for S {
    fn listed<'a>(&'a self, asked: &'a ListQuery) -> Answer<'a, Vec<ListedWorkspace>> {
        async move { Ok(Listing::listed(self, asked).await?) }.boxed()
    }
}

/// [`Sharing`]
pub(crate) trait AnySharing: Send + Sync {
    fn shares(&self, workspace: WorkspaceId) -> Answer<'_, Vec<ShareRow>>;
    fn change<'a>(
        &'a self,
        facts: &'a WorkspaceFacts,
        asked: &'a ShareRequest,
        rules: Rules,
        by: (Option<UserId>, SystemTime),
        act: &'a Act,
    ) -> BoxFuture<'a, Result<(ShareChange, Changed), ShareError>>;
}

impl<S: Sharing + Send> AnySharing for S {
    fn shares(&self, workspace: WorkspaceId) -> Answer<'_, Vec<ShareRow>> {
        async move { Ok(Sharing::shares(self, Some(workspace)).await?) }.boxed()
    }

    fn change<'a>(
        &'a self,
        facts: &'a WorkspaceFacts,
        asked: &'a ShareRequest,
        rules: Rules,
        by: (Option<UserId>, SystemTime),
        act: &'a Act,
    ) -> BoxFuture<'a, Result<(ShareChange, Changed), ShareError>> {
        sharing::change(self, facts, asked, rules, by, act).boxed()
    }
}

/// [`Revocations`]
pub(crate) trait AnyRevocations: Send + Sync {
    fn watch_grants<'a>(&'a self, grants: &'a [WatchedGrant], now: SystemTime) -> Answer<'a, ()>;
    fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> Answer<'_, Logged>;
    fn changed(&self) -> Answer<'_, ()>;
}

impl<S: Revocations + Send> AnyRevocations for S {
    fn watch_grants<'a>(&'a self, grants: &'a [WatchedGrant], now: SystemTime) -> Answer<'a, ()> {
        async move { Ok(Revocations::watch_grants(self, grants, now).await?) }.boxed()
    }

    fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> Answer<'_, Logged> {
        async move { Ok(Revocations::revocations(self, since, slice, now).await?) }.boxed()
    }

    fn changed(&self) -> Answer<'_, ()> {
        async move { Ok(Revocations::changed(self).await?) }.boxed()
    }
}

/// [`Health`]
pub(crate) trait AnyHealth: Send + Sync {
    fn ping(&self) -> Answer<'_, ()>;
    fn probe(&self) -> Answer<'_, ()>;
    fn facts(&self) -> Facts;
}

impl<S: Health> AnyHealth for S {
    fn ping(&self) -> Answer<'_, ()> {
        async move { Ok(Health::ping(self).await?) }.boxed()
    }

    fn probe(&self) -> Answer<'_, ()> {
        async move { Ok(Health::probe(self).await?) }.boxed()
    }

    fn facts(&self) -> Facts {
        Health::facts(self)
    }
}
