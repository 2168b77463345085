use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use store::{PgStore, StatementCounter};
use testkit::{Database, OwnServer};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::{Effort, Finding};

/// Counts the allocations of a function on this thread
pub type CountAllocations = fn(&mut dyn FnMut()) -> u64;

/// The `authd` that is started where a row needs the real program
#[derive(Clone, Debug)]
pub enum Binary {
    /// At this path
    At(PathBuf),
    /// Beside this program, after cargo has built it
    Build,
}

/// What all suites of one run share
pub struct Setting {
    /// How long a comparison takes
    pub effort: Effort,
    /// The runtime of callers and servers
    pub runtime: Arc<Runtime>,
    /// The number of workspaces of the larger deployment, where growth is measured
    pub growth_workspaces: u64,
    /// `shared_buffers` of PostgreSQL where growth is measured; `None` for its default
    pub growth_shared_buffers: Option<String>,
    /// The connections that are open where memory is measured
    pub connections: usize,
    /// The real program
    pub binary: Binary,
    /// Counts allocations, in a program whose allocator does
    pub allocations: Option<CountAllocations>,
    /// Rows whose allocations another program has counted
    pub counted: Vec<Finding>,
    filled: OnceLock<Arc<Filled>>,
    durable: OnceCell<OwnServer>,
}

/// A database of 100,000 agents with histories, and the shipped store over it
#[derive(Debug)]
pub struct Filled {
    /// The database
    pub database: Database,
    /// The store
    pub store: Arc<PgStore>,
    /// The statements of the store
    pub statements: StatementCounter,
}

impl Setting {
    /// A setting with the defaults of `effort`
    ///
    /// # Panics
    ///
    /// If the system has no more threads.
    #[must_use]
    #[allow(clippy::expect_used, reason = "without threads nothing can be measured")]
    pub fn new(effort: Effort) -> Self {
        let is_check = effort == Effort::Check;
        Self {
            effort,
            runtime: Arc::new(Runtime::new().expect("a runtime")),
            growth_workspaces: if is_check { 200 } else { 100_000 },
            growth_shared_buffers: None,
            connections: if is_check { 50 } else { 10_000 },
            binary: Binary::Build,
            allocations: None,
            counted: Vec::new(),
            filled: OnceLock::new(),
            durable: OnceCell::new(),
        }
    }

    /// The database of 100,000 agents, which the first suite that needs it fills
    pub fn filled(&self) -> Arc<Filled> {
        let filled = self.filled.get_or_init(|| {
            Arc::new(self.runtime.block_on(async {
                let database = Database::new().await;
                database.fill().await;
                let (store, statements) = database.counted_store().await;
                Filled { database, store: Arc::new(store), statements }
            }))
        });
        Arc::clone(filled)
    }

    /// A server that writes to disk before it answers a commit, as PostgreSQL does by default
    ///
    /// The server of tests does not, which favours the side that commits most often.
    pub(crate) async fn durable(&self) -> &OwnServer {
        self.durable.get_or_init(OwnServer::start_durable).await
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("effort", &self.effort)
            .field("growth_workspaces", &self.growth_workspaces)
            .field("connections", &self.connections)
            .field("binary", &self.binary)
            .finish_non_exhaustive()
    }
}
