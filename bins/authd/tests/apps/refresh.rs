//! Sessions whose provider's token has ended, beside a control plane whose clients are known

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_auth::Rules;
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, RefreshConfig, Service};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderName;
use identity_fetch::Identity;
use openssl::base64::{decode_block, encode_block};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde_json::json;
use store::fleet::{Hidden, LoginType, UserLink};
use store::{EncryptionKeys, Options, PgStore};
use testkit::Database;
use testkit::net::{Answer, Client};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::provider;
use crate::world::{ISSUE, Plan, World, by_path, text};

/// The path of GitHub's token endpoint
const GITHUB: &str = "/login/oauth/access_token";

/// How the token endpoint of the provider answers
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Takes each refresh token once, and gives the next one
    Rotate,
    /// Gives an access token that does not end, and no refresh token
    Keep,
    Refuse,
    Fail,
}

struct State {
    mode: Mode,
    /// How many refresh tokens were taken; the next has this number
    taken: usize,
    forms: Vec<String>,
}

/// A provider, and GitHub, that a test controls
#[derive(Clone)]
struct Fake {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { mode: Mode::Rotate, taken: 0, forms: Vec::new() };
        let fake = Self { url, state: Arc::new(Mutex::new(state)) };
        let serving = fake.clone();
        provider::serve(listener, move |path, form| {
            let (status, body) = serving.answer(&path, &form);
            async move {
                if ["/token", GITHUB].contains(&&*path) {
                    // As long as other visits need to arrive.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                (status, body)
            }
        });
        fake
    }

    fn answer(&self, path: &str, form: &str) -> (&'static str, String) {
        let url = &self.url;
        let body = match path {
            "/.well-known/openid-configuration" => json!({
                "issuer": url, "authorization_endpoint": format!("{url}/auth"),
                "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
            }),
            "/keys" => json!({ "keys": [{
                "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }] }),
            _ => return self.tokens(path, form),
        };
        ("200 OK", body.to_string())
    }

    fn tokens(&self, path: &str, form: &str) -> (&'static str, String) {
        let mut state = self.state.lock().unwrap();
        state.forms.push(form.to_owned());
        let refused = ("400 Bad Request", json!({ "error": "invalid_grant" }).to_string());
        match state.mode {
            Mode::Fail => return ("502 Bad Gateway", String::new()),
            Mode::Refuse if path == GITHUB => {
                return ("200 OK", json!({ "error": "bad_refresh_token" }).to_string());
            }
            Mode::Refuse => return refused,
            Mode::Keep => return ("200 OK", json!({ "access_token": "kept" }).to_string()),
            Mode::Rotate => {}
        }
        let current = format!("&refresh_token=refresh-{}", state.taken);
        if !form.contains(&current) {
            return refused;
        }
        state.taken += 1;
        let n = state.taken;
        let body = json!({
            "access_token": format!("access-{n}"), "refresh_token": format!("refresh-{n}"),
            "token_type": "Bearer", "expires_in": 3600,
        });
        ("200 OK", body.to_string())
    }

    fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    /// The forms that the token endpoint has received
    fn forms(&self) -> Vec<String> {
        self.state.lock().unwrap().forms.clone()
    }

    fn config(&self) -> RefreshConfig {
        let config = RefreshConfig::default().oidc(&self.url, "coder", Some("s")).unwrap();
        // As a control plane may have it: with the path of the API.
        config.github_at(&format!("{}/api/v3", self.url), "Iv1", Some("g")).unwrap()
    }

    /// The token of Alice's session at a provider has ended an hour ago
    fn plan(&self, login_type: LoginType) -> Plan {
        let mut plan = Plan::new();
        let alice = plan.people["alice"].id;
        for key in plan.rows.api_keys.iter_mut().filter(|key| key.user_id == alice) {
            key.login_type = login_type;
        }
        plan.rows.user_links.push(UserLink {
            user_id: alice,
            login_type,
            oauth_refresh_token: Hidden("refresh-0".to_owned()),
            oauth_expiry: (plan.now - Duration::from_secs(3_600)).into(),
        });
        plan.refresh = Some(self.config());
        plan
    }
}

/// Another replica over the same database
async fn replica(world: &World, config: AppsConfig, refresh: &RefreshConfig) -> String {
    let store =
        Arc::new(PgStore::connect(world.database.url(), &Options::default()).await.unwrap());
    let clock: authd_http::Clock = Arc::new(world.clock());
    let (identity, limits) = (Identity::builtin(), Limits::default());
    let app = Service::over(&store, identity, Rules::default(), limits, clock)
        .with_apps(Arc::clone(&store), config)
        .with_token_refresh(store, refresh.clone());
    app.maintain_keys(true).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Arc::new(app);
    tokio::spawn(serve(listener, app, ServerLimits::default(), std::future::pending()));
    url
}

/// A visit of Alice to her own app, from the nth address
fn visit(world: &World, url: &str, n: usize) -> impl Future<Output = Answer> + Send + use<> {
    let mut envelope = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    envelope["client_ip"] = format!("198.51.100.{n}").into();
    let (proxy, url) = (world.proxy.reveal(), format!("{url}{ISSUE}"));
    async move {
        let headers =
            [("coder-external-proxy-token", &*proxy), ("content-type", "application/json")];
        let headers = headers.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value));
        let body = Bytes::from(envelope.to_string());
        Client::new().send(Method::POST, &url, &headers, body).await.unwrap()
    }
}

/// Refresh token, access token and end of Alice's link, as they are stored
async fn link(world: &World) -> (String, String, String) {
    let rows = world
        .database
        .sql(
            "SELECT oauth_refresh_token || ' ' || oauth_access_token || ' '
                 || extract(epoch FROM oauth_expiry)::bigint FROM user_links",
        )
        .await;
    let mut parts = rows[0].split(' ').map(str::to_owned);
    let mut next = || parts.next().unwrap();
    (next(), next(), next())
}

/// Lets the new access token of Alice end
async fn end_again(world: &World) {
    let end = "UPDATE user_links SET oauth_expiry = oauth_expiry - interval '61 minutes'";
    world.database.sql(end).await;
}

async fn metric(world: &World, name: &str) -> Option<String> {
    let metrics = world.send("GET", "/metrics", &[], "").await;
    let metrics = text(&metrics);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().to_owned())
}

/// A route of the control plane's host that needs a session
const AUDIT: &str = "/api/v2/audit";

/// The time of Alice's link after a refresh: an hour from now
const IN_AN_HOUR: &str = "1795222800";

// scenario 102
#[tokio::test]
async fn visits_of_two_replicas_share_one_refresh() {
    let fake = Fake::start().await;
    let plan = fake.plan(LoginType::Oidc);
    let config = plan.config.clone();
    let world = plan.serve().await;
    let other = replica(&world, config, &fake.config()).await;
    let urls = [&world.url, &other];
    let visits: JoinSet<Answer> = (0..20).map(|n| visit(&world, urls[n % 2], n)).collect();
    for answer in visits.join_all().await {
        assert_eq!(answer.status, 201, "{}", text(&answer));
    }
    let forms = fake.forms();
    assert_eq!(forms, ["grant_type=refresh_token&refresh_token=refresh-0"]);
    let (refresh_token, access_token, end) = link(&world).await;
    assert_eq!((&*refresh_token, &*access_token, &*end), ("refresh-1", "access-1", IN_AN_HOUR));

    // When it has ended again, the token that was given is used.
    end_again(&world).await;
    for n in 0..4 {
        let answer = visit(&world, urls[n % 2], n).await;
        assert_eq!(answer.status, 201, "{}", text(&answer));
    }
    assert_eq!(fake.forms().len(), 2);
    assert_eq!(link(&world).await.0, "refresh-2");
}

/// Each visit of a burst waits for the refresh that the first has begun: more refreshes than a replica
/// has under way would be refused
#[tokio::test]
async fn a_burst_of_visits_at_one_replica_begins_one_refresh() {
    let fake = Fake::start().await;
    let world = fake.plan(LoginType::Oidc).serve().await;
    let visits: JoinSet<Answer> = (0..60).map(|n| visit(&world, &world.url, n)).collect();
    for answer in visits.join_all().await {
        assert_eq!(answer.status, 201, "{}", text(&answer));
    }
    assert_eq!(fake.forms().len(), 1);
}

#[tokio::test]
async fn a_session_that_needs_nothing_asks_what_it_did_before() {
    let fake = Fake::start().await;
    let mut counts = Vec::new();
    for is_on in [false, true] {
        let mut plan = fake.plan(LoginType::Oidc);
        plan.rows.user_links[0].oauth_expiry = (plan.now + Duration::from_secs(60)).into();
        plan.refresh = plan.refresh.filter(|_| is_on);
        let world = plan.serve().await;
        visit(&world, &world.url, 1).await;
        let (answer, statements) = world.counted(visit(&world, &world.url, 2)).await;
        assert_eq!(answer.status, 201);
        counts.push(statements);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(fake.forms().is_empty());
}

#[tokio::test]
async fn without_the_client_a_session_that_has_ended_is_signed_out() {
    let fake = Fake::start().await;
    let mut plan = fake.plan(LoginType::Oidc);
    plan.refresh = None;
    let world = plan.serve().await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 303);
    // The client of another provider does not help.
    let mut plan = fake.plan(LoginType::Oidc);
    let github = RefreshConfig::default().github_at(&fake.url, "Iv1", None).unwrap();
    plan.refresh = Some(github);
    let world = plan.serve().await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 303);
    assert!(fake.forms().is_empty());
    assert_eq!(link(&world).await.0, "refresh-0");
}

// scenario 100
#[tokio::test]
async fn nothing_is_refreshed_for_a_session_that_is_not_good() {
    let fake = Fake::start().await;
    let world = fake.plan(LoginType::Oidc).serve().await;
    let id = world.people["alice"].id;
    let (token, wrong) = (world.token("alice"), "a".repeat(22));
    let forged = format!("{}-{wrong}", token.split('-').next().unwrap());
    let answer = world.issue(by_path("alice", "dev", "agent", "owner", &forged)).await;
    assert_eq!(answer.status, 303);
    world.database.sql(&format!("UPDATE users SET status = 'suspended' WHERE id = '{id}'")).await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 401);
    let active = format!("UPDATE users SET status = 'active' WHERE id = '{id}'");
    world.database.sql(&active).await;
    let expired = "UPDATE api_keys SET expires_at = to_timestamp(1795219199)";
    world.database.sql(&format!("{expired} WHERE user_id = '{id}'")).await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 303);
    assert!(fake.forms().is_empty());
    assert_eq!(link(&world).await.0, "refresh-0");
}

#[tokio::test]
async fn a_refusal_signs_out_until_the_user_signs_in_again() {
    for (login_type, provider) in [(LoginType::Oidc, "oidc"), (LoginType::Github, "github")] {
        let fake = Fake::start().await;
        fake.set(Mode::Refuse);
        let world = fake.plan(login_type).serve().await;
        for n in 0..3 {
            assert_eq!(visit(&world, &world.url, n).await.status, 303);
        }
        // Asked once: the refusal counts for this link, on all replicas.
        assert_eq!(fake.forms().len(), 1);
        let refused =
            format!("authd_token_refreshes_total{{provider=\"{provider}\",outcome=\"refused\"}}");
        assert_eq!(metric(&world, &refused).await.as_deref(), Some("1"));
        let api = [("coder-session-token", world.token("alice"))];
        let answer = world.send("GET", AUDIT, &api, "").await;
        assert_eq!(answer.status, 401, "{}", text(&answer));
        // The user signs in at the control plane.
        let seconds = "oauth_expiry = oauth_expiry + interval '1 minute'";
        world.database.sql(&format!("UPDATE user_links SET {seconds}")).await;
        fake.set(Mode::Rotate);
        assert_eq!(visit(&world, &world.url, 1).await.status, 201);
        assert_eq!(link(&world).await.0, "refresh-1");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_does_not_sign_users_out() {
    let fake = Fake::start().await;
    fake.set(Mode::Fail);
    let world = fake.plan(LoginType::Oidc).serve().await;
    let answer = visit(&world, &world.url, 1).await;
    assert_eq!(answer.status, 503, "{}", text(&answer));
    assert!(!text(&answer).contains("refresh-0"));
    // Not asked again at once.
    assert_eq!(visit(&world, &world.url, 2).await.status, 503);
    assert_eq!(fake.forms().len(), 1);
    let api = [("coder-session-token", world.token("alice"))];
    let answer = world.send("GET", AUDIT, &api, "").await;
    assert_eq!(answer.status, 503, "{}", text(&answer));
    // Visits that need no refresh go on.
    let bob = world.issue(by_path("alice", "dev", "agent", "authed", world.token("bob"))).await;
    assert_eq!(bob.status, 201);
    let (refresh_token, access_token, _) = link(&world).await;
    assert_eq!((&*refresh_token, &*access_token), ("refresh-0", ""));
    fake.set(Mode::Rotate);
    let mut status = 503;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = visit(&world, &world.url, 3).await.status.as_u16();
        if status == 201 {
            break;
        }
    }
    assert_eq!(status, 201);
    assert_eq!(link(&world).await.0, "refresh-1");
}

#[tokio::test]
async fn a_visitor_who_hangs_up_does_not_end_a_refresh() {
    let fake = Fake::start().await;
    let world = fake.plan(LoginType::Github).serve().await;
    let is_asked = async {
        while fake.forms().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        answer = visit(&world, &world.url, 1) => panic!("{}", answer.status),
        () = is_asked => {}
    }
    for _ in 0..1_000 {
        if link(&world).await.0 == "refresh-1" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(link(&world).await.0, "refresh-1");
    let form = "grant_type=refresh_token&refresh_token=refresh-0&client_id=Iv1&client_secret=g";
    assert_eq!(fake.forms(), [form]);
    assert_eq!(visit(&world, &world.url, 1).await.status, 201);
}

#[tokio::test]
async fn a_token_that_does_not_end_keeps_the_refresh_token() {
    let fake = Fake::start().await;
    fake.set(Mode::Keep);
    let world = fake.plan(LoginType::Oidc).serve().await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 201);
    let (refresh_token, access_token, end) = link(&world).await;
    // The year 1, which is the control plane's way to say so.
    let expected = ("refresh-0", "kept", "-62135596800");
    assert_eq!((&*refresh_token, &*access_token, &*end), expected);
    world.move_clock(86_400);
    visit(&world, &world.url, 1).await;
    assert_eq!(fake.forms().len(), 1);
}

#[tokio::test]
async fn tokens_stay_encrypted() {
    const DIGEST: &str = "39d228e";
    let (cipher, key) = (Cipher::aes_256_gcm(), [1; 32]);
    let fake = Fake::start().await;
    let mut plan = fake.plan(LoginType::Oidc);
    let keys = EncryptionKeys::from_base64(&[encode_block(&key)]).unwrap();
    plan.options = Options::default().encryption_keys(keys);
    let database = Database::new().await;
    let insert = "INSERT INTO dbcrypt_keys (number, active_key_digest, test)";
    database.sql(&format!("{insert} VALUES (1, '{DIGEST}', 'x')")).await;
    let (nonce, mut tag) = ([9; 12], [0; 16]);
    let sealed = encrypt_aead(cipher, &key, Some(&nonce), &[], b"refresh-0", &mut tag).unwrap();
    let sealed = encode_block(&[&nonce[..], &sealed, &tag].concat());
    plan.rows.user_links[0].oauth_refresh_token = Hidden(sealed);
    let world = plan.serve_from(database).await;
    let named = format!("UPDATE user_links SET oauth_refresh_token_key_id = '{DIGEST}'");
    world.database.sql(&named).await;
    let answer = visit(&world, &world.url, 1).await;
    assert_eq!(answer.status, 201, "{}", text(&answer));
    let opened = |value: &str| {
        let bytes = decode_block(value).unwrap();
        let (nonce, rest) = bytes.split_at(12);
        let (sealed, tag) = rest.split_at(rest.len() - 16);
        let text = decrypt_aead(cipher, &key, Some(nonce), &[], sealed, tag).unwrap();
        String::from_utf8(text).unwrap()
    };
    let (refresh_token, access_token, _) = link(&world).await;
    assert_eq!(opened(&refresh_token), "refresh-1");
    assert_eq!(opened(&access_token), "access-1");
    let ids = "SELECT oauth_access_token_key_id || oauth_refresh_token_key_id FROM user_links";
    assert_eq!(world.database.sql(ids).await, [format!("{DIGEST}{DIGEST}")]);
    end_again(&world).await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 201);
    assert_eq!(opened(&link(&world).await.0), "refresh-2");
}

/// New tokens could not be stored as the control plane demands, so the refresh token is not used up
#[tokio::test]
async fn without_the_encryption_key_nothing_is_used_up() {
    let fake = Fake::start().await;
    let world = fake.plan(LoginType::Oidc).serve().await;
    let insert = "INSERT INTO dbcrypt_keys (number, active_key_digest, test)";
    world.database.sql(&format!("{insert} VALUES (1, '39d228e', 'x')")).await;
    assert_eq!(visit(&world, &world.url, 1).await.status, 503);
    assert!(fake.forms().is_empty());
    assert_eq!(link(&world).await.0, "refresh-0");
}
