use std::fmt;
use std::sync::Arc;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
};
use futures_util::FutureExt;

use super::Options;
use super::connect::{Connector, Purpose};
use crate::Error;

/// Connections that a writer has to itself for a while
pub(super) struct Writes {
    pool: Pool<AsyncPgConnection>,
}

impl Writes {
    pub(super) fn new(connector: Connector, options: &Options) -> Self {
        let mut config = ManagerConfig::default();
        // bb8's own checks cost a round trip per use, as much as most statements.
        config.recycling_method = RecyclingMethod::Fast;
        let connector = Arc::new(connector);
        config.custom_setup = Box::new(move |_| {
            let connector = Arc::clone(&connector);
            async move {
                let opened = connector.connect(Purpose::Write).await;
                let opened = opened.map(|connection| connection.inner);
                opened.map_err(|error| ConnectionError::BadConnection(error.to_string()))
            }
            .boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let pool = Pool::builder()
            .max_size(options.write_connections.max(1))
            .test_on_check_out(false)
            .connection_timeout(options.connect_timeout)
            .build_unchecked(manager);
        Self { pool }
    }

    /// A connection that was open a moment ago
    ///
    /// After the database restarted, all that are idle are not.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, AsyncPgConnection>, Error> {
        loop {
            let mut connection = self.pool.get().await.map_err(|error| match error {
                RunError::TimedOut => Error::unavailable("no connection became free in time"),
                RunError::User(error) => Error::unavailable(error),
            })?;
            // Dropping a broken one removes it from the pool, so this ends.
            if !connection.is_broken() {
                return Ok(connection);
            }
        }
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writes").field("state", &self.pool.state()).finish()
    }
}
