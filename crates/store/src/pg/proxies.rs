use std::sync::Arc;

use app_authz::proxy::{Proxies, Proxy};
use diesel::dsl::not;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::schema::workspace_proxies;
use super::tables::Need;
use crate::Error;
use crate::facts::Question;

impl Proxies for PgStore {
    type Error = Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, Error> {
        let rows = self.reads.ask(Question::Proxies, async |connection: Arc<Connection>| {
            workspace_proxies::table
                .filter(not(workspace_proxies::deleted))
                .order(workspace_proxies::name)
                .select(ProxyRow::as_select())
                .load(&mut &connection.inner)
                .await
        });
        Ok(rows.await?.into_iter().map(Proxy::from).collect())
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = workspace_proxies, check_for_backend(Pg))]
struct ProxyRow {
    id: Uuid,
    name: String,
    url: String,
    wildcard_hostname: String,
    token_hashed_secret: Vec<u8>,
}

impl From<ProxyRow> for Proxy {
    fn from(row: ProxyRow) -> Self {
        Self::new(row.id, row.name, row.token_hashed_secret)
            .with_addresses(row.url, row.wildcard_hostname)
    }
}

/// The rights that the list of proxies needs
pub(super) const PROXIES: &[Need] = &[Need::select(
    "workspace_proxies",
    "id name url wildcard_hostname token_hashed_secret deleted",
)];
