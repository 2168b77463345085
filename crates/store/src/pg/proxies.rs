use std::sync::Arc;

use app_authz::proxy::{Proxies, Proxy};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::schema::workspace_proxies::dsl::{
    deleted, id, name, token_hashed_secret, url, wildcard_hostname, workspace_proxies,
};
use super::tables::Need;
use crate::Error;

impl Proxies for PgStore {
    type Error = Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, Error> {
        let rows = self.reads.run(async |connection: Arc<Connection>| {
            workspace_proxies
                .select((id, name, url, wildcard_hostname, token_hashed_secret))
                .filter(diesel::dsl::not(deleted))
                .order(name)
                .load::<(Uuid, String, String, String, Vec<u8>)>(&mut &connection.inner)
                .await
        });
        let proxy = |(key, called, address, pattern, secret_digest)| Proxy {
            id: key,
            name: called,
            url: address,
            wildcard_hostname: pattern,
            secret_digest,
        };
        Ok(rows.await?.into_iter().map(proxy).collect())
    }
}

/// The rights that the list of proxies takes
pub(super) const PROXIES: &[Need] = &[Need::select(
    "workspace_proxies",
    "id name url wildcard_hostname token_hashed_secret deleted",
)];
