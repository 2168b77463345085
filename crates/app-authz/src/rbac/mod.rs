//! Role-based access control: may this subject do this to that object?
//!
//! A [`Subject`] is a user with expanded [`Role`]s and groups, seen through the
//! [`Scope`] of the credential in use. An [`Object`] has a type, and perhaps an id, an
//! owner, an organization and access lists. One rule decides:
//!
//! > allowed = (the roles allow **or** an access list grants) **and** the scope allows
//!
//! Permissions hold at four levels. A denial beats every grant of its own level; then
//! the first level that says anything decides: site, then user (own objects outside
//! organizations), then organization, then member (own objects inside one). An
//! access list counts only for members of the object's organization. There is no
//! third answer: what nobody grants is denied.
//!
//! Take three people and the workspace that Ann owns in the organization `acme`. Ann
//! enters it because `organization-member` lets her at member level. Ben is a member
//! too and may not, until Ann shares it with him. Cid administers `acme`: he may delete
//! it at organization level, but not enter it. And with a token of the scope
//! `workspace:read`, Ann herself may only look.

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
