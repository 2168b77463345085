use diesel::result::QueryResult;
use diesel::sql_types::{Array, Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::timeout;

use crate::Error;
use crate::inspection::{LiveApp, LiveInstance, LiveNames};
use crate::pg::PgStore;
use crate::pg::connect::Purpose;
use crate::pg::tables::Catalog;

impl PgStore {
    /// The instance ids and the names of apps in the newest builds of at most `workspaces`
    /// workspaces
    ///
    /// Which workspaces these are is not defined if there are more. All statements only read. What
    /// this role may not read, or the release does not have, is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`].
    pub async fn live_names(&self, workspaces: u16) -> Result<LiveNames, Error> {
        let connection = self.connector.connect(Purpose::Read).await?;
        let (catalog, connection) = (connection.tables.catalog(), &connection.inner);
        let longest = 3 * self.connector.options().statement_timeout;
        let looked = async {
            let mut names = LiveNames::default();
            if can_read(INSTANCES, catalog, connection).await? {
                names.instances = instances(workspaces, connection).await?;
            }
            if can_read(APPS, catalog, connection).await? {
                let subdomain = can_read(SUBDOMAIN, catalog, connection).await?;
                names.apps = apps(workspaces, subdomain, connection).await?;
            }
            QueryResult::Ok(names)
        };
        let looked = timeout(longest, looked).await;
        Ok(looked.map_err(|_| {
            Error::unavailable(format!("no answer within {} s", longest.as_secs_f32()))
        })??)
    }
}

/// Whether all columns exist and this user may read them
async fn can_read(
    columns: &[(&str, &str)],
    catalog: &Catalog,
    mut connection: &AsyncPgConnection,
) -> QueryResult<bool> {
    if !columns.iter().all(|(table, column)| catalog.has_column(table, column)) {
        return Ok(false);
    }
    let (tables, columns): (Vec<&str>, Vec<&str>) = columns.iter().copied().unzip();
    let row: Readable = sql_query(
        "SELECT bool_and(has_column_privilege(to_regclass(asked.name), asked.part, 'SELECT'))
                AS is_readable
         FROM unnest($1, $2) AS asked (name, part)",
    )
    .bind::<Array<Text>, _>(tables)
    .bind::<Array<Text>, _>(columns)
    .get_result(&mut connection)
    .await?;
    Ok(row.is_readable)
}

async fn instances(
    workspaces: u16,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<LiveInstance>> {
    // `OFFSET 0` keeps each look-up by index: few workspaces must not cost a scan of all agents.
    let query = sql_query(
        "SELECT a.name AS agent, a.auth_instance_id AS instance_id
         FROM (SELECT id FROM workspaces WHERE NOT deleted LIMIT $1) w
         CROSS JOIN LATERAL (
             SELECT job_id FROM workspace_builds WHERE workspace_id = w.id
             ORDER BY build_number DESC LIMIT 1
         ) b
         CROSS JOIN LATERAL (
             SELECT a.name, a.auth_instance_id
             FROM workspace_resources r
             JOIN workspace_agents a ON a.resource_id = r.id
             WHERE r.job_id = b.job_id AND NOT a.deleted AND a.auth_instance_id IS NOT NULL
             OFFSET 0
         ) a",
    );
    let rows: Vec<InstanceRow> =
        query.bind::<Integer, _>(i32::from(workspaces)).load(&mut connection).await?;
    let live = |row: InstanceRow| LiveInstance { agent: row.agent, instance_id: row.instance_id };
    Ok(rows.into_iter().map(live).collect())
}

async fn apps(
    workspaces: u16,
    has_subdomain: bool,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<LiveApp>> {
    let subdomain = if has_subdomain { "p.subdomain" } else { "false" };
    let query = sql_query(format!(
        "SELECT u.username, w.name AS workspace, a.agent, a.slug, a.url, a.subdomain
         FROM (SELECT id, owner_id, name FROM workspaces WHERE NOT deleted LIMIT $1) w
         JOIN users u ON u.id = w.owner_id
         CROSS JOIN LATERAL (
             SELECT job_id FROM workspace_builds WHERE workspace_id = w.id
             ORDER BY build_number DESC LIMIT 1
         ) b
         CROSS JOIN LATERAL (
             SELECT a.name AS agent, p.slug, p.url, {subdomain} AS subdomain
             FROM workspace_resources r
             JOIN workspace_agents a ON a.resource_id = r.id
             JOIN workspace_apps p ON p.agent_id = a.id
             WHERE r.job_id = b.job_id AND NOT a.deleted AND NOT p.external AND p.url <> ''
             OFFSET 0
         ) a"
    ));
    let rows: Vec<AppRow> =
        query.bind::<Integer, _>(i32::from(workspaces)).load(&mut connection).await?;
    let live = |AppRow { username, workspace, agent, slug, url, subdomain }| LiveApp {
        user: username,
        workspace,
        agent,
        slug,
        url,
        subdomain,
    };
    Ok(rows.into_iter().map(live).collect())
}

const INSTANCES: &[(&str, &str)] = &[
    ("workspaces", "id"),
    ("workspaces", "deleted"),
    ("workspace_builds", "workspace_id"),
    ("workspace_builds", "build_number"),
    ("workspace_builds", "job_id"),
    ("workspace_resources", "id"),
    ("workspace_resources", "job_id"),
    ("workspace_agents", "name"),
    ("workspace_agents", "resource_id"),
    ("workspace_agents", "deleted"),
    ("workspace_agents", "auth_instance_id"),
];

const APPS: &[(&str, &str)] = &[
    ("users", "id"),
    ("users", "username"),
    ("workspaces", "id"),
    ("workspaces", "owner_id"),
    ("workspaces", "name"),
    ("workspaces", "deleted"),
    ("workspace_builds", "workspace_id"),
    ("workspace_builds", "build_number"),
    ("workspace_builds", "job_id"),
    ("workspace_resources", "id"),
    ("workspace_resources", "job_id"),
    ("workspace_agents", "id"),
    ("workspace_agents", "name"),
    ("workspace_agents", "resource_id"),
    ("workspace_agents", "deleted"),
    ("workspace_apps", "agent_id"),
    ("workspace_apps", "slug"),
    ("workspace_apps", "url"),
    ("workspace_apps", "external"),
];

/// Not among the rights that authd needs
const SUBDOMAIN: &[(&str, &str)] = &[("workspace_apps", "subdomain")];

#[derive(QueryableByName)]
struct Readable {
    #[diesel(sql_type = Bool)]
    is_readable: bool,
}

#[derive(QueryableByName)]
struct InstanceRow {
    #[diesel(sql_type = Text)]
    agent: String,
    #[diesel(sql_type = Text)]
    instance_id: String,
}

#[derive(QueryableByName)]
struct AppRow {
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    workspace: String,
    #[diesel(sql_type = Text)]
    agent: String,
    #[diesel(sql_type = Text)]
    slug: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Bool)]
    subdomain: bool,
}
