use app_authz::app::{
    Agent, App, Contact, CorsBehavior, People, PeopleShare, PortShare, SharingLevel, Transition,
    Workspace, WorkspaceFacts,
};
use app_authz::id::{AppId, GroupId, OrganizationId};
use app_authz::rbac::Acl;
use app_authz::{AgentId, UserId, WorkspaceId};
use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::{
    Array, Bool, Integer, Jsonb, Nullable, Record, Text, Timestamptz, Uuid as SqlUuid,
};
use uuid::Uuid;

use super::values::{Label, Moment, Shared};
use crate::domain;

/// The columns of a place, as `app_by_name.sql` selects them: the user who was asked for, the
/// workspace and its owner's name, what its newest build does, what its template says, and the
/// agents
pub(super) type PlaceColumns = (
    SqlUuid,
    SqlUuid,
    Text,
    SqlUuid,
    Text,
    SqlUuid,
    Bool,
    Jsonb,
    Jsonb,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Array<AgentColumns>,
);

/// An agent, its app with the requested slug, the sharing level of the requested port, and the users
/// and groups with whom the app or the port is shared
type AgentColumns = Record<(
    SqlUuid,
    Text,
    Timestamptz,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Integer,
    Nullable<SqlUuid>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Bool>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Array<SqlUuid>>,
    Nullable<Array<SqlUuid>>,
)>;

/// The facts about the workspace that a request names
#[derive(Debug)]
pub(super) struct PlaceRow {
    asked_owner: Uuid,
    workspace: Workspace,
    transition: Transition,
    cors: Option<Label<CorsBehavior>>,
    max_port_sharing: Option<Label<SharingLevel>>,
    agents: Vec<AgentRow>,
}

#[derive(Debug)]
pub(super) struct AgentRow {
    agent: Agent,
    app: Option<Uuid>,
    /// The app's slug as it is stored
    slug: Option<String>,
    url: Option<String>,
    external: Option<bool>,
    sharing: Option<Label<SharingLevel>>,
    /// The name of the port's agent as the share has it
    shared_by: Option<String>,
    port_sharing: Option<Label<SharingLevel>>,
    people: People,
}

impl PlaceRow {
    /// The place, as a request for an app or for this port sees it
    pub(super) fn place(self, port: Option<u16>) -> WorkspaceFacts {
        let cors = self.cors.map_or_else(CorsBehavior::default, |Label(cors)| cors);
        let widest = domain::max_port_sharing(self.max_port_sharing.map(|Label(level)| level));
        let mut place = WorkspaceFacts::new(
            UserId(self.asked_owner),
            self.workspace,
            self.transition,
            Some(widest),
        )
        .with_cors(cors);
        place.agents.reserve_exact(self.agents.len());
        for row in self.agents {
            if !row.people.is_empty() {
                let shared = row.slug.clone().or_else(|| port.map(|port| port.to_string()));
                let share =
                    shared.map(|shared| PeopleShare::new(&row.agent.name, shared, row.people));
                place.people_shares.extend(share);
            }
            if let (Some(id), Some(slug), Some(Label(sharing))) = (row.app, row.slug, row.sharing) {
                let app = App::new(AppId(id), row.agent.id, slug, row.url.unwrap_or_default());
                let app = app.with_external(row.external.unwrap_or_default());
                place.apps.push(app.with_sharing(sharing));
            }
            if let (Some(port), Some(agent_name), Some(Label(sharing))) =
                (port, row.shared_by, row.port_sharing)
            {
                place.port_shares.push(PortShare::new(agent_name, port, sharing));
            }
            place.agents.push(row.agent);
        }
        domain::put_in_order(&mut place);
        place
    }
}

impl Queryable<PlaceColumns, Pg> for PlaceRow {
    type Row = (
        Uuid,
        Uuid,
        String,
        Uuid,
        String,
        Uuid,
        bool,
        Shared,
        Shared,
        Label<Transition>,
        Option<Label<CorsBehavior>>,
        Option<Label<SharingLevel>>,
        Vec<AgentRow>,
    );

    fn build(row: Self::Row) -> deserialize::Result<Self> {
        let (
            asked_owner,
            id,
            name,
            owner,
            owner_name,
            organization,
            dormant,
            Shared(users),
            Shared(groups),
            Label(transition),
            cors,
            max_port_sharing,
            agents,
        ) = row;
        let workspace = Workspace::new(
            (WorkspaceId(id), name),
            (UserId(owner), owner_name),
            OrganizationId(organization),
        );
        let workspace = workspace.with_dormant(dormant).with_acl(Acl::new(users, groups));
        Ok(Self { asked_owner, workspace, transition, cors, max_port_sharing, agents })
    }
}

impl FromSql<AgentColumns, Pg> for AgentRow {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        type Columns = (
            Uuid,
            String,
            Moment,
            Option<Moment>,
            Option<Moment>,
            Option<Moment>,
            i32,
            Option<Uuid>,
            Option<String>,
            Option<String>,
            Option<bool>,
            Option<Label<SharingLevel>>,
            Option<String>,
            Option<Label<SharingLevel>>,
            Option<Vec<Uuid>>,
            Option<Vec<Uuid>>,
        );

        let (
            id,
            name,
            Moment(created_at),
            first_connected_at,
            last_connected_at,
            disconnected_at,
            connection_timeout,
            app,
            slug,
            url,
            external,
            sharing,
            shared_by,
            port_sharing,
            users,
            groups,
        ): Columns = FromSql::<AgentColumns, Pg>::from_sql(value)?;
        let time = |moment: Option<Moment>| moment.map(|Moment(time)| time);
        let contact = Contact::new(created_at)
            .with_connected(time(first_connected_at), time(last_connected_at))
            .with_disconnected(time(disconnected_at))
            .with_connection_timeout(domain::seconds(connection_timeout.into()));
        let agent = Agent::new(AgentId(id), name, contact);
        let people = People::new(
            users.into_iter().flatten().map(UserId),
            groups.into_iter().flatten().map(GroupId),
        );
        Ok(Self { agent, app, slug, url, external, sharing, shared_by, port_sharing, people })
    }
}
