use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::EncryptionKeys;

/// How a [`PgStore`](super::PgStore) uses its database
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The number of connections that reads of sign-in share; reads of app access share as many,
    /// and all other reads share one
    pub read_connections: usize,
    /// The most connections that writes may open
    pub write_connections: u32,
    /// The most connections that the audit journal may open, beside those of writes
    pub audit_connections: u32,
    /// The longest that opening a connection may take
    pub connect_timeout: Duration,
    /// The longest that the database may work on one statement
    ///
    /// A slow statement delays others that share its connection.
    pub statement_timeout: Duration,
    /// Whether agents sign in, which needs the control plane's tables
    ///
    /// [`Store::ping`](crate::Store::ping) fails while the tables do not fit the parts that are
    /// on. It checks authd's own tables if neither this part nor app access is.
    pub sign_in: bool,
    /// Whether sign-in pins the moments of proofs, which writes to a table of authd's own
    ///
    /// [`Store::ping`](crate::Store::ping) then fails while that table is missing, or the database
    /// accepts no writes. Pins are moved for instances that have a moment, whatever this says.
    pub identity_pins: bool,
    /// Whether app access is on, which needs more tables than sign-in
    ///
    /// [`Store::ping`](crate::Store::ping) fails while the tables do not fit the parts that are
    /// on.
    pub app_access: bool,
    /// Whether visits are also written where the control plane's own page looks for them:
    /// `audit_logs` up to v2.24, `connection_logs` since v2.25
    pub mirror_audit: bool,
    /// Whether [`Store::ping`](crate::Store::ping) fails while the database accepts no writes
    pub needs_writes: bool,
    /// The keys with which the control plane encrypts, the preferred one first
    pub encryption_keys: EncryptionKeys,
    /// Whether an import, or a new token of a proxy, may change rows that otherwise only the
    /// control plane changes
    pub into_control_plane: bool,
    /// Counts the statements that are sent
    pub statements: Option<StatementCounter>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_connections: 2,
            write_connections: 8,
            audit_connections: 2,
            connect_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(3),
            sign_in: true,
            identity_pins: false,
            app_access: true,
            mirror_audit: false,
            needs_writes: false,
            encryption_keys: EncryptionKeys::default(),
            into_control_plane: false,
            statements: None,
        }
    }
}

impl Options {
    /// Options of a program that has users and workspaces in tables of its own, and uses this
    /// store for what is in authd's: the audit log, acts, and the keys of app tokens
    ///
    /// [`PgStore::migrate`](super::PgStore::migrate) with `Migrations::OwnedOnly` creates these
    /// tables. The store then needs neither sign-in nor app access, and opens at most nine
    /// connections, each when it is first needed.
    #[must_use]
    pub fn own_tables() -> Self {
        Self::default()
            .sign_in(false)
            .app_access(false)
            .read_connections(1)
            .write_connections(2)
            .audit_connections(2)
    }

    /// The same options, with [`sign_in`](Self::sign_in) as given
    #[must_use]
    pub const fn sign_in(mut self, asked: bool) -> Self {
        self.sign_in = asked;
        self
    }

    /// The same options, with [`identity_pins`](Self::identity_pins) as given
    #[must_use]
    pub const fn identity_pins(mut self, asked: bool) -> Self {
        self.identity_pins = asked;
        self
    }

    /// The same options, with [`read_connections`](Self::read_connections) as given,
    /// but at least one
    #[must_use]
    pub fn read_connections(mut self, connections: usize) -> Self {
        self.read_connections = connections.max(1);
        self
    }

    /// The same options, with [`write_connections`](Self::write_connections) as
    /// given, but at least one
    #[must_use]
    pub fn write_connections(mut self, connections: u32) -> Self {
        self.write_connections = connections.max(1);
        self
    }

    /// The same options, with [`audit_connections`](Self::audit_connections) as
    /// given, but at least one
    #[must_use]
    pub fn audit_connections(mut self, connections: u32) -> Self {
        self.audit_connections = connections.max(1);
        self
    }

    /// The same options, with [`connect_timeout`](Self::connect_timeout) as given
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The same options, with [`statement_timeout`](Self::statement_timeout) as
    /// given
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// The same options, with [`app_access`](Self::app_access) as given
    #[must_use]
    pub const fn app_access(mut self, asked: bool) -> Self {
        self.app_access = asked;
        self
    }

    /// The same options, with [`needs_writes`](Self::needs_writes) as given
    #[must_use]
    pub const fn needs_writes(mut self, needed: bool) -> Self {
        self.needs_writes = needed;
        self
    }

    /// The same options, with [`mirror_audit`](Self::mirror_audit) as given
    #[must_use]
    pub const fn mirror_audit(mut self, mirror: bool) -> Self {
        self.mirror_audit = mirror;
        self
    }

    /// The same options, with [`encryption_keys`](Self::encryption_keys) as given
    #[must_use]
    pub fn encryption_keys(mut self, keys: EncryptionKeys) -> Self {
        self.encryption_keys = keys;
        self
    }

    /// The same options, with [`into_control_plane`](Self::into_control_plane) as given
    #[must_use]
    pub const fn into_control_plane(mut self, allowed: bool) -> Self {
        self.into_control_plane = allowed;
        self
    }

    /// The same options, with a counter; a clone of the counter reads the same count
    #[must_use]
    pub fn statements(mut self, counter: StatementCounter) -> Self {
        self.statements = Some(counter);
        self
    }
}

/// Counts statements at the connections, as they are sent
///
/// Statements that set up a connection are not counted, so that the count is the cost of an
/// operation. The question which sessions have ended is not counted either: it is asked in the
/// background.
#[derive(Clone, Debug, Default)]
pub struct StatementCounter(Arc<AtomicU64>);

impl StatementCounter {
    /// The number of statements that were sent since the counter was created
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
