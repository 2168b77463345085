//! Visits are written a second time where the control plane's own page looks for them
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

use std::time::{Duration, SystemTime};

use app_audit::{
    AgentId, AppId, Entry, Event, Journal, OrganizationId, Resource, UserId, Window, Workspace,
    WorkspaceId,
};
use store::{Options, PgStore};
use testkit::{Database, Loan, Release, World};
use uuid::Uuid;

/// The event, with some fields changed
fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

struct Mirrored {
    world: World,
    database: Loan,
    store: PgStore,
}

impl Mirrored {
    async fn on(release: Release) -> Self {
        let world = World::of(release, SystemTime::now());
        let database = world.database().await;
        let options = Options::default().mirror_audit(true);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        Self { world, database, store }
    }

    fn visit(&self, resource: Resource) -> Event {
        with(
            Event::new(
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
                Uuid::from_u128(7),
                resource,
                200,
            ),
            |it| {
                it.user = Some(UserId(self.world.id("bob")));
                it.ip = Some("::ffff:192.0.2.7".parse().unwrap());
                it.user_agent = b"Firefox".to_vec();
                it.agent = Some((AgentId(self.world.id("alice/dev/main")), "main".to_owned()));
                it.workspace = Some(Workspace::new(
                    WorkspaceId(self.world.id("alice/dev")),
                    "dev",
                    "alice",
                    OrganizationId(self.world.id("acme")),
                ));
            },
        )
    }

    async fn note(&self, visits: &[Event]) {
        let entries: Vec<Entry> =
            visits.iter().map(|visit| Entry::new(visit, Uuid::now_v7())).collect();
        let window = Window::default();
        // Twice, as happens when a connection breaks between the commit and the answer.
        for _ in 0..2 {
            self.store.note(&entries, window).await.unwrap();
        }
    }
}

/// The visits that are tried, the last of which lead nowhere
fn visits(mirrored: &Mirrored) -> Vec<Event> {
    let app = Resource::App(AppId(Uuid::from_u128(9)), "code".to_owned());
    let stranger = with(mirrored.visit(app.clone()), |it| {
        it.user = None;
        it.ip = None;
        it.user_agent = Vec::new();
        it.status = 303;
        it.reason = Some("not_signed_in");
    });
    let nowhere = with(mirrored.visit(Resource::Unknown("none".to_owned())), |it| {
        it.agent = None;
        it.workspace = None;
        it.status = 404;
        it.reason = Some("no_workspace");
    });
    let no_app = with(mirrored.visit(Resource::Unknown("none".to_owned())), |it| {
        it.status = 404;
        it.reason = Some("no_app");
    });
    vec![
        mirrored.visit(app),
        mirrored.visit(Resource::Port("8080s".to_owned())),
        mirrored.visit(Resource::Terminal),
        stranger,
        nowhere,
        no_app,
    ]
}

#[tokio::test]
async fn visits_are_in_the_connection_log_of_each_release_that_has_one() {
    for release in Release::V2_25.and_later() {
        let mirrored = Mirrored::on(*release).await;
        mirrored.note(&visits(&mirrored)).await;
        let rows = mirrored
            .database
            .sql(
                "SELECT l.type, l.slug_or_port, l.code, l.user_id IS NOT NULL, host(l.ip), l.user_agent,
                        l.agent_name, l.workspace_name, u.username, l.connect_time = o.\"time\",
                        l.connection_id IS NULL AND l.disconnect_time IS NULL
                 FROM connection_logs l JOIN users u ON u.id = l.workspace_owner_id
                 JOIN authd_audit_log o ON o.id = l.id
                 ORDER BY l.slug_or_port, l.code",
            )
            .await;
        let unknown = if *release < Release::V2_27 { "0.0.0.0" } else { "" };
        let expected = [
            "port_forwarding|8080s|200|t|192.0.2.7|Firefox|main|dev|alice|t|t".to_owned(),
            "workspace_app|code|200|t|192.0.2.7|Firefox|main|dev|alice|t|t".to_owned(),
            format!("workspace_app|code|303|f|{unknown}||main|dev|alice|t|t"),
            "workspace_app|terminal|200|t|192.0.2.7|Firefox|main|dev|alice|t|t".to_owned(),
        ];
        assert_eq!(rows, expected, "{release}");
        let ours = mirrored.database.sql("SELECT count(*) FROM authd_audit_log").await;
        assert_eq!(ours, ["6"], "{release}");
    }
}

#[tokio::test]
async fn visits_are_in_the_audit_log_of_the_release_before() {
    let mirrored = Mirrored::on(Release::V2_24).await;
    mirrored.note(&visits(&mirrored)).await;
    let rows = mirrored
        .database
        .sql(
            "SELECT resource_type, resource_target, action, status_code, host(ip), user_agent, diff,
                    additional_fields ->> 'slug_or_port', additional_fields ->> 'workspace_owner',
                    resource_icon = '' AND request_id IS NOT NULL
             FROM audit_logs ORDER BY resource_type, resource_target, status_code,
                                      additional_fields ->> 'slug_or_port'",
        )
        .await;
    let expected = [
        "workspace_agent|main|open|200|192.0.2.7|Firefox|{}|8080s|alice|t",
        "workspace_agent|main|open|200|192.0.2.7|Firefox|{}|terminal|alice|t",
        "workspace_app|code|open|200|192.0.2.7|Firefox|{}||alice|t",
        "workspace_app|code|open|303|||{}||alice|t",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn nothing_is_mirrored_unless_it_is_asked_for() {
    let mirrored = Mirrored::on(Release::NEWEST).await;
    let store = mirrored.database.store().await;
    let entry = Entry::new(&visits(&mirrored)[0], Uuid::now_v7());
    store.note(&[entry], Window::default()).await.unwrap();
    assert_eq!(mirrored.database.sql("SELECT count(*) FROM connection_logs").await, ["0"]);
    assert_eq!(mirrored.database.sql("SELECT count(*) FROM authd_audit_log").await, ["1"]);
}

#[tokio::test]
async fn tables_without_such_a_log_are_told_and_visits_are_recorded_all_the_same() {
    use store::Store;

    let database = Database::new().await;
    let options = Options::default().mirror_audit(true);
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(error.to_string().contains("connection_logs"), "{error}");
    let mirrored = Mirrored::on(Release::NEWEST).await;
    let entry = Entry::new(&visits(&mirrored)[0], Uuid::now_v7());
    store.note(&[entry], Window::default()).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["1"]);
}
