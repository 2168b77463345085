use std::fmt;
use std::sync::Arc;

use diesel::ConnectionError;
use diesel::result::QueryResult;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
};
use futures_util::FutureExt;

use super::connect::{Connector, Purpose};
use super::reads::is_broken;
use crate::Error;

/// Connections that a writer has to itself for a while
pub(super) struct Writes {
    pool: Pool<AsyncPgConnection>,
}

impl Writes {
    pub(super) fn new(connector: Connector, purpose: Purpose, connections: u32) -> Self {
        let patience = connector.patience();
        let mut config = ManagerConfig::default();
        // bb8's own checks cost a round trip per use, as much as most statements.
        config.recycling_method = RecyclingMethod::Fast;
        let connector = Arc::new(connector);
        config.custom_setup = Box::new(move |_| {
            let connector = Arc::clone(&connector);
            async move {
                let opened = connector.connect(purpose).await;
                let opened = opened.map(|connection| connection.inner);
                opened.map_err(|error| ConnectionError::BadConnection(error.to_string()))
            }
            .boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let pool = Pool::builder()
            .max_size(connections.max(1))
            .test_on_check_out(false)
            .connection_timeout(patience)
            .build_unchecked(manager);
        Self { pool }
    }

    /// A connection that was open a moment ago
    ///
    /// After the database restarted, all that are idle are not.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, AsyncPgConnection>, Error> {
        loop {
            // On the heap: to open a connection takes a kilobyte, for which every request
            // that may write would otherwise have room.
            let connection = Box::pin(self.pool.get()).await;
            let mut connection = connection.map_err(|error| match error {
                RunError::TimedOut => Error::unavailable("no connection became free in time"),
                RunError::User(error) => Error::unavailable(error),
            })?;
            // Dropping a broken one removes it from the pool, so this ends.
            if !connection.is_broken() {
                return Ok(connection);
            }
        }
    }

    /// Runs one write, once
    ///
    /// If its connection turns out to be broken the write may have been done or not.
    pub(super) async fn run<T>(
        &self,
        write: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let mut connection = self.get().await?;
        match write(&mut connection).await {
            Err(error) if is_broken(&connection, &error).await => Err(Error::unavailable(error)),
            result => Ok(result?),
        }
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writes").field("state", &self.pool.state()).finish()
    }
}
