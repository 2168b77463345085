//! The metrics of a running server: their formats, their description, and what a real Prometheus
//! makes of them with the rules and the dashboard of `docs/observability`

#![allow(clippy::print_stdout, reason = "a test reports what it skips")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use common::command::{Scratch, on, text};
use common::{SIGN_IN, proof};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, VARY};
use identity_verify::test_util::aws::Cloud;
use serde_json::Value;
use testkit::net::{Answer, Client, free_address};
use testkit::{Database, OwnServer};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// `authd serve` over a database with the example deployment, after some requests of each kind
struct Observed {
    _process: Child,
    _database: Database,
    address: String,
    client: Client,
    folder: Scratch,
}

impl Observed {
    async fn start() -> Self {
        Self::over(Database::new().await).await
    }

    async fn over(database: Database) -> Self {
        let folder = Scratch::new();
        let (status, _, errors) =
            on(&database, &["import", &docs("examples/deployment.toml")]).await;
        assert_eq!(status, Some(0), "{errors}");
        let (_, token, _) = on(&database, &["token", "create", "--user", "alice"]).await;

        let cloud = Cloud::generate(common::REGION);
        std::fs::create_dir_all(folder.0.join("trust/aws")).unwrap();
        let key = cloud.public_key_pem();
        folder.write(&format!("trust/aws/{}.pem", common::REGION), key);
        let address = free_address().to_string();
        let process = Command::new(env!("CARGO_BIN_EXE_authd"))
            .args(["serve", "--database-url", database.url(), "--listen", &address])
            .args(["--access-url", "http://coder.example.com"])
            .args(["--wildcard-access-url", "*.apps.example.com"])
            .args(["--proxy-trusted-origins", "127.0.0.1"])
            .arg("--trust-dir")
            .arg(folder.0.join("trust"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = Client::new();
        let server = Self { _process: process, _database: database, address, client, folder };
        eventually(async || {
            let answer = server.client.get(&server.url("/readyz")).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        server.visit(&cloud, token.trim()).await;
        server
    }

    /// Makes requests that each count somewhere
    async fn visit(&self, cloud: &Cloud, token: &str) {
        let sign_in = self.url(SIGN_IN);
        for (cloud, status) in [(cloud, 200), (&Cloud::generate(common::REGION), 401)] {
            let body = proof(cloud, "i-0123456789abcdef0", None).to_string();
            assert_eq!(self.client.post_json(&sign_in, body).await.unwrap().status, status);
        }
        for (token, status) in [(token, 303), ("no token", 401)] {
            let form = format!("token={token}&redirect=/");
            let form_type = [(CONTENT_TYPE, "application/x-www-form-urlencoded")];
            let answer = self.send(Method::POST, "/login", &form_type, form).await;
            assert_eq!(answer.status, status);
        }
        for session in [Some(token), None] {
            let mut headers = vec![
                (
                    HeaderName::from_static("x-forwarded-host"),
                    "code--main--dev--alice.apps.example.com",
                ),
                (HeaderName::from_static("x-forwarded-uri"), "/"),
                (HeaderName::from_static("sec-fetch-mode"), "navigate"),
            ];
            headers.extend(
                session.map(|token| (HeaderName::from_static("coder-session-token"), token)),
            );
            let path = "/api/v2/forward-auth/traefik";
            let answer = self.send(Method::GET, path, &headers, String::new()).await;
            assert_eq!(answer.status, if session.is_some() { 200 } else { 303 });
        }
        eventually(async || {
            let text = self.metrics("").await;
            text.contains("authd_audit_events_total{outcome=\"written\"} 2")
        })
        .await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Answer {
        self.client.send(method, &self.url(path), headers, Bytes::from(body)).await.unwrap()
    }

    async fn metrics(&self, accept: &str) -> String {
        let answer = self.send(Method::GET, "/metrics", &[(ACCEPT, accept)], String::new()).await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn metrics_have_two_formats_and_the_documented_names() {
    let server = Observed::start().await;
    let open_metrics = "application/openmetrics-text;version=1.0.0";
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (open_metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ] {
        let answer = server.send(Method::GET, "/metrics", &[(ACCEPT, accept)], String::new()).await;
        assert_eq!(answer.headers[CONTENT_TYPE], content_type);
        assert_eq!(answer.headers[VARY], "Accept");
    }
    assert!(server.metrics(open_metrics).await.ends_with("\n# EOF\n"));

    let metrics = server.metrics("").await;
    let mut described = described();
    // This server does not speak TLS.
    assert!(described.remove("authd_tls_certificate_expiration_timestamp_seconds").is_some());
    assert_eq!(described, printed(&metrics), "docs/operations.md, and what a server prints");
    // Few enough for any Prometheus: nothing that a visitor sends is a label.
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 1_500, "{series}");
    if let Some(promtool) = program("promtool").await {
        let checked = checked(Command::new(promtool).args(["check", "metrics"]), &metrics).await;
        assert_eq!(checked, (true, String::new()));
    }
}

#[tokio::test]
async fn metrics_have_the_values_of_the_store() {
    let own = OwnServer::start().await;
    let server = Observed::over(own.database().await).await;
    let metrics = server.metrics("").await;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse::<f64>().unwrap()
    };
    let question = "{question=\"candidates\"}";
    assert!(value(&format!("authd_database_statement_duration_seconds_count{question}")) >= 1.0);
    let sum = value(&format!("authd_database_statement_duration_seconds_sum{question}"));
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    assert_eq!(value(&format!("authd_database_statement_failures_total{question}")), 0.0);
    let of_writes =
        |name: &str| value(&format!("authd_database_connections{name}{{pool=\"writes\"}}"));
    assert_eq!(of_writes("_in_use"), 0.0);
    assert!(of_writes("") >= 1.0 && of_writes("_max") >= of_writes(""));
    assert_eq!((value("authd_database_up"), value("authd_ready")), (1.0, 1.0));

    own.pause().await;
    let metrics = server.metrics("").await;
    for down in ["authd_database_up 0\n", "authd_ready 0\n"] {
        assert!(metrics.contains(down), "{down}{metrics}");
    }
}

/// The metrics in the table of `docs/operations.md`, with their types
fn described() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(docs("operations.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(name, _)| name.starts_with("authd_") || name.starts_with("process_"));
    let rows = rows.filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0)));
    rows.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The metrics of a server, with their types
fn printed(metrics: &str) -> BTreeMap<String, String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[tokio::test]
async fn prometheus_evaluates_every_query_of_the_rules_and_the_dashboard() {
    let (Some(prometheus), Some(promtool)) =
        (program("prometheus").await, program("promtool").await)
    else {
        return;
    };
    let rules = docs("observability/alerts.yml");
    let tests = docs("observability/alerts_test.yml");
    for arguments in [["check", "rules", &*rules], ["test", "rules", &*tests]] {
        let (succeeded, said) = checked(Command::new(promtool).args(arguments), "").await;
        assert!(succeeded, "{said}");
    }

    let server = Observed::start().await;
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs:\n  - job_name: authd\n    static_configs: [{{targets: [{:?}]}}]\n",
        server.address
    );
    let address = free_address().to_string();
    let _process = Command::new(prometheus)
        .arg(format!("--config.file={}", server.folder.write("prometheus.yml", config)))
        .arg(format!("--storage.tsdb.path={}", text(&server.folder.0.join("data"))))
        .arg(format!("--web.listen-address={address}"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let prometheus = Prometheus { url: format!("http://{address}/api/v1"), client: Client::new() };
    // A rate needs two scrapes.
    let scraped = "count_over_time(authd_ready{job=\"authd\"}[1m]) > 2";
    eventually(async || prometheus.query(scraped).await.is_some_and(|found| found > 0)).await;

    for query in dashboard() {
        assert!(prometheus.query(&query).await.unwrap() > 0, "nothing is found by {query}");
    }
    let mut alerts = 0;
    eventually(async || {
        prometheus.rules().await.iter().all(|rule| rule["lastEvaluation"] != NEVER)
    })
    .await;
    for rule in prometheus.rules().await {
        assert_eq!((&rule["health"], &rule["state"]), (&"ok".into(), &"inactive".into()), "{rule}");
        for selector in selectors(rule["query"].as_str().unwrap()) {
            let found = prometheus.query(&selector).await.unwrap();
            // A server that works has no such answers, and this one does not speak TLS.
            let is_absent = selector.contains("status=~\"5..\"") || selector.contains("authd_tls_");
            assert!(found > 0 || is_absent, "{selector} of {rule}");
        }
        alerts += 1;
    }
    assert!(alerts > 10, "{alerts}");
}

/// What the interface shows of a rule that was not evaluated yet
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The queries of the dashboard, with the variables as Grafana replaces them
fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(docs("observability/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<String> = targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            let values =
                [("$__rate_interval", "1m"), ("$job", "authd"), ("$instance", ".*")].into_iter();
            values.fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
        })
        .collect();
    assert!(queries.len() > 30 && queries.iter().all(|query| !query.contains('$')), "{queries:?}");
    queries
}

/// The series that a query selects
fn selectors(query: &str) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = ["authd_", "process_"].into_iter().flat_map(|start| query.match_indices(start));
    let starts = starts.filter(|(at, _)| !query[..*at].ends_with(is_of_name));
    let selectors = starts.map(|(at, _)| {
        let rest = &query[at..];
        let name = rest.split(|c| !is_of_name(c)).next().unwrap();
        match rest[name.len()..].starts_with('{') {
            true => rest[..=rest.find('}').unwrap()].to_owned(),
            false => name.to_owned(),
        }
    });
    selectors.collect()
}

/// The interface of a running Prometheus
struct Prometheus {
    url: String,
    client: Client,
}

impl Prometheus {
    /// The number of series that a query returns; `None` while Prometheus does not answer
    async fn query(&self, query: &str) -> Option<usize> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.client.get(&format!("{}/query?query={query}", self.url)).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        assert_eq!(answer["status"], "success", "{answer}");
        Some(answer["data"]["result"].as_array()?.len())
    }

    async fn rules(&self) -> Vec<Value> {
        let answer = self.client.get(&format!("{}/rules", self.url)).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }
}

/// Runs a program on `input`: whether it succeeded, and what it wrote
async fn checked(command: &mut Command, input: &str) -> (bool, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.kill_on_drop(true).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The program, if it is installed
async fn program(name: &'static str) -> Option<&'static str> {
    if Command::new(name).arg("--version").output().await.is_ok() {
        return Some(name);
    }
    let missing = format!("{name} is not installed, and the metrics are not checked with it");
    assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
    println!("{missing}");
    None
}

/// Waits until `holds` returns true, even on a slow machine
async fn eventually(holds: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the condition did not become true");
}

/// The path of a file of `docs`
fn docs(name: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name))
}
