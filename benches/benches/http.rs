//! App access over HTTP, compared with minimal servers
//!
//! `cargo bench -p authd-benches --bench http`, with `-- --test` for a quick check that
//! it runs.
//!
//! Sixteen callers, each with its own persistent connection. Ours is the service as `authd serve`
//! runs it, over PostgreSQL. The floors are hyper servers on the same runtime. The handlers of two
//! execute one prepared SELECT: one takes a connection from a bb8 pool, as most servers do, and
//! the other shares one connection, which is the fastest way. The handler of the third does
//! nothing. All get the same requests. Callers, servers and database share the machine, so the
//! cost of a caller is on both sides of each ratio.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use authd_benches::{Contest, Effort, Report, Round, Until, concurrently};
use authd_http::{AppsConfig, Limits, Service, TrustedProxies};
use bytes::Bytes;
use diesel::QueryDsl;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use identity_fetch::Identity;
use serde_json::json;
use store::PgStore;
use store::fleet::{Fleet, SharingLevel, Transition};
use testkit::Database;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio_postgres::NoTls;

diesel::table! {
    /// The columns of the control plane's table that a floor reads
    workspaces (id) {
        /// The workspace's id
        id -> Uuid,
        /// The workspace's name
        name -> Text,
    }
}

fn main() {
    let effort = Effort::from_args();
    let runtime = Runtime::new().unwrap();
    let contest = Contest::new(effort);
    let mut report = Report::default();
    let world = runtime.block_on(World::new());

    for (name, visitor, floor) in [
        ("token issued, new visitor, floor with a pool", NEW, world.pooled),
        ("token issued, same visitors, floor with a pool", SAME, world.pooled),
        ("token issued, new visitor, floor sharing", NEW, world.select),
        ("token issued, same visitors, floor sharing", SAME, world.select),
    ] {
        let (floor, side) = (world.callers(floor), world.callers(world.authd));
        let (floor, side) = (runtime.block_on(floor), runtime.block_on(side));
        let result = contest.run(
            |time| {
                let world = world.clone();
                let request = move |_| world.issue(visitor());
                ask(&runtime, &floor, Until::Time(time), StatusCode::OK, request)
            },
            |time| {
                let world = world.clone();
                let request = move |_| world.issue(visitor());
                ask(&runtime, &side, Until::Time(time), StatusCode::CREATED, request)
            },
        );
        report.at_most(name, result, 1.0 / 0.6);
    }

    let (floor, side) = (world.callers(world.plain), world.callers(world.authd));
    let (floor, side) = (runtime.block_on(floor), runtime.block_on(side));
    let mut statements = 0;
    let many = if effort == Effort::Full { MANY } else { 1 };
    for (name, tokens) in [
        ("forward auth, a token as seen before", 1),
        ("forward auth, a token not seen lately", many),
    ] {
        let visits = runtime.block_on(world.visits(&side[0], tokens));
        let next = Arc::new(AtomicUsize::new(0));
        let visit = move |_| visits[next.fetch_add(1, Ordering::Relaxed) % visits.len()].request();
        // The rows of those first visits are written by now, and not counted.
        std::thread::sleep(Duration::from_secs(1));
        let before = world.statements.get();
        let result = contest.run(
            |time| ask(&runtime, &floor, Until::Time(time), StatusCode::OK, visit.clone()),
            |time| ask(&runtime, &side, Until::Time(time), StatusCode::OK, visit.clone()),
        );
        statements += world.statements.get() - before;
        report.at_most(name, result, 1.0 / 0.7);
    }
    println!("app access over HTTP, {CALLERS} callers, time between two answers\n\n{report}");
    println!("statements of all visits with a good token: {statements}");
}

/// The number of the next visitor
type Visitor = fn() -> u64;

/// The same few visitors again and again, each after the others: identical requests at the same
/// moment would share one decision
const SAME: Visitor = || {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FIRST_OF_SAME + NEXT.fetch_add(1, Ordering::Relaxed) % 64
};

/// Beyond all new visitors
const FIRST_OF_SAME: u64 = 1 << 31;

/// A new visitor each time, across all rounds
const NEW: Visitor = || {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
};

/// More tokens than the cache holds, so that each is evicted before its next use; all must be
/// issued and used within the minute for which they are valid
const MANY: usize = 16_384;

/// A caller's own connection
type Caller = Arc<Mutex<SendRequest<Full<Bytes>>>>;

/// The servers, and the credentials for requests
#[derive(Clone)]
struct World {
    authd: SocketAddr,
    select: SocketAddr,
    pooled: SocketAddr,
    plain: SocketAddr,
    proxy_token: Arc<str>,
    session: Arc<str>,
    statements: store::StatementCounter,
    _database: Arc<Database>,
}

impl World {
    async fn new() -> Self {
        let database = Database::new().await;
        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        let alice = fleet.user("alice", acme);
        let session = fleet.session(alice);
        let proxy = fleet.proxy("sydney", "https://sydney.example.com", "");
        let workspace = fleet.workspace(alice, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", "i-0abc");
        agent.first_connected_at = Some(agent.created_at);
        agent.last_connected_at = chrono::DateTime::from_timestamp(253_402_214_400, 0);
        let agent = agent.id;
        fleet.app(agent, "code").sharing_level = SharingLevel::Owner;

        let statements = store::StatementCounter::default();
        let options = store::Options::default().statements(statements.clone());
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        store.load(&fleet).await.unwrap();
        let mut config = AppsConfig::new("https://coder.example.com".parse().unwrap());
        config.app_hosts = Some("*.apps.example.com".parse().unwrap());
        config.trusted = TrustedProxies {
            unix_sockets: false,
            origins: vec!["127.0.0.1".parse().unwrap()],
            headers: vec!["x-forwarded-for".parse().unwrap()],
        };
        let store = Arc::new(store);
        let app = Service::over(
            &store,
            Identity::builtin(),
            Default::default(),
            Limits::default(),
            authd::system_clock(),
        );
        let app = Arc::new(app.with_apps(store, config));
        app.maintain_keys(true).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authd = listener.local_addr().unwrap();
        tokio::spawn(authd::serve(
            listener,
            app,
            authd::ServerLimits::default(),
            std::future::pending(),
        ));

        let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let statement = client.prepare("SELECT name FROM workspaces WHERE id = $1").await.unwrap();
        let question = Arc::new((client, statement));
        let select = serve(move || {
            let question = Arc::clone(&question);
            async move {
                let (client, statement) = &*question;
                let row = client.query_one(statement, &[&workspace]).await.unwrap();
                Bytes::from(row.get::<_, String>(0))
            }
        })
        .await;
        let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url());
        let pool = Pool::builder().max_size(10).test_on_check_out(false).build(manager);
        let pool = pool.await.unwrap();
        let pooled = serve(move || {
            use diesel_async::RunQueryDsl;

            let pool = pool.clone();
            async move {
                let mut connection = pool.get().await.unwrap();
                let name = workspaces::table.find(workspace).select(workspaces::name);
                Bytes::from(name.get_result::<String>(&mut connection).await.unwrap())
            }
        })
        .await;
        let plain = serve(|| async { Bytes::new() }).await;
        Self {
            authd,
            select,
            pooled,
            plain,
            proxy_token: proxy.reveal().into(),
            session: session.reveal().into(),
            statements,
            _database: Arc::new(database),
        }
    }

    async fn callers(&self, address: SocketAddr) -> Arc<Vec<Caller>> {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            callers.push(Arc::new(Mutex::new(sender)));
        }
        Arc::new(callers)
    }

    /// A proxy's request for a visitor, each of whom has a different address
    fn issue(&self, visitor: u64) -> Request<Full<Bytes>> {
        let envelope = json!({
            "app_request": {
                "access_method": "path",
                "base_path": "/@alice/dev.main/apps/code/",
                "username_or_id": "alice",
                "workspace_name_or_id": "dev",
                "agent_name_or_id": "main",
                "app_slug_or_port": "code",
            },
            "path_app_base_url": "https://sydney.example.com",
            "app_hostname": "",
            "app_path": "/",
            "app_query": "",
            "session_token": &*self.session,
            "client_ip": format!("2001:db8::{:x}:{:x}", visitor >> 16 & 0xffff, visitor & 0xffff),
            "user_agent": "Mozilla/5.0",
        });
        Request::post("/api/v2/workspaceproxies/me/issue-signed-app-token")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("coder-external-proxy-token", &*self.proxy_token)
            .body(Full::new(envelope.to_string().into()))
            .unwrap()
    }

    /// Visits by the owner to `count` hosts of the app, each with the token of its first visit
    async fn visits(&self, caller: &Caller, count: usize) -> Arc<[Visit]> {
        let mut visits = Vec::new();
        for n in 0..count {
            let host = format!("{n:05}---code--main--dev--alice.apps.example.com");
            let cookie = format!("coder_session_token={}", self.session);
            let first = Visit { host, cookie };
            let mut caller = caller.lock().await;
            caller.ready().await.unwrap();
            let response = caller.send_request(first.request()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let cookie = response.headers()["set-cookie"].to_str().unwrap();
            let cookie = cookie.split(';').next().unwrap().to_owned();
            response.into_body().collect().await.unwrap();
            visits.push(Visit { cookie, ..first });
        }
        visits.into()
    }
}

/// A visit to an app's host
struct Visit {
    host: String,
    cookie: String,
}

impl Visit {
    /// Traefik's check of the visit
    fn request(&self) -> Request<Full<Bytes>> {
        Request::get("/api/v2/forward-auth/traefik")
            .header("host", "localhost")
            .header("x-forwarded-host", &self.host)
            .header("x-forwarded-uri", "/")
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", "203.0.113.7")
            .header("cookie", &self.cookie)
            .body(Full::default())
            .unwrap()
    }
}

/// A hyper server with the settings of ours
async fn serve<F>(answer: impl Fn() -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = Bytes> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer();
                async move {
                    request.into_body().collect().await.unwrap();
                    Ok::<_, Infallible>(Response::new(Full::new(answer.await)))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

fn ask(
    runtime: &Runtime,
    callers: &Arc<Vec<Caller>>,
    until: Until,
    status: StatusCode,
    request: impl Fn(u64) -> Request<Full<Bytes>> + Clone + Send + Sync + 'static,
) -> Round {
    let callers = Arc::clone(callers);
    concurrently(runtime, CALLERS, until, move |caller, call| {
        let (caller, request) = (Arc::clone(&callers[caller]), request(call));
        async move {
            let mut caller = caller.lock().await;
            caller.ready().await.unwrap();
            let response = caller.send_request(request).await.unwrap();
            assert_eq!(response.status(), status);
            response.into_body().collect().await.unwrap();
        }
    })
}

const CALLERS: usize = 16;
