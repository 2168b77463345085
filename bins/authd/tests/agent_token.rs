//! `authd agent-token`: a machine fetches its proof and signs in

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use app_authz::token::{CryptoKey, Feature, Rotation, rotate};
use authd_http::Freshness;
use common::{ACCOUNT, REGION, Setup};
use identity_fetch::Identity;
use identity_verify::test_util::server::{Answer, Server};
use identity_verify::test_util::{at, aws, azure, google};
use identity_verify::{Cloud, Policy, azure as azure_identity, google as google_identity};
use store::MemoryStore;
use store::fleet::{Fleet, Transition};
use testkit::net::{ForwardProxy, TlsFront};
use tokio::process::Command;

const INSTANCE: &str = "i-0123456789abcdef0";
const VM: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const GOOGLE_INSTANCE: &str = "8087716956832600000";

async fn authd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("agent-token").args(args);
    command.env_clear().output().await.unwrap()
}

fn token_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn machines_of_all_clouds_receive_their_tokens() {
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let mut tokens = Vec::new();
    for id in [INSTANCE, VM, GOOGLE_INSTANCE] {
        let workspace = rows.workspace(owner, id);
        let build = rows.build(workspace, Transition::Start);
        for name in ["main", "other"] {
            tokens.push(format!("{}\n", rows.agent(build.resource, name, id).auth_token.0));
        }
    }
    let store = MemoryStore::default();
    store.load(&rows);

    let (aws, azure, google) =
        (aws::Cloud::generate(REGION), azure::Cloud::generate(), google::Cloud::generate());
    let identity = Identity::builtin()
        .aws(identity_verify::aws::Verifier::new(aws.keys(), Policy::default()))
        .azure(azure_identity::Verifier::new(azure.trust(), Policy::default()))
        .google(google_identity::Verifier::default())
        .google_keys(google.jwks());
    let server = Setup::with(identity).start(store).await;
    let url = server.url("/");

    let document = aws::Document::new(INSTANCE, REGION, ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    let on_aws = Server::start();
    on_aws.serve_aws(&aws, &aws, &document);
    let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let on_azure = Server::start();
    on_azure.serve_azure(&azure.leaf, &azure::Document::new(VM, subscription, from, to));
    let issued = at("2026-11-20T23:59:00Z");
    let on_google = Server::start();
    on_google.serve_google(&google, &google::Claims::new(GOOGLE_INSTANCE, "project", "", issued));

    let clouds = [("aws", &on_aws), ("azure", &on_azure), ("google", &on_google)];
    for ((cloud, metadata), tokens) in clouds.into_iter().zip(tokens.chunks(2)) {
        let metadata = metadata.url("");
        let with = ["--url", &url, "--metadata-url", &metadata];
        for choice in [cloud, "auto"] {
            let args = [&with[..], &["--cloud", choice, "--agent-name", "main"]].concat();
            assert_eq!(token_of(&authd(&args).await), tokens[0], "{cloud} by {choice}");
        }
        let args = [&with[..], &["--agent-name", "other"]].concat();
        assert_eq!(token_of(&authd(&args).await), tokens[1]);

        let ambiguous = authd(&[&with[..], &["--cloud", cloud]].concat()).await;
        assert_eq!(ambiguous.status.code(), Some(1));
        let stderr = String::from_utf8(ambiguous.stderr).unwrap();
        assert!(stderr.contains("409") && stderr.contains("main, other"), "{stderr}");
        assert!(ambiguous.stdout.is_empty());
    }
}

/// The nonce goes from the server to the metadata service and back in the proof
#[tokio::test]
async fn machines_answer_the_nonce_that_is_demanded() {
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let workspace = rows.workspace(owner, "dev");
    let build = rows.build(workspace, Transition::Start);
    let tokens = [(VM, "main"), (GOOGLE_INSTANCE, "other")]
        .map(|(id, name)| format!("{}\n", rows.agent(build.resource, name, id).auth_token.0));
    let store = MemoryStore::default();
    store.load(&rows);
    let (azure, google) = (azure::Cloud::generate(), google::Cloud::generate());
    let identity = Identity::builtin()
        .azure(azure_identity::Verifier::new(azure.trust(), Policy::default()))
        .google(google_identity::Verifier::default())
        .google_keys(google.jwks());
    let setup = Setup::with(identity);
    let feature = Feature::WorkspaceAppsToken;
    let now = setup.now;
    let plan = |rows: &[CryptoKey]| rotate(feature, rows, now, |secret| secret.fill(1));
    store.rotate(feature, plan).await.unwrap();
    let freshness = Freshness::default().pins(true);
    let freshness = freshness.require_nonce(Cloud::Azure).unwrap();
    let freshness = freshness.require_nonce(Cloud::Google).unwrap();
    let server = setup.freshness(freshness).start(store).await;
    let url = server.url("/");

    let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let on_azure = Server::start();
    on_azure.serve_azure(&azure.leaf, &azure::Document::new(VM, subscription, from, to));
    let issued = at("2026-11-20T23:59:00Z");
    let on_google = Server::start();
    on_google.serve_google(&google, &google::Claims::new(GOOGLE_INSTANCE, "project", "", issued));
    for ((cloud, metadata), token) in
        [("azure", &on_azure), ("google", &on_google)].into_iter().zip(&tokens)
    {
        let metadata = metadata.url("");
        for choice in [cloud, "auto"] {
            let args = ["--url", &url, "--metadata-url", &metadata, "--cloud", choice];
            assert_eq!(token_of(&authd(&args).await), *token, "{cloud} by {choice}");
        }
    }
    // With `auto`, requests for other clouds may come last.
    let asked: Vec<_> = on_google.requests().iter().filter_map(|it| it.query("audience")).collect();
    assert!(!asked.is_empty(), "Google was not asked");
    assert!(asked.iter().all(|asked| asked.starts_with("coder?nonce=")), "{asked:?}");
}

/// An Azure metadata service and a control plane that answer, for tests to break
fn azure_and_control_plane() -> (Server, Server) {
    let (metadata, control_plane) = (Server::start(), Server::start());
    let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let cloud = azure::Cloud::generate();
    metadata.serve_azure(&cloud.leaf, &azure::Document::new(VM, subscription, from, to));
    control_plane.on("POST", "/api/v2/workspaceagents/azure-instance-identity", |_| {
        Answer::ok(r#"{"session_token":"first-token"}"#)
    });
    (metadata, control_plane)
}

#[tokio::test]
async fn a_token_is_received_even_if_nothing_is_ready_at_boot() {
    let (metadata, control_plane) = azure_and_control_plane();
    for (server, method, path) in [
        (&metadata, "GET", "/metadata/attested/document"),
        (&control_plane, "POST", "/api/v2/workspaceagents/azure-instance-identity"),
    ] {
        let good = server.handler(method, path).unwrap();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        server.on(method, path, move |request| {
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Answer::status(503).with_header("Retry-After", "1"),
                1 => Answer::ok("{").broken(),
                _ => good(request),
            }
        });
    }
    let (url, metadata) = (control_plane.url(""), metadata.url(""));
    let output = authd(&["--url", &url, "--metadata-url", &metadata]).await;
    assert_eq!(token_of(&output), "first-token\n");
    // One line says what the command waited for.
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("still waiting after 1 s"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_token_file_is_readable_by_its_owner_only() {
    let (metadata, control_plane) = azure_and_control_plane();
    let folder = std::env::temp_dir().join(format!("authd-token-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("token");
    // A process that could read the old file must not be able to read the new token.
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let old = std::fs::File::open(&file).unwrap();

    let (url, metadata) = (control_plane.url(""), metadata.url(""));
    let args = ["--url", &url, "--metadata-url", &metadata, "--output", file.to_str().unwrap()];
    let output = authd(&args).await;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "first-token\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    // Renamed into place: the old file is unchanged, and no temporary file is left.
    assert_eq!(std::io::read_to_string(old).unwrap(), "old");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);

    // An unusable path is reported before the command waits for anything.
    std::os::unix::fs::symlink("/dev/stdout", folder.join("link")).unwrap();
    for (path, part) in
        [("nowhere/token", "nowhere/token"), ("", "is a directory"), ("link", "not a regular file")]
    {
        let path = folder.join(path);
        let args = ["--url", &url, "--metadata-url", "http://127.0.0.1:1", "--output"];
        let output = authd(&[&args[..], &[path.to_str().unwrap()]].concat()).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(part), "{stderr}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn wrong_arguments_and_variables_are_reported_at_once() {
    let bad_proxy = ("HTTPS_PROXY", "ftp://user:hunter2@proxy");
    let empty = std::env::temp_dir().join(format!("authd-empty-{}", uuid::Uuid::new_v4()));
    std::fs::write(&empty, "").unwrap();
    let empty_file = empty.to_str().unwrap().to_owned();
    for (args, env, part) in [
        (
            &["--url", "coder.example.com"][..],
            None,
            "`--url`: `coder.example.com` is not a URL: it lacks the scheme",
        ),
        (&["--url", "127.0.0.1:8080"], None, "it lacks the scheme"),
        (&["--url", ""], None, "it lacks the scheme"),
        (&["--url", "ftp://coder.example.com"], None, "a scheme other than"),
        (&["--url", "http://coder example.com"], None, "is not a URL such as"),
        (&["--url", "http://a", "--metadata-url", "169.254.169.254"], None, "`--metadata-url`"),
        (&["--url", "http://a", "--metadata-url", "https://a"], None, "without TLS"),
        (&["--url", "http://a", "--patience", "soon"], None, "is not a time such as"),
        (&["--url", "https://a"], Some(bad_proxy), "`HTTPS_PROXY` is not the URL of a proxy"),
        (&["--url", "https://a", "--ca-file", "/nowhere.pem"], None, "/nowhere.pem"),
        (&["--url", "https://a"], Some(("SSL_CERT_FILE", &*empty_file)), "SSL_CERT_FILE"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
        let output = command.arg("agent-token").args(args).env_clear().envs(env).output();
        let output = output.await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part) && !stderr.contains("hunter2"), "{args:?}: {stderr}");
    }
    std::fs::remove_file(empty).unwrap();
}

#[tokio::test]
async fn a_machine_outside_of_the_clouds_gets_a_clear_error() {
    let empty = Server::start();
    let metadata = empty.url("");
    let args = ["--url", "http://127.0.0.1:9", "--metadata-url", &metadata, "--patience", "0"];
    let output = authd(&args).await;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no metadata service"), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// Standard output and error of the command, in this environment only
async fn in_environment(url: &str, metadata: &Server, env: &[(&str, String)]) -> (String, String) {
    let metadata = metadata.url("");
    let output = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["agent-token", "--url", url, "--metadata-url", &metadata, "--patience", "0"])
        .env_clear()
        .envs(env.iter().cloned())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn proxies_and_authorities_of_the_environment_are_used() {
    let (metadata, control_plane) = azure_and_control_plane();
    let secure = TlsFront::start("coder.invalid", control_plane.address()).await;
    let proxy = ForwardProxy::start().await;
    let ca_file = secure.ca_file.to_str().unwrap().to_owned();
    let through = format!("http://{}", proxy.address);
    let url = format!("https://coder.invalid:{}", secure.address.port());

    for name in ["SSL_CERT_FILE", "AUTHD_CA_FILE"] {
        let env = [("HTTPS_PROXY", through.clone()), (name, ca_file.clone())];
        let (token, stderr) = in_environment(&url, &metadata, &env).await;
        assert_eq!((&*token, &*stderr), ("first-token\n", ""), "{name}");
    }
    // Each time one for the nonce, which this control plane does not have, and one for the proof.
    assert_eq!(proxy.seen().len(), 4);
    // Without the proxy the name does not resolve.
    let exception = ("NO_PROXY", "coder.invalid".to_owned());
    let env = [("HTTPS_PROXY", through.clone()), ("SSL_CERT_FILE", ca_file), exception];
    let (token, stderr) = in_environment(&url, &metadata, &env).await;
    assert!(token.is_empty() && stderr.contains("no connection: dns"), "{stderr}");

    // The metadata service is requested directly, regardless of the environment.
    let url = control_plane.url("");
    let nowhere = "http://127.0.0.1:1".to_owned();
    let env = [("HTTPS_PROXY", nowhere.clone()), ("HTTP_PROXY", through), ("ALL_PROXY", nowhere)];
    let (token, stderr) = in_environment(&url, &metadata, &env).await;
    assert_eq!(token, "first-token\n", "{stderr}");
    assert!(proxy.seen().pop().unwrap().0.starts_with("POST http://127.0.0.1:"));
}

/// A measurement for docs/performance.md, not a test:
/// `cargo test --release -p authd --test agent_token -- --ignored --nocapture cold_start`
#[tokio::test]
#[ignore = "a measurement, which depends on the machine"]
async fn cold_start_to_token() {
    let control_plane = Server::start();
    control_plane.on("POST", "/api/v2/workspaceagents/aws-instance-identity", |_| {
        Answer::ok(r#"{"session_token":"first-token"}"#)
    });
    let (small, large) = (aws::Cloud::generate(REGION), aws::Cloud::generate_bits(REGION, 2048));
    let document = aws::Document::new(INSTANCE, REGION, ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    let metadata = Server::start();
    metadata.serve_aws(&small, &large, &document);
    let secure = TlsFront::start("localhost", control_plane.address()).await;
    let ca_file = ("AUTHD_CA_FILE", secure.ca_file.to_str().unwrap().to_owned());
    let secure_url = format!("https://localhost:{}", secure.address.port());
    for (what, url) in [("http", control_plane.url("")), ("https", secure_url)] {
        let mut times = Vec::new();
        for _ in 0..51 {
            let began = Instant::now();
            let env = std::slice::from_ref(&ca_file);
            let (token, stderr) = in_environment(&url, &metadata, env).await;
            times.push(began.elapsed());
            assert_eq!(token, "first-token\n", "{stderr}");
        }
        times.sort_unstable();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: median {median:.1?}, slowest {slowest:.1?}");
        assert!(median < Duration::from_millis(50), "{what}: {median:?}");
    }
}
