use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::{PgStore, schema};
use crate::Error;
use crate::fleet::Fleet;

impl PgStore {
    /// Adds all rows of `fleet`, or none
    ///
    /// # Errors
    ///
    /// [`Error::Query`] where a key is taken; [`Error::Unavailable`].
    pub async fn load(&self, fleet: &Fleet) -> Result<(), Error> {
        let mut connection = self.writes.get().await?;
        connection.transaction(async |connection| insert(fleet, connection).await).await?;
        Ok(())
    }
}

async fn insert(fleet: &Fleet, connection: &mut AsyncPgConnection) -> QueryResult<()> {
    macro_rules! insert {
        ($($table:ident),* $(,)?) => {
            // Every field, so that a table added to the fleet is not forgotten here.
            let Fleet { $($table),* } = fleet;
            $(for rows in $table.chunks(ROWS_PER_STATEMENT) {
                diesel::insert_into(schema::$table::table)
                    .values(rows)
                    .execute(connection)
                    .await?;
            })*
        };
    }
    insert!(
        organizations,
        users,
        organization_members,
        groups,
        group_members,
        custom_roles,
        user_links,
        api_keys,
        oauth2_provider_app_tokens,
        templates,
        template_versions,
        workspaces,
        provisioner_jobs,
        workspace_builds,
        workspace_resources,
        workspace_agents,
        workspace_apps,
        workspace_agent_port_share,
        workspace_proxies,
        crypto_keys,
    );
    Ok(())
}

/// A statement has at most 65,535 parameters, and the widest row 13 columns
const ROWS_PER_STATEMENT: usize = 1_000;
