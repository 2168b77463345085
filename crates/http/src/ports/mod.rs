//! What a service asks of the host's tables, part by part

mod erased;

use std::fmt;

use agent_auth::Candidates;
use app_audit::{ActLog, AuditExplorer, AuditLog, Journal};
use app_authz::Directory;
use app_authz::credential::Sessions;
use app_authz::proxy::Proxies;
use app_authz::token::{KeyStore, Rotation};
use store::facts::Facts;
use uuid::Uuid;

pub(crate) use self::erased::{AnyImport, AnyListing, AnyLog, AnyRevocations, AnySharing, Parts};
use crate::port_error::PortError;

/// What agent sign-in asks: the agents of an instance
///
/// Implemented by every [`Candidates`] whose ids are [`AgentKey`]s. The tokens of agents may be of
/// any type: an instance receives their text.
pub trait AgentPorts:
    Candidates<Id: AgentKey, Token: fmt::Display, Error: PortError> + Send + 'static
{
}

impl<T> AgentPorts for T where
    T: Candidates<Id: AgentKey, Token: fmt::Display, Error: PortError> + Send + 'static
{
}

/// A key of the tables in which agents, builds and workspaces are
///
/// The log has its text.
pub trait AgentKey: fmt::Display {
    /// The key as the audit's columns for agents and workspaces hold it
    ///
    /// `None` if it is not a UUID: the audit then has its text, in the details of a sign-in.
    fn uuid(&self) -> Option<Uuid> {
        None
    }
}

impl AgentKey for Uuid {
    fn uuid(&self) -> Option<Uuid> {
        Some(*self)
    }
}

impl AgentKey for i32 {}
impl AgentKey for i64 {}
impl AgentKey for u32 {}
impl AgentKey for u64 {}
impl AgentKey for String {}

/// What app access asks: workspaces and sessions, keys, registered proxies, and where to record
/// visits
///
/// Implemented by every type that has the ports. Each port has an error of its own. Visits are
/// decided with [`Directory`] and [`KeyStore`]; the other ports are asked when a visitor signs in or
/// out, and from time to time.
pub trait AppPorts:
    Directory<Error: PortError>
    + Journal
    + KeyStore<Error: PortError>
    + Proxies<Error: PortError>
    + Rotation<Error: PortError>
    + Sessions<Error: PortError>
    + Send
    + 'static
{
}

impl<T> AppPorts for T where
    T: Directory<Error: PortError>
        + Journal
        + KeyStore<Error: PortError>
        + Proxies<Error: PortError>
        + Rotation<Error: PortError>
        + Sessions<Error: PortError>
        + Send
        + 'static
{
}

/// What the pages and routes of the audit ask: the log of visits, and that of acts
///
/// Implemented by every type that has the ports.
pub trait AuditPorts:
    AuditLog<Error: PortError> + AuditExplorer + ActLog<Error: PortError> + 'static
{
}

impl<T> AuditPorts for T where
    T: AuditLog<Error: PortError> + AuditExplorer + ActLog<Error: PortError> + 'static
{
}

/// Says whether what the host's tables are kept in works
///
/// Implemented by every [`store::Store`].
pub trait Health: Send + Sync + 'static {
    /// Why it does not work
    type Error: PortError;

    /// Checks that it works, for `/readyz`
    ///
    /// It should answer within a second.
    fn ping(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The same for metrics, which are read regularly
    fn probe(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.ping()
    }

    /// Counts and times of its work so far, for metrics
    ///
    /// Asks nothing.
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl<S: store::Store> Health for S {
    type Error = store::Error;

    fn ping(&self) -> impl Future<Output = Result<(), store::Error>> + Send {
        store::Store::ping(self)
    }

    fn probe(&self) -> impl Future<Output = Result<(), store::Error>> + Send {
        store::Store::probe(self)
    }

    fn facts(&self) -> Facts {
        store::Store::facts(self)
    }
}
