//! What was allowed and may not be any more, as proxies hear of it: on two replicas, and across a
//! disconnection

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent_auth::Rules;
use app_authz::app::{Connection, Revocation, Visitor};
use app_authz::credential::SessionToken;
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, Service};
use http::HeaderMap;
use identity_fetch::Identity;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::app::App;
use crate::everyday::{Front, HOST as OWN, upgrade};
use crate::proxy::{Program, read_head};
use crate::world::{Plan, World, text};

const PATH: &str = "/api/v2/authd/revocations";
const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const ORG: &str = "org--agent--dev--alice.test.coder.com";
const PUBLIC: &str = "public--agent--dev--alice.test.coder.com";

/// Longer than any machine takes
const LONG: Duration = Duration::from_secs(60);

fn plan() -> Plan {
    let mut plan = Plan::new();
    plan.revocations = true;
    plan
}

/// Another replica on the world's database
async fn replica(world: &World, config: AppsConfig) -> (String, Arc<Service>) {
    let clock: authd_http::Clock = Arc::new(world.clock());
    let (store, identity) = (Arc::new(world.database.store().await), Identity::builtin());
    let service = Service::over(&store, identity, Rules::default(), Limits::default(), clock)
        .with_revocations(Arc::clone(&store))
        .with_apps(store, config);
    let service = Arc::new(service);
    service.maintain_keys(true).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = Arc::clone(&service);
    tokio::spawn(serve(listener, served, ServerLimits::default(), std::future::pending()));
    (url, service)
}

/// A listener, line by line
struct Events {
    lines: BufReader<TcpStream>,
    head: String,
    /// The last id that came
    id: Option<String>,
}

/// An event, with the id that came with it
#[derive(Clone, Debug)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Event {
    fn reason(&self) -> &str {
        self.data["reason"].as_str().unwrap_or_default()
    }
}

impl Events {
    async fn of(url: &str, world: &World, after: Option<&str>) -> Self {
        let token = world.proxy.reveal();
        let after = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        Self::ask(url, PATH, &format!("Coder-External-Proxy-Token: {token}\r\n{after}")).await
    }

    async fn ask(url: &str, path: &str, headers: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: coder.test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).await.unwrap(), 0, "{head}");
        }
        Self { lines, head, id: None }
    }

    /// The status of the answer
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next line of an event or a comment; `None` at the end
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(LONG, self.lines.read_line(&mut line)).await.unwrap();
        match read {
            Ok(0) | Err(_) => None,
            // The last chunk.
            Ok(_) if line == "0\r\n" => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// The next event; `None` at the end
    async fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let line = self.line().await?;
            // Other lines are those of chunks.
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("id: ") {
                self.id = Some(text.to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = serde_json::from_str(text).unwrap();
            } else if line.is_empty() && !name.is_empty() && !data.is_null() {
                return Some(Event { name, id: self.id.clone().unwrap(), data });
            }
        }
    }

    /// Waits for an event that `is` the one, and returns it with those before
    async fn until(&mut self, is: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let event = self.next().await.unwrap();
            all.push(event.clone());
            if is(&event) {
                return all;
            }
        }
    }

    /// Waits for the first id, from which the listener could go on
    async fn began(&mut self) -> String {
        loop {
            if let Some(id) = self.line().await.unwrap().strip_prefix("id: ") {
                self.id = Some(id.to_owned());
                return id.to_owned();
            }
        }
    }
}

impl World {
    /// Opens an app with a session, so that it is watched
    async fn open(&self, host: &str, session: &str) {
        let headers = [("coder-session-token", session), ("accept", "application/json")];
        assert_eq!(self.visit(host, "/", &headers).await.status, 200);
    }

    /// Waits until so many grants are watched
    async fn watched(&self, grants: usize) {
        for _ in 0..6_000 {
            let found = self.database.sql("SELECT count(*) FROM authd_watched_grants").await;
            if found == [grants.to_string()] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.database.sql("SELECT * FROM authd_watched_grants").await);
    }

    async fn delete_session(&self, session: &SessionToken) {
        let id = session.id();
        self.database.sql(&format!("DELETE FROM api_keys WHERE id = '{id}'")).await;
    }

    /// As the control plane stops it: with another build
    async fn stop_workspace(&self) {
        let workspace = self.workspace;
        self.database
            .sql(&format!(
                "INSERT INTO workspace_builds (id, workspace_id, build_number, transition, job_id,
                                               template_version_id, initiator_id, created_at)
                 SELECT gen_random_uuid(), workspace_id, build_number + 1, 'stop', gen_random_uuid(),
                        template_version_id, initiator_id, now()
                 FROM workspace_builds WHERE workspace_id = '{workspace}'
                 ORDER BY build_number DESC LIMIT 1"
            ))
            .await;
    }

    async fn metric(&self, series: &str) -> u64 {
        let metrics = text(&self.send("GET", "/metrics", &[], "").await);
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// Removes what notifies replicas, as none of it is in the tables of a control plane
const WITHOUT_NOTICES: &str =
    "DROP FUNCTION authd_notify_changes, authd_notify_revocations CASCADE";

#[tokio::test]
async fn each_kind_is_seen_on_both_replicas() {
    each_kind(plan().serve().await).await;
}

#[tokio::test]
async fn each_kind_is_seen_on_both_replicas_without_notices() {
    let world = plan().serve().await;
    world.database.sql(WITHOUT_NOTICES).await;
    each_kind(world).await;
}

async fn each_kind(world: World) {
    let config = plan().config;
    let (second, _service) = replica(&world, config).await;
    let [alice, bob, root] = ["alice", "bob", "root"].map(|name| world.people[name].clone());
    let share = |users: Value| {
        json!({"workspace": "alice/dev", "agent": "agent", "app": "owner",
               "users": users, "groups": []})
        .to_string()
    };
    let put = [("coder-session-token", alice.token.reveal()), ("content-type", "application/json")];
    let path = "/api/v2/authd/shares";
    assert_eq!(world.send("PUT", path, &put, &share(json!(["bob"]))).await.status, 200);
    world.open(HOST, alice.token.reveal()).await;
    world.open(HOST, bob.token.reveal()).await;
    world.open(HOST, bob.scoped.reveal()).await;
    world.open(ORG, root.token.reveal()).await;
    let public = world.visit(PUBLIC, "/", &[("accept", "application/json")]).await;
    assert_eq!(public.status, 200, "a visitor who is not signed in");
    world.watched(5).await;

    let mut listeners = Vec::new();
    for url in [&world.url, &second] {
        let mut events = Events::of(url, &world, None).await;
        assert_eq!(events.status(), 200);
        assert!(events.head.contains("content-type: text/event-stream"), "{}", events.head);
        events.began().await;
        listeners.push(events);
    }
    let (workspace, agent) = (world.workspace.to_string(), world.agent.to_string());
    for step in [
        "session_ended",
        "share_withdrawn",
        "permission_withdrawn",
        "user_suspended",
        "workspace_stopped",
    ] {
        let began = Instant::now();
        let expected = match step {
            "session_ended" => {
                world.delete_session(&bob.token).await;
                json!({"user": bob.id, "session": bob.token.id()})
            }
            "share_withdrawn" => {
                assert_eq!(world.send("PUT", path, &put, &share(json!([]))).await.status, 200);
                json!({"user": bob.id, "workspace": workspace, "app": "owner"})
            }
            "permission_withdrawn" => {
                let id = root.id;
                let demote = format!("UPDATE users SET rbac_roles = '{{}}' WHERE id = '{id}'");
                world.database.sql(&demote).await;
                json!({"user": id, "workspace": workspace, "agent": agent})
            }
            "user_suspended" => {
                let id = root.id;
                let suspend = format!("UPDATE users SET status = 'suspended' WHERE id = '{id}'");
                world.database.sql(&suspend).await;
                json!({"user": root.id})
            }
            _ => {
                world.stop_workspace().await;
                json!({"workspace": workspace, "agent": agent})
            }
        };
        for events in &mut listeners {
            let event = events.next().await.unwrap();
            assert_eq!((&*event.name, event.reason()), ("revoked", step), "{event:?}");
            let mut data = event.data.clone();
            data.as_object_mut().unwrap().remove("reason");
            assert_eq!(data, expected, "{step}");
        }
        println!("{step}: seen on both replicas after {:?}", began.elapsed());
    }
    assert_eq!(world.database.sql("SELECT count(*) FROM authd_watched_grants").await, ["0"]);
    assert_eq!(world.metric("authd_revocation_listeners").await, 1);
}

/// A hundred sessions that end one after another: the latency is printed
#[tokio::test]
async fn a_hundred_ends_are_seen_on_both_replicas() {
    a_hundred_ends("").await;
}

#[tokio::test]
async fn a_hundred_ends_are_seen_on_both_replicas_without_notices() {
    a_hundred_ends(WITHOUT_NOTICES).await;
}

async fn a_hundred_ends(changes: &str) {
    let mut plan = plan();
    let alice = plan.people["alice"].id;
    let sessions: Vec<_> = (0..100).map(|_| plan.rows.session(alice)).collect();
    let now = plan.now;
    for key in &mut plan.rows.api_keys {
        key.last_used = now.into();
    }
    let config = plan.config.clone();
    let world = plan.serve().await;
    world.database.sql(changes).await;
    let (second, _service) = replica(&world, config).await;
    for session in &sessions {
        world.open(HOST, session.reveal()).await;
    }
    world.watched(sessions.len()).await;
    let mut listeners = Vec::new();
    for url in [world.url.clone(), second] {
        let mut events = Events::of(&url, &world, None).await;
        events.began().await;
        let expected: HashSet<String> = sessions.iter().map(|one| one.id().to_owned()).collect();
        listeners.push(tokio::spawn(async move {
            let mut left = expected;
            let mut seen = Vec::new();
            while !left.is_empty() {
                let event = events.next().await.unwrap();
                let session = event.data["session"].as_str().unwrap().to_owned();
                assert!(left.remove(&session), "{session} ended twice");
                seen.push((session, Instant::now()));
            }
            seen
        }));
    }
    let mut ended = std::collections::HashMap::new();
    for session in &sessions {
        world.delete_session(session).await;
        ended.insert(session.id().to_owned(), Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut latencies = Vec::new();
    for listener in listeners {
        for (session, at) in timeout(LONG, listener).await.unwrap().unwrap() {
            latencies.push(at.saturating_duration_since(ended[&session]));
        }
    }
    latencies.sort();
    let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
    println!("{} ends: half after {p50:?}, 99 of 100 after {p99:?}", latencies.len());
    assert!(p99 < LONG);
}

#[tokio::test]
async fn a_listener_that_comes_back_has_missed_nothing() {
    let mut plan = plan();
    let alice = plan.people["alice"].id;
    let sessions: Vec<_> = (0..6).map(|_| plan.rows.session(alice)).collect();
    let config = plan.config.clone();
    let world = plan.serve().await;
    let (second, _service) = replica(&world, config).await;
    for session in &sessions {
        world.open(HOST, session.reveal()).await;
    }
    world.watched(sessions.len()).await;
    let of = |session: &SessionToken| {
        let id = session.id().to_owned();
        move |event: &Event| event.data["session"] == *id
    };
    let mut events = Events::of(&world.url, &world, None).await;
    let began = events.began().await;
    world.delete_session(&sessions[0]).await;
    let last = events.until(of(&sessions[0])).await.pop().unwrap().id;
    drop(events);

    // While it is away, some end without a listener, and others that another listener hears of.
    world.delete_session(&sessions[1]).await;
    let mut other = Events::of(&second, &world, None).await;
    other.until(of(&sessions[1])).await;
    world.delete_session(&sessions[2]).await;
    other.until(of(&sessions[2])).await;
    drop(other);
    world.delete_session(&sessions[3]).await;
    for (url, after) in [(&second, &last), (&world.url, &last), (&second, &began)] {
        let mut back = Events::of(url, &world, Some(after)).await;
        let mut missing: HashSet<_> =
            sessions[1..4].iter().map(|one| one.id().to_owned()).collect();
        while !missing.is_empty() {
            let event = back.next().await.unwrap();
            assert_eq!(event.name, "revoked");
            missing.remove(event.data["session"].as_str().unwrap());
        }
    }
    // The same by parameter, and what ends from now on.
    let token = world.proxy.reveal();
    let query = format!("{PATH}?after={last}");
    let headers = format!("Coder-External-Proxy-Token: {token}\r\n");
    let mut back = Events::ask(&world.url, &query, &headers).await;
    back.until(of(&sessions[3])).await;
    world.delete_session(&sessions[4]).await;
    back.until(of(&sessions[4])).await;
}

#[tokio::test]
async fn a_position_that_is_too_old_or_not_one_is_not_gone_on_from() {
    let world = plan().serve().await;
    let mut events = Events::of(&world.url, &world, Some("1700000000000000")).await;
    let reset = events.next().await.unwrap();
    assert_eq!((&*reset.name, &reset.data), ("reset", &json!({})));
    // From the id of the reset it goes on.
    drop(events);
    let mut events = Events::of(&world.url, &world, Some(&reset.id)).await;
    world.open(HOST, world.token("alice")).await;
    world.watched(1).await;
    world.delete_session(&world.people["alice"].token).await;
    assert_eq!(events.next().await.unwrap().reason(), "session_ended");
    let far = Events::of(&world.url, &world, Some("99999999999999999")).await.next().await;
    assert_eq!(far.unwrap().name, "reset", "a moment that has not come");

    for id in ["x", "-1", "1-2", "9999999999999999999"] {
        let refused = Events::of(&world.url, &world, Some(id)).await;
        assert_eq!(refused.status(), 400, "{id}");
    }
}

#[tokio::test]
async fn only_registered_proxies_listen() {
    let world = plan().serve().await;
    for headers in [
        String::new(),
        format!("Coder-Session-Token: {}\r\n", world.token("root")),
        format!("Coder-External-Proxy-Token: {}x\r\n", world.proxy.reveal()),
        "Coder-External-Proxy-Token: x\r\n".to_owned(),
    ] {
        assert_eq!(Events::ask(&world.url, PATH, &headers).await.status(), 401, "{headers}");
    }
    // Where it is off, the route does not exist.
    let off = World::new().await;
    assert_eq!(Events::of(&off.url, &off, None).await.status(), 404);
    off.open(HOST, off.token("alice")).await;
    assert_eq!(off.database.sql("SELECT count(*) FROM authd_watched_grants").await, ["0"]);
}

#[tokio::test]
async fn a_question_is_one_statement_however_much_is_watched() {
    let mut plan = plan();
    let alice = plan.people["alice"].id;
    for _ in 0..1_000 {
        plan.rows.session(alice);
    }
    let world = plan.serve().await;
    let mut events = Events::of(&world.url, &world, None).await;
    events.began().await;
    for watched in [0, 1_000] {
        if watched > 0 {
            let (user, agent, place) = (alice, world.agent, world.workspace);
            world
                .database
                .sql(&format!(
                    "INSERT INTO authd_watched_grants
                     SELECT id, '{agent}', user_id, '{place}', 1, 'infinity' FROM api_keys
                     WHERE user_id = '{user}' ORDER BY id LIMIT {watched}"
                ))
                .await;
        }
        let polls = "authd_revocation_polls_total{outcome=\"ok\"}";
        // Between two questions, both counts belong together.
        let counts = async || loop {
            let before = world.metric(polls).await;
            let statements = world.statements.get();
            if world.metric(polls).await == before {
                return (before, statements);
            }
        };
        let before = counts().await;
        let mut after = before;
        while after.0 < before.0 + 3 {
            after = counts().await;
        }
        assert_eq!(after.1 - before.1, after.0 - before.0, "{watched}");
    }
    let watched = world.database.sql("SELECT count(*) FROM authd_watched_grants").await;
    assert_eq!(watched, ["1000"], "they hold");
}

#[tokio::test]
async fn there_is_a_most_of_listeners_and_each_may_go() {
    let world = plan().serve().await;
    let mut listeners = Vec::new();
    for _ in 0..64 {
        let mut events = Events::of(&world.url, &world, None).await;
        assert_eq!(events.status(), 200);
        events.began().await;
        listeners.push(events);
    }
    let refused = Events::of(&world.url, &world, None).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(world.metric("authd_revocation_listeners").await, 64);
    listeners.truncate(10);
    for _ in 0..6_000 {
        if world.metric("authd_revocation_listeners").await == 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(Events::of(&world.url, &world, None).await.status(), 200);

    // A server that stops ends all, which go on elsewhere.
    world.app.set_stopping();
    for mut events in listeners {
        while events.line().await.is_some() {}
    }
    assert_eq!(Events::of(&world.url, &world, None).await.status(), 503);
}

#[tokio::test]
async fn a_slow_listener_is_ended_and_others_are_not() {
    let world = plan().serve().await;
    let mut quick = Events::of(&world.url, &world, None).await;
    quick.began().await;
    let slow = world.app.revocations().await;
    let Ok(mut slow) = slow else { panic!("there is room") };
    // More than is kept for those who are slow.
    let place = world.workspace;
    let mut sent = 0;
    while sent < 2_000 {
        world
            .database
            .sql(&format!(
                "INSERT INTO authd_revocations (reason, workspace_id)
                 SELECT 'workspace_stopped', '{place}' FROM generate_series(1, 500)"
            ))
            .await;
        for _ in 0..500 {
            assert_eq!(quick.next().await.unwrap().name, "revoked");
        }
        sent += 500;
    }
    let notice = slow.next().await.unwrap();
    assert_eq!(notice, authd_http::RevocationNotice::Reset);
    let next = slow.next().await.unwrap();
    assert!(matches!(next, authd_http::RevocationNotice::Revoked(_)), "{next:?}");
}

/// A carrier behind the examples of `docs/proxies.md`, which closes what an event concerns
#[tokio::test]
async fn what_is_carried_behind_a_proxy_is_closed() {
    for program in [Program::Nginx, Program::NewCaddy, Program::Envoy] {
        let (app, listener) = App::bind().await;
        let carried = Carried::default();
        tokio::spawn(carried.clone().carry(app.clone(), listener));
        let Some(front) = Front::before(program, plan(), app, &[]).await else { continue };
        let (world, proxy) = (&front.world, &front.proxy);
        let mut events = Events::of(&world.url, world, None).await;
        events.began().await;
        let closing = carried.clone();
        tokio::spawn(async move {
            loop {
                let event = events.next().await.unwrap();
                closing.close(&serde_json::from_value(event.data).unwrap());
            }
        });

        let [alice, bob, root] = ["alice", "bob", "root"].map(|name| world.people[name].clone());
        let own = "UPDATE workspace_apps SET sharing_level = 'public' WHERE slug = 'own'";
        world.database.sql(own).await;
        let mut sockets = Vec::new();
        for token in [Some(&alice.token), Some(&bob.token), Some(&root.token), None] {
            let session = token.map(|token| format!("Coder-Session-Token: {}\r\n", token.reveal()));
            let head = upgrade("/ws", OWN, &session.unwrap_or_default(), "websocket");
            let mut socket = proxy.connect(&head).await;
            let switched = read_head(&mut socket).await.to_lowercase();
            assert!(switched.starts_with("http/1.1 101"), "{program:?}: {switched}");
            sockets.push(socket);
        }
        world.watched(4).await;
        let visitors = || carried.open().into_iter().map(|one| one.visitor).collect::<Vec<_>>();
        let all = [alice.id, bob.id, root.id].map(|id| Visitor::User(id.into()));
        let all = [&all[..], &[Visitor::Anonymous]].concat();
        assert_eq!(visitors(), all, "{program:?}");
        assert!(carried.open().iter().all(|one| one.workspace == Some(world.workspace.into())
            && one.agent == Some(world.agent.into())));

        // Of Bob's session, and of Root's role.
        world.delete_session(&bob.token).await;
        ended(&mut sockets[1]).await;
        let id = root.id;
        let demote = format!("UPDATE users SET rbac_roles = '{{}}' WHERE id = '{id}'");
        world.database.sql(&demote).await;
        ended(&mut sockets[2]).await;
        assert_eq!(visitors(), [all[0], all[3]], "{program:?}");
        // A level concerns every visitor, and a new build too.
        world.database.sql(&own.replace("public", "owner")).await;
        ended(&mut sockets[3]).await;
        world.stop_workspace().await;
        ended(&mut sockets[0]).await;
    }
}

/// Waits until the other side has closed a socket
async fn ended(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(LONG, socket.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the socket stays open");
}

/// The sockets that a carrier holds, each with what the proxy has said about it
#[derive(Clone, Default)]
struct Carried(Arc<Mutex<Vec<(Connection, OwnedSemaphorePermit)>>>);

impl Carried {
    async fn carry(self, app: App, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (app, carried) = (app.clone(), self.clone());
            tokio::spawn(async move {
                let head = app.read(&mut stream).await?;
                let headers: HeaderMap = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                    .collect();
                let closed = Arc::new(Semaphore::new(1));
                let permit = Arc::clone(&closed).try_acquire_owned().unwrap();
                let connection = authd_http::relayed_connection(&headers);
                carried.0.lock().unwrap().push((connection, permit));
                // The permit is given back when the connection is forgotten.
                tokio::select! {
                    _ = closed.acquire() => None,
                    answered = app.answer(&mut stream, &head) => answered,
                }
            });
        }
    }

    fn open(&self) -> Vec<Connection> {
        self.0.lock().unwrap().iter().map(|(connection, _)| connection.clone()).collect()
    }

    fn close(&self, revocation: &Revocation) {
        self.0.lock().unwrap().retain(|(connection, _)| !revocation.mask.matches(connection));
    }
}

/// The lines that `docs/proxies.md` adds to the examples, with a shorter time
#[tokio::test]
async fn proxies_limit_how_long_a_socket_is_open() {
    const DOCUMENT: &str = include_str!("../../../../docs/proxies.md");
    let session = |world: &World| format!("Coder-Session-Token: {}\r\n", world.token("alice"));
    for (program, before, line, longest) in [
        (Program::NewCaddy, "reverse_proxy {app} {", "stream_timeout 8h", "8h"),
        (
            Program::Envoy,
            "stream_idle_timeout: 86400s",
            "common_http_protocol_options: { max_stream_duration: 28800s }",
            "28800s",
        ),
    ] {
        assert!(DOCUMENT.contains(line), "{line}");
        let indent = if program == Program::Envoy { " ".repeat(16) } else { "\t\t".to_owned() };
        let added = format!("{before}\n{indent}{}", line.replace(longest, "2s"));
        let Some(front) = Front::planned(program, Plan::new(), &[(before, &added)]).await else {
            continue;
        };
        let head = upgrade("/ws", OWN, &session(&front.world), "websocket");
        let mut socket = front.proxy.connect(&head).await;
        let switched = read_head(&mut socket).await.to_lowercase();
        assert!(switched.starts_with("http/1.1 101"), "{program:?}: {switched}");
        let mut rest = Vec::new();
        let ended = timeout(LONG, socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{program:?}: the socket stays open");
    }
}
