//! The control plane's rows as plain data

mod build;
#[cfg(feature = "postgres")]
mod copy;
mod rows;
mod tables;
mod values;

use serde::{Deserialize, Serialize};

pub use self::build::NewBuild;
#[cfg(feature = "postgres")]
pub(crate) use self::copy::{CopyRow, CopyValue};
pub use self::rows::{
    ApiKey, CryptoKey, CustomRole, Group, GroupMember, Oauth2ProviderAppToken, Organization,
    OrganizationMember, ProvisionerJob, Share, Template, TemplateVersion, User, UserLink,
    Workspace, WorkspaceAgent, WorkspaceAgentPortShare, WorkspaceApp, WorkspaceBuild,
    WorkspaceProxy, WorkspaceResource,
};
pub(crate) use self::tables::with_tables;
pub use self::values::{
    AppHealth, CorsBehavior, Digest, Hidden, JobType, KeyFeature, KeyScope, LifecycleState,
    LoginType, PortShareProtocol, SharingLevel, Token, Transition, UserStatus,
};

macro_rules! fleet {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        /// A control plane's rows, to fill a store with
        ///
        /// Each field is a table and each element a row, under the control plane's names.
        /// A store neither checks nor needs references between rows: an agent whose
        /// resource is missing belongs to no workspace.
        ///
        /// Built by hand, read from JSON, or grown with the methods below, which keep the
        /// references right:
        ///
        /// ```
        /// use store::fleet::{Fleet, Transition};
        ///
        /// let mut fleet = Fleet::default();
        /// let acme = fleet.organization("acme");
        /// let alice = fleet.user("alice", acme);
        /// let workspace = fleet.workspace(alice, "dev");
        /// let build = fleet.build(workspace, Transition::Start);
        /// fleet.agent(build.resource, "main", "i-076e9b91f7c420782");
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        #[allow(missing_docs)] // named like their tables
        pub struct Fleet {
            $(pub $table: Vec<$row>,)*
        }

        impl Fleet {
            /// Adds the rows of another fleet
            pub(crate) fn extend(&mut self, other: &Self) {
                $(self.$table.extend_from_slice(&other.$table);)*
            }
        }
    };
}

with_tables!(fleet);
