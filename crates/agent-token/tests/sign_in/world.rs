#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use agent_token::{Backoff, BaseUrl, Cloud, Machine, RetryTimeout, SignInError, Timeouts};
use identity_verify::test_util::server::{Answer, Request, Server};
use identity_verify::test_util::{at, aws, azure, google};
use serde_json::json;

pub const TOKEN: &str = "b6518e96-478c-43ce-a782-ebd955042171";
pub const CLOUDS: [Cloud; 3] = [Cloud::Aws, Cloud::Azure, Cloud::Google];

/// Keys are costly to make
struct Keys {
    small: aws::Cloud,
    large: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    small: aws::Cloud::generate("test-region-1"),
    large: aws::Cloud::generate_bits("test-region-1", 2048),
    azure: azure::Cloud::generate(),
    google: google::Cloud::generate(),
});

/// A machine, its metadata service and its control plane
pub struct World {
    pub metadata: Server,
    pub control_plane: Server,
    /// The lines that the machine reported
    pub reported: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// A machine of `cloud` whose services answer
    pub fn of(cloud: Cloud) -> Self {
        let world = Self {
            metadata: Server::start(),
            control_plane: Server::start(),
            reported: Arc::default(),
        };
        serve(&world.metadata, cloud);
        for cloud in CLOUDS {
            let token = json!({ "session_token": TOKEN }).to_string();
            world.control_plane.on("POST", &sign_in_path(cloud), move |_| Answer::ok(&token));
        }
        world
    }

    /// The requests to sign in that the control plane got
    pub fn sign_ins(&self) -> Vec<Request> {
        let requests = self.control_plane.requests().into_iter();
        requests.filter(|request| request.path.contains("/workspaceagents/")).collect()
    }

    /// The machine, with its cloud named
    pub fn machine(&self, cloud: Cloud) -> Machine {
        Machine { cloud: Some(cloud), ..self.machine_of_any_cloud() }
    }

    pub fn machine_of_any_cloud(&self) -> Machine {
        let metadata = BaseUrl::parse(&self.metadata.url("")).unwrap();
        Machine { metadata: Some(metadata), ..self.machine_at(&self.control_plane.url("")) }
    }

    /// The machine with the control plane at a URL and the clouds' own metadata addresses
    pub fn machine_at(&self, control_plane: &str) -> Machine {
        let reported = Arc::clone(&self.reported);
        let report = Arc::new(move |line: &str| reported.lock().unwrap().push(line.to_owned()));
        let clock: agent_token::Clock = Arc::new(|| at("2026-11-21T00:00:00Z"));
        let mut machine =
            Machine::new(BaseUrl::parse(control_plane).unwrap(), short_backoff(), clock, report);
        machine.retry_timeout = RetryTimeout::For(Duration::from_secs(60));
        machine.metadata_timeouts = LONG;
        machine.control_plane_timeouts = LONG;
        machine
    }
}

pub fn short_backoff() -> Backoff {
    Backoff {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        jitter: Arc::new(|| 0.5),
    }
}

/// Longer than any answer takes on a busy computer
pub const LONG: Timeouts =
    Timeouts { connect: Duration::from_secs(20), answer: Duration::from_secs(20) };

/// For a service that does not answer
pub const SHORT: Timeouts =
    Timeouts { connect: Duration::from_secs(20), answer: Duration::from_secs(1) };

/// Serves the metadata of `cloud`
pub fn serve(metadata: &Server, cloud: Cloud) {
    let keys = &*KEYS;
    let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
    match cloud {
        Cloud::Aws => metadata.serve_aws(&keys.small, &keys.large, &aws_document()),
        Cloud::Azure => {
            let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
            let vm = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
            let document = azure::Document::new(vm, subscription, from, to);
            metadata.serve_azure(&keys.azure.leaf, &document);
        }
        Cloud::Google => {
            let issued = at("2026-11-20T23:59:00Z");
            let claims = google::Claims::new("8087716956832600000", "project", "", issued);
            metadata.serve_google(&keys.google, &claims);
        }
        other => panic!("{other} has no metadata service here"),
    }
}

pub fn aws_document() -> String {
    aws::Document::new(
        "i-0123456789abcdef0",
        "test-region-1",
        "123456789012",
        "2026-11-20T00:00:00Z",
    )
    .to_json()
}

pub fn sign_in_path(cloud: Cloud) -> String {
    format!("/api/v2/workspaceagents/{cloud}-instance-identity")
}

/// The first request of each cloud's metadata service
pub fn first_request(cloud: Cloud) -> (&'static str, &'static str) {
    match cloud {
        Cloud::Aws => ("PUT", "/latest/api/token"),
        Cloud::Azure => ("GET", "/metadata/attested/document"),
        Cloud::Google => ("GET", "/computeMetadata/v1/instance/service-accounts/default/identity"),
        other => panic!("{other} has no metadata service here"),
    }
}

/// Answers `bad` to the first `times` requests and then as before; returns the number of requests
pub fn spoil(
    server: &Server,
    (method, path): (&str, &str),
    times: usize,
    bad: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Arc<AtomicUsize> {
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let good = server.handler(method, path).unwrap();
    server.on(method, path, move |request| match counted.fetch_add(1, Ordering::SeqCst) < times {
        true => bad(request),
        false => good(request),
    });
    asked
}

/// The error message of a sign-in that fails
pub async fn complaint(machine: &Machine) -> String {
    let error: SignInError = machine.sign_in().await.unwrap_err();
    error.to_string()
}

/// An answer that comes after every timeout
pub fn silence() -> Answer {
    Answer::ok("late").after(Duration::from_secs(60))
}

pub fn page() -> Answer {
    Answer::ok("<html>Sign in to the network</html>").with_header("Content-Type", "text/html")
}
