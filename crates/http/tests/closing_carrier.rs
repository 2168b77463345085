//! The example of a carrier closes what is not allowed any more, over real connections

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the tests do not call `main`")]

#[path = "../examples/closing_carrier/main.rs"]
mod closing_carrier;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use app_audit::{Act, ActKind};
use app_authz::credential::{OtherSessions, SessionToken, Sessions};
use app_authz::{Directory, Rules};
use authd_http::MaintenanceSettings;
use chrono::{DateTime, Utc};
use closing_carrier::{Carrier, OpenConnections};
use store::MemoryStore;
use store::fleet::{Fleet, SharingLevel, Transition, UserStatus};
use store::sharing::{Edit, ShareRequest, change};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const CODE: &str = "code--main--dev--alice.apps.example.com";

/// Longer than any machine takes
const LONG: Duration = Duration::from_secs(60);

/// The example, with a workspace of Alice's that has an app
struct Host {
    address: SocketAddr,
    store: Arc<MemoryStore>,
    fleet: Fleet,
    alice: SessionToken,
    /// Another session of hers
    other: SessionToken,
    bob: SessionToken,
}

impl Host {
    #[allow(clippy::disallowed_methods, reason = "the example reads the clock, too")]
    async fn start() -> Self {
        let apps = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", apps.local_addr().unwrap());
        tokio::spawn(serve_app(apps));

        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        let alice = fleet.user("alice", acme);
        let bob = fleet.user("bob", acme);
        let tokens = [fleet.session(alice), fleet.session(alice), fleet.session(bob)];
        let workspace = fleet.workspace(alice, "dev");
        fleet.templates[0].max_port_sharing_level = SharingLevel::Organization;
        let build = fleet.build(workspace, Transition::Start);
        let now: DateTime<Utc> = SystemTime::now().into();
        let agent = fleet.agent(build.resource, "main", "i-1");
        agent.first_connected_at = Some(now);
        agent.last_connected_at = Some(now);
        let agent = agent.id;
        fleet.app(agent, "code").url = Some(url);
        let store = Arc::new(MemoryStore::default());
        store.load(&fleet);

        let authd = closing_carrier::authd(&store).unwrap();
        let maintenance = authd.maintain(MaintenanceSettings::default()).await;
        let open = OpenConnections::default();
        tokio::spawn(open.clone().follow(authd.clone()));
        let agents = "127.0.0.1".parse().unwrap();
        let carrier = Carrier { agents, timeout: Duration::from_secs(60), open };
        let routes = closing_carrier::routes(authd, carrier);
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let served = axum::serve(listener, routes).await;
            maintenance.finish().await;
            served
        });
        let [alice, other, bob] = tokens;
        Self { address, store, fleet, alice, other, bob }
    }

    /// Opens a WebSocket or a stream of the app, and waits for its first line
    async fn open(&self, path: &str, session: &SessionToken) -> Open {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await.unwrap());
        let upgrade = match path {
            "/socket" => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            }
            _ => "",
        };
        let token = session.reveal();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {CODE}\r\nCoder-Session-Token: {token}\r\n{upgrade}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut open = Open(stream);
        open.until("hello").await;
        open
    }

    async fn end(&self, session: &SessionToken) {
        let holders = self.store.holders(std::slice::from_ref(session)).await.unwrap();
        let ended = self.store.log_out(&holders[0].key, OtherSessions::Keep).await.unwrap();
        assert_eq!(ended, [session.id()]);
    }

    #[allow(clippy::disallowed_methods, reason = "the example reads the clock, too")]
    async fn share(&self, users: &[&str]) {
        let mut asked = ShareRequest::of("alice/dev", "code").unwrap();
        (asked.edit, asked.users) =
            (Edit::Set, users.iter().map(|name| (*name).to_owned()).collect());
        let facts = self.store.app_access(&asked.request().unwrap(), &[]).await.unwrap();
        let at = SystemTime::now();
        let act = Act::new(ActKind::ShareChange, at);
        let place = facts.workspace.unwrap();
        change(&*self.store, &place, &asked, Rules::default(), (None, at), &act).await.unwrap();
    }
}

/// A WebSocket or a stream
struct Open(BufReader<TcpStream>);

impl Open {
    async fn until(&mut self, expected: &str) {
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            let read = timeout(LONG, self.0.read_line(&mut line)).await.unwrap();
            assert_ne!(read.unwrap(), 0, "it ended before `{expected}`");
        }
    }

    /// Waits for the end, and says how it came: whether the last chunk says that it is whole
    async fn closed(mut self) -> bool {
        let mut rest = Vec::new();
        let _ = timeout(LONG, self.0.read_to_end(&mut rest)).await.unwrap();
        rest.ends_with(b"0\r\n\r\n")
    }

    /// That it still works
    async fn echoes(&mut self) {
        self.0.write_all(b"still there\n").await.unwrap();
        self.until("still there").await;
    }
}

#[tokio::test]
async fn what_is_revoked_is_closed_and_nothing_else() {
    let host = Host::start().await;
    host.share(&["bob"]).await;
    let mut kept = host.open("/socket", &host.alice).await;
    let of_bob = [host.open("/socket", &host.bob).await, host.open("/stream", &host.bob).await];
    let began = Instant::now();
    host.share(&[]).await;
    for open in of_bob {
        assert!(!open.closed().await, "it is not whole");
    }
    println!("closed {:?} after the share was withdrawn", began.elapsed());
    kept.echoes().await;

    let of_other = host.open("/stream", &host.other).await;
    let began = Instant::now();
    host.end(&host.other).await;
    of_other.closed().await;
    println!("closed {:?} after the session ended", began.elapsed());
    kept.echoes().await;

    let mut suspended = host.fleet.clone();
    suspended.users[0].status = UserStatus::Suspended;
    let began = Instant::now();
    host.store.load(&suspended);
    kept.closed().await;
    println!("closed {:?} after the user was suspended", began.elapsed());
}

#[tokio::test]
async fn a_workspace_that_is_stopped_closes_all_connections_to_its_agent() {
    let mut host = Host::start().await;
    host.share(&["bob"]).await;
    let opened = [host.open("/socket", &host.alice).await, host.open("/stream", &host.bob).await];
    let workspace = host.fleet.workspaces[0].id;
    host.fleet.build(workspace, Transition::Stop);
    let began = Instant::now();
    host.store.load(&host.fleet);
    for open in opened {
        open.closed().await;
    }
    println!("closed {:?} after the workspace was stopped", began.elapsed());
}

/// An app whose every answer begins with a line, and goes on for ever
async fn serve_app(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await.unwrap() == 0 {
                    return;
                }
            }
            let answer = match head.starts_with("GET /socket") {
                true => {
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                     Upgrade: websocket\r\n\r\nhello\n"
                }
                false => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}
