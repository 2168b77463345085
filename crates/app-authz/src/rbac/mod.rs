//! Role-based access control: may this subject do this to that object?
//!
//! A [`Subject`] is a user with expanded [`Role`]s and groups, limited to the [`Scope`] of the
//! credential in use. An [`Object`] has a type, and may have an id, an owner, an organization
//! and access lists. One rule decides:
//!
//! > allowed = (the roles allow **or** an access list grants) **and** the scope allows
//!
//! Permissions hold at four levels, and the first level with an opinion decides: site, then
//! user (own objects outside of organizations), then organization, then member (own objects
//! in an organization). Within a level, a denial overrides all grants. An access list counts
//! only for members of the object's organization. An action that nothing grants is denied.
//!
//! As an example, Ann owns a workspace in the organization `acme`. She may enter it because
//! `organization-member` grants that at the member level. Ben is also a member and may not
//! enter it until Ann shares it with him. Cid administers `acme`: he may delete the workspace
//! at the organization level, but not enter it. And with a token of the scope
//! `workspace:read`, Ann herself may only read it.

mod acl;
mod action;
mod allow;
mod builtin;
mod case;
mod explain;
mod filter;
mod object;
mod permission;
mod policy;
mod resource;
mod role;
mod scope;
mod subject;
mod vocabulary;

pub use acl::{AccessList, Acl};
pub use action::{Action, ActionSet};
pub use allow::{AllowEntry, AllowList, MAX_ALLOW_ENTRIES};
pub use builtin::{BuiltInRoles, Switches, WorkspaceSharing};
pub use case::Case;
pub use explain::Explanation;
pub use filter::Filter;
pub use object::{Object, ObjectId, OrgOwner};
pub use permission::{Pattern, Permission, Permissions};
pub use resource::ResourceType;
pub use role::{Levels, OrganizationLevels, Role, RoleName};
pub use scope::{AgentScope, CompositeScope, Scope, ScopeName};
pub use subject::{Access, Level, OwnWorkspaces, Subject, Verdict};
pub use vocabulary::Unlisted;
