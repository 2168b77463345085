//! References and shared pointers of a store are stores, too

use std::sync::Arc;

use crate::Error;
use crate::import::Import;
use crate::listing::{ListQuery, ListedWorkspace, Listing};

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
