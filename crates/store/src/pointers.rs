//! References and shared pointers of a store are stores, too

use std::sync::Arc;
use std::time::SystemTime;

use app_audit::Act;
use app_authz::WorkspaceId;
use app_authz::id::OrganizationId;

use crate::Error;
use crate::import::Import;
use crate::listing::{ListQuery, ListedWorkspace, Listing};
use crate::revocations::{Logged, Revocations, Slice, WatchedGrant};
use crate::sharing::{Changed, FoundPeople, ShareChange, ShareRow, Sharing};

impl<T: Import + Send> Import for Arc<T> {
    type Session<'a> = T::Session<'a>;

    fn begin_import(
        &self,
        dry_run: bool,
    ) -> impl Future<Output = Result<Self::Session<'_>, Error>> + Send {
        T::begin_import(self, dry_run)
    }
}

impl<T: Listing + ?Sized> Listing for &T {
    fn listed(
        &self,
        asked: &ListQuery,
    ) -> impl Future<Output = Result<Vec<ListedWorkspace>, Error>> + Send {
        T::listed(self, asked)
    }
}

impl<T: Listing + Send + ?Sized> Listing for Arc<T> {
    fn listed(
        &self,
        asked: &ListQuery,
    ) -> impl Future<Output = Result<Vec<ListedWorkspace>, Error>> + Send {
        T::listed(self, asked)
    }
}

macro_rules! sharing {
    ($($pointer:ty),+) => {
        $(impl<T: Sharing + Send + ?Sized> Sharing for $pointer {
            fn find_people(
                &self,
                organization: OrganizationId,
                users: &[String],
                groups: &[String],
            ) -> impl Future<Output = Result<FoundPeople, Error>> + Send {
                T::find_people(self, organization, users, groups)
            }

            fn shares(
                &self,
                workspace: Option<WorkspaceId>,
            ) -> impl Future<Output = Result<Vec<ShareRow>, Error>> + Send {
                T::shares(self, workspace)
            }

            fn write_shares(
                &self,
                change: &ShareChange,
                act: &Act,
            ) -> impl Future<Output = Result<Option<Changed>, Error>> + Send {
                T::write_shares(self, change, act)
            }
        })+
    };
}

sharing!(&T, Arc<T>);

macro_rules! revocations {
    ($($pointer:ty),+) => {
        $(impl<T: Revocations + Send + ?Sized> Revocations for $pointer {
            fn watch_grants(
                &self,
                grants: &[WatchedGrant],
                now: SystemTime,
            ) -> impl Future<Output = Result<(), Error>> + Send {
                T::watch_grants(self, grants, now)
            }

            fn revocations(
                &self,
                since: Option<SystemTime>,
                slice: Slice,
                now: SystemTime,
            ) -> impl Future<Output = Result<Logged, Error>> + Send {
                T::revocations(self, since, slice, now)
            }
        })+
    };
}

revocations!(&T, Arc<T>);
