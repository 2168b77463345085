use std::sync::Arc;

use app_authz::credential::SessionToken;
use app_authz::{AgentId, AppAccess, AppRequest, Directory, NameOrId, Port};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::batches::Question;
use super::connect::Connection;
use super::holders::{FROM_KEYS, HOLDER, HolderColumns, HolderRow};
use super::places::{PlaceColumns, PlaceRow};
use crate::Error;

impl Directory for PgStore {
    type Error = Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppAccess, Error> {
        let tokens = tokens.iter().map(|token| token.id().to_owned()).collect();
        match request.terminal() {
            Some(agent) => self.terminals.ask(TerminalAccess { agent, tokens }).await,
            None => self.apps.ask(NamedAccess::new(request, tokens)).await,
        }
    }
}

/// Access to an app or a port, which a request names by owner and workspace
pub(super) struct NamedAccess {
    owner: Asked,
    workspace: Asked,
    slug: Option<String>,
    port: Option<u16>,
    tokens: Vec<String>,
}

/// An id or a name; neither for a name that no row can have
struct Asked {
    id: Option<Uuid>,
    name: Option<String>,
}

impl NamedAccess {
    fn new(request: &AppRequest, tokens: Vec<String>) -> Self {
        let port = request.slug_or_port().parse::<Port>().ok();
        let slug = if port.is_none() { text(request.slug_or_port()) } else { None };
        Self {
            owner: request.user().into(),
            workspace: request.workspace().into(),
            slug,
            port: port.map(Port::number),
            tokens,
        }
    }
}

impl From<&str> for Asked {
    fn from(asked: &str) -> Self {
        match NameOrId::from(asked) {
            NameOrId::Id(id) => Self { id: Some(id), name: None },
            NameOrId::Name(name) => Self { id: None, name: text(name) },
        }
    }
}

/// The text, unless it holds the one character that no text in PostgreSQL does
fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.contains('\0'))
}

impl Question for NamedAccess {
    type Answer = AppAccess;

    async fn ask(questions: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppAccess>> {
        let statement = ByNames {
            owner_ids: &questions.iter().map(|q| q.owner.id).collect::<Vec<_>>(),
            owner_names: &questions.iter().map(|q| q.owner.name.as_deref()).collect::<Vec<_>>(),
            workspace_ids: &questions.iter().map(|q| q.workspace.id).collect::<Vec<_>>(),
            workspace_names: &questions
                .iter()
                .map(|q| q.workspace.name.as_deref())
                .collect::<Vec<_>>(),
            slugs: &questions.iter().map(|q| q.slug.as_deref()).collect::<Vec<_>>(),
            ports: &questions.iter().map(|q| q.port.map(i32::from)).collect::<Vec<_>>(),
            tokens: Carried::by(questions.iter().map(|q| &*q.tokens)),
        };
        let rows: Vec<Row> = statement.load(&mut &connection.inner).await?;
        let asked = questions.iter().map(|q| (q.slug.as_deref(), q.port));
        Ok(answers(rows, asked))
    }
}

/// Access to the terminal of an agent
pub(super) struct TerminalAccess {
    agent: AgentId,
    tokens: Vec<String>,
}

impl Question for TerminalAccess {
    type Answer = AppAccess;

    async fn ask(questions: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppAccess>> {
        let statement = ByAgents {
            agents: &questions.iter().map(|q| q.agent.0).collect::<Vec<_>>(),
            tokens: Carried::by(questions.iter().map(|q| &*q.tokens)),
        };
        let rows: Vec<Row> = statement.load(&mut &connection.inner).await?;
        Ok(answers(rows, questions.iter().map(|_| (None, None))))
    }
}

/// Which question a row is about, counted from one, and either half of its answer
type Row = (i64, Option<PlaceRow>, Option<HolderRow>);
type Columns = (BigInt, Nullable<PlaceColumns>, Nullable<HolderColumns>);

/// Deals the rows out to the questions, of each of which slug and port are given
fn answers<'a>(
    rows: Vec<Row>,
    asked: impl Iterator<Item = (Option<&'a str>, Option<u16>)>,
) -> Vec<AppAccess> {
    let mut answers: Vec<_> = asked.map(|asked| (asked, AppAccess::default())).collect();
    for (n, place, holder) in rows {
        let answer = usize::try_from(n - 1).ok().and_then(|n| answers.get_mut(n));
        let Some(((slug, port), answer)) = answer else { continue };
        if let Some(place) = place {
            answer.place = Some(place.place(*slug, *port));
        }
        answer.holders.extend(holder.map(|HolderRow(holder)| holder));
    }
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Places by the names or ids of owner and workspace, and holders, in one statement
///
/// An owner is found by the user name alone: an address is no name, and one that is
/// empty would be everybody's. A deleted user is found by id, and a deleted workspace
/// not at all.
///
/// Of a build only the agents are listed, each with what the request can lead to: the
/// app of the slug, or the share of the port.
struct ByNames<'a> {
    owner_ids: &'a [Option<Uuid>],
    owner_names: &'a [Option<&'a str>],
    workspace_ids: &'a [Option<Uuid>],
    workspace_names: &'a [Option<&'a str>],
    slugs: &'a [Option<&'a str>],
    ports: &'a [Option<i32>],
    tokens: Carried<'a>,
}

impl QueryFragment<Pg> for ByNames<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT asked.n,
       ROW(asked_owner.id, w.id, w.name, w.owner_id, owner.username, w.organization_id,
           w.dormant_at IS NOT NULL, w.user_acl, w.group_acl, b.transition,
           t.cors_behavior, t.max_port_sharing_level,
           ARRAY(
               SELECT ROW(a.id, a.name, a.created_at, a.first_connected_at,
                          a.last_connected_at, a.disconnected_at,
                          a.connection_timeout_seconds,
                          p.id, p.url, p.external, p.sharing_level, s.share_level)
               FROM workspace_resources r
               JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
               LEFT JOIN workspace_apps p ON p.agent_id = a.id AND p.slug = asked.slug
               LEFT JOIN workspace_agent_port_share s
                   ON s.workspace_id = w.id AND s.agent_name = a.name AND s.port = asked.port
               WHERE r.job_id = b.job_id
           )) AS place,
       NULL AS holder
FROM unnest(",
        );
        out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(self.owner_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(self.owner_names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(self.workspace_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(self.workspace_names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(self.slugs)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Integer>>, _>(self.ports)?;
        out.push_sql(
            ")
    WITH ORDINALITY AS asked (owner_id, owner_name, workspace_id, workspace_name, slug, port, n)
CROSS JOIN LATERAL (
    SELECT id FROM users WHERE id = asked.owner_id
    UNION ALL
    SELECT id FROM users WHERE lower(username) = lower(asked.owner_name) AND NOT deleted
) asked_owner
CROSS JOIN LATERAL (
    SELECT id, name, owner_id, organization_id, template_id, dormant_at, user_acl, group_acl
    FROM workspaces
    WHERE id = asked.workspace_id AND NOT deleted
    UNION ALL
    SELECT id, name, owner_id, organization_id, template_id, dormant_at, user_acl, group_acl
    FROM workspaces
    WHERE owner_id = asked_owner.id AND lower(name) = lower(asked.workspace_name) AND NOT deleted
) w
CROSS JOIN LATERAL (
    SELECT job_id, transition
    FROM workspace_builds
    WHERE workspace_id = w.id
    ORDER BY build_number DESC
    LIMIT 1
) b
JOIN users owner ON owner.id = w.owner_id
LEFT JOIN templates t ON t.id = w.template_id
UNION ALL
",
        );
        self.tokens.walk_ast(out.reborrow())
    }
}

prepared_once!(ByNames);

impl Query for ByNames<'_> {
    type SqlType = Columns;
}

/// Places by their agents, and holders, in one statement
///
/// The agent is found only if its build is the newest of a workspace that is not
/// deleted: one of the past has no machine to open a terminal on.
struct ByAgents<'a> {
    agents: &'a [Uuid],
    tokens: Carried<'a>,
}

impl QueryFragment<Pg> for ByAgents<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT asked.n,
       ROW(w.owner_id, w.id, w.name, w.owner_id, owner.username, w.organization_id,
           w.dormant_at IS NOT NULL, w.user_acl, w.group_acl, b.transition,
           t.cors_behavior, t.max_port_sharing_level,
           ARRAY[ROW(a.id, a.name, a.created_at, a.first_connected_at,
                     a.last_connected_at, a.disconnected_at,
                     a.connection_timeout_seconds, NULL, NULL, NULL, NULL, NULL)]) AS place,
       NULL AS holder
FROM unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(self.agents)?;
        out.push_sql(
            ") WITH ORDINALITY AS asked (agent_id, n)
JOIN workspace_agents a ON a.id = asked.agent_id AND NOT a.deleted
JOIN workspace_resources r ON r.id = a.resource_id
JOIN workspace_builds b ON b.job_id = r.job_id
JOIN workspaces w ON w.id = b.workspace_id AND NOT w.deleted
JOIN users owner ON owner.id = w.owner_id
LEFT JOIN templates t ON t.id = w.template_id
WHERE b.build_number = (SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id)
UNION ALL
",
        );
        self.tokens.walk_ast(out.reborrow())
    }
}

prepared_once!(ByAgents);

impl Query for ByAgents<'_> {
    type SqlType = Columns;
}

/// The tokens of several questions: the statement's half that finds their holders
struct Carried<'a> {
    ids: Vec<&'a str>,
    /// Which question each is about, counted from one
    questions: Vec<i64>,
}

impl<'a> Carried<'a> {
    fn by(tokens: impl Iterator<Item = &'a [String]>) -> Self {
        let carried = tokens.zip(1..).flat_map(|(tokens, n)| tokens.iter().map(move |t| (&**t, n)));
        let (ids, questions) = carried.unzip();
        Self { ids, questions }
    }
}

impl QueryFragment<Pg> for Carried<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT carried.n, NULL, ");
        out.push_sql(HOLDER);
        out.push_sql("\nFROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.questions)?;
        out.push_sql(") AS carried (key_id, n)");
        out.push_sql(FROM_KEYS);
        Ok(())
    }
}
