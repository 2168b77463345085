//! The cost of queries in a deployment that is a hundred times as large
//!
//! `AUTHD_SCALE_WORKSPACES=1000000 cargo bench -p authd-benches --bench scale`, with
//! `-- --test` for a quick check that it runs. A workspace has ten builds, and the newest has one
//! agent. A million workspaces have ten million builds, which take some minutes to create and a
//! few gigabytes. The default is 100,000 workspaces.
//!
//! `AUTHD_SCALE_SHARED_BUFFERS=6GB` sets the server's `shared_buffers`, as suits a database of that
//! size; the default is PostgreSQL's.
//!
//! Sixteen callers, with the shipped `PgStore` on both sides. The small side has 10,000 workspaces.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Duration;

use agent_auth::{Candidates, ProvenInstance, Rules, select};
use app_authz::app::UncheckedRequest;
use app_authz::{Directory, resolve};
use authd_benches::{Contest, Effort, Report, Round, Until, concurrently};
use store::PgStore;
use testkit::OwnServer;
use tokio::runtime::Runtime;

fn main() {
    let effort = Effort::from_args();
    let (small, large) = match effort {
        Effort::Smoke => (100, 200),
        Effort::Full => {
            let large = std::env::var("AUTHD_SCALE_WORKSPACES");
            (10_000, large.map_or(100_000, |large| large.parse().unwrap()))
        }
    };
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(server());
    let [small, large] =
        [small, large].map(|size| runtime.block_on(Deployment::new(&server, size)));

    let contest = Contest::new(effort);
    let mut report = Report::default();
    let result =
        contest.run(|time| small.sign_in(&runtime, time), |time| large.sign_in(&runtime, time));
    report.at_most("candidate lookup", result, 1.3);
    let result =
        contest.run(|time| small.open_app(&runtime, time), |time| large.open_app(&runtime, time));
    report.at_most("app access", result, 1.3);
    println!(
        "{} workspaces (ours) against {} (floor), {CALLERS} callers\n\n{report}",
        large.workspaces, small.workspaces
    );
}

/// A server with the requested memory
async fn server() -> OwnServer {
    let server = OwnServer::start().await;
    if let Ok(size) = std::env::var("AUTHD_SCALE_SHARED_BUFFERS") {
        let database = server.database().await;
        database.sql(&format!("ALTER SYSTEM SET shared_buffers = '{size}'")).await;
        server.pause().await;
        server.resume().await;
        println!("shared buffers: {}", database.sql("SHOW shared_buffers").await.concat());
    }
    server
}

/// A deployment with a given number of workspaces
struct Deployment {
    workspaces: u64,
    store: Arc<PgStore>,
}

impl Deployment {
    async fn new(server: &OwnServer, workspaces: u64) -> Self {
        let database = server.database().await;
        database
            .sql(&include_str!("scale.sql").replace("$workspaces", &workspaces.to_string()))
            .await;
        database.sql("VACUUM ANALYZE").await;
        Self { workspaces, store: Arc::new(database.store().await) }
    }

    fn sign_in(&self, runtime: &Runtime, time: Duration) -> Round {
        let (store, workspaces) = (Arc::clone(&self.store), self.workspaces);
        concurrently(runtime, CALLERS, Until::Time(time), move |_, call| {
            let store = Arc::clone(&store);
            async move {
                let instance = format!("i-{}", 1 + spread(call) % workspaces);
                let found =
                    store.by_instance(ProvenInstance::assume_verified(&instance)).await.unwrap();
                select(&found, None, Rules::default()).unwrap();
            }
        })
    }

    fn open_app(&self, runtime: &Runtime, time: Duration) -> Round {
        let (store, workspaces) = (Arc::clone(&self.store), self.workspaces);
        concurrently(runtime, CALLERS, Until::Time(time), move |_, call| {
            let store = Arc::clone(&store);
            async move {
                let workspace = 1 + spread(call) % workspaces;
                let user = workspace.div_ceil(10);
                let request = UncheckedRequest {
                    access_method: "subdomain".to_owned(),
                    username_or_id: format!("user-{user}"),
                    workspace_name_or_id: format!("workspace-{workspace}"),
                    app_slug_or_port: "code".to_owned(),
                    ..UncheckedRequest::default()
                };
                let request = request.normalize().check().unwrap();
                let token = format!("{user:010}-{user:022}").parse().unwrap();
                let access = store.app_access(&request, &[token]).await.unwrap();
                resolve(&request, access.workspace.as_deref(), app_authz::Rules::default())
                    .unwrap();
                assert_eq!(access.holders.len(), 1);
            }
        })
    }
}

/// Spreads successive calls over the workspaces
fn spread(call: u64) -> u64 {
    call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

const CALLERS: usize = 16;
