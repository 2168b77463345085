//! Signing in at an OpenID provider, which a test controls

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use authd_http::OidcConfig;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::sha::sha256;
use serde_json::{Value, json};
use store::fleet::LoginType;
use testkit::net::Answer;
use tokio::net::TcpListener;

use crate::provider::serve;
use crate::world::{Plan, World, header, location, query, set_cookies, text};

const CALLBACK: &str = "/api/v2/users/oidc/callback";
const LOGOUT: &str = "/api/v2/users/oidc/backchannel-logout";

/// A provider that answers what a test wants
pub struct Fake {
    issuer: String,
    key: EcKey<Private>,
    /// The answer of the token endpoint, or the status with which it fails
    tokens: Arc<Mutex<Result<String, &'static str>>>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = EcKey::generate(&group).unwrap();
        let form = PointConversionForm::UNCOMPRESSED;
        let mut context = BigNumContext::new().unwrap();
        let point = key.public_key().to_bytes(&group, form, &mut context).unwrap();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256",
            "x": encoded(&point[1..33]), "y": encoded(&point[33..]),
        }]})
        .to_string();
        let discovery = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
            "end_session_endpoint": format!("{issuer}/end"),
        })
        .to_string();
        let tokens = Arc::new(Mutex::new(Err("400 Bad Request")));
        let answer = Arc::clone(&tokens);
        serve(listener, move |path, _| {
            let (status, body) = match &*path {
                "/.well-known/openid-configuration" => ("200 OK", discovery.clone()),
                "/keys" => ("200 OK", keys.clone()),
                _ => match answer.lock().unwrap().clone() {
                    Ok(body) => ("200 OK", body),
                    Err(status) => (status, r#"{"error":"invalid"}"#.to_owned()),
                },
            };
            async move { (status, body) }
        });
        Self { issuer, key, tokens }
    }

    pub fn plan(&self) -> Plan {
        let mut plan = Plan::new();
        plan.rows.organization("default");
        for user in plan.rows.users.iter_mut().filter(|user| user.username != "alice") {
            user.login_type = LoginType::Oidc;
        }
        let url = &plan.config.access_url;
        let mut oidc = OidcConfig::new(&self.issuer, "authd", url).unwrap().secret("s");
        oidc.email_domains = vec!["example.com".to_owned()];
        oidc.sign_in_text = "Sign in with <Acme>".to_owned();
        plan.oidc = Some(oidc);
        plan
    }

    fn token(&self, claims: &Value) -> String {
        let encoded = |text: String| URL_SAFE_NO_PAD.encode(text);
        let header = json!({ "alg": "ES256", "kid": "k" }).to_string();
        let signed = format!("{}.{}", encoded(header), encoded(claims.to_string()));
        let signature = EcdsaSig::sign(&sha256(signed.as_bytes()), &self.key).unwrap();
        let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
        let signature = [half(signature.r()), half(signature.s())].concat();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Claims of `name` at `example.com`, issued now
    fn claims(&self, world: &World, name: &str) -> Value {
        let now = seconds(world);
        json!({
            "iss": self.issuer, "aud": "authd", "sub": format!("sub-{name}"), "sid": "sid-1",
            "iat": now, "exp": now + 300, "email": format!("{name}@example.com"),
            "email_verified": true, "preferred_username": name,
        })
    }

    /// A browser goes to the provider and returns, with these claims
    async fn sign_in(&self, world: &World, mut claims: Value) -> Answer {
        let away = begin(world, "/@alice/dev/apps/owner/x?y=1").await;
        if claims.get("nonce").is_none() {
            claims["nonce"] = away.nonce.into();
        }
        self.answer(&claims);
        arrive(world, &format!("code=c&state={}", away.state), &away.cookie).await
    }

    fn answer(&self, claims: &Value) {
        let tokens = json!({ "id_token": self.token(claims), "token_type": "bearer" });
        *self.tokens.lock().unwrap() = Ok(tokens.to_string());
    }

    fn logout_token(&self, world: &World, change: impl FnOnce(&mut Value)) -> String {
        let now = seconds(world);
        let mut claims = json!({
            "iss": self.issuer, "aud": "authd", "iat": now, "exp": now + 120, "sub": "sub-dora",
            "sid": "sid-1", "jti": uuid::Uuid::new_v4().to_string(),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        change(&mut claims);
        self.token(&claims)
    }
}

/// A browser at the provider
struct Away {
    state: String,
    nonce: String,
    cookie: String,
}

async fn begin(world: &World, back: &str) -> Away {
    let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
    let answer = world.send("GET", &format!("{CALLBACK}?redirect={back}"), &[], "").await;
    assert_eq!(answer.status, 303, "{}", text(&answer));
    let parameters = query(&location(&answer));
    assert_eq!(parameters["redirect_uri"], format!("https://coder.test{CALLBACK}"));
    let (name, value, attributes) = set_cookies(&answer).pop().unwrap();
    assert!(name.starts_with("authd_oidc_"), "{name}");
    assert!(attributes.to_lowercase().contains("httponly"), "{attributes}");
    let cookie = format!("{name}={value}");
    Away { state: parameters["state"].clone(), nonce: parameters["nonce"].clone(), cookie }
}

async fn arrive(world: &World, query: &str, cookie: &str) -> Answer {
    let headers = [("cookie", cookie), ("accept", "text/html")];
    world.send("GET", &format!("{CALLBACK}?{query}"), &headers, "").await
}

async fn post_logout(world: &World, token: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    world.send("POST", LOGOUT, &headers, &format!("logout_token={token}")).await
}

/// The session cookie that an answer sets
fn session(answer: &Answer) -> Option<String> {
    let cookies = set_cookies(answer);
    let own = cookies.iter().find(|(name, ..)| name == "coder_session_token");
    own.map(|(name, value, _)| format!("{name}={value}"))
}

async fn home(world: &World, session: &str) -> Answer {
    world.send("GET", "/", &[("cookie", session), ("accept", "text/html")], "").await
}

/// Sign-ins and sign-outs of the audit, as kind, reason and proof; the clock stands still, so they
/// are sorted as texts
async fn acts(world: &World) -> Vec<String> {
    world.app.drain_audit().await;
    let sql = "SELECT concat_ws(' ', kind, nullif(reason, ''), proof) FROM authd_acts \
               WHERE kind IN ('log_in', 'log_out') ORDER BY 1";
    world.database.sql(sql).await
}

fn seconds(world: &World) -> u64 {
    world.clock()().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_new_user_signs_in_returns_and_signs_out() {
    let fake = Fake::start().await;
    let mut plan = fake.plan();
    plan.oidc.as_mut().unwrap().provider_logout = true;
    let world = plan.serve().await;
    let form = world.send("GET", "/login?redirect=%2Fx", &[], "").await;
    let form = text(&form);
    assert!(form.contains("Sign in with &lt;Acme&gt;</a>"), "{form}");
    assert!(form.contains(&format!("href=\"{CALLBACK}?redirect=%2Fx\"")), "{form}");
    assert!(form.contains("Session token"), "{form}");

    let signed = fake.sign_in(&world, fake.claims(&world, "dora")).await;
    assert_eq!(
        (signed.status.as_u16(), header(&signed, "location")),
        (303, "/@alice/dev/apps/owner/x?y=1"),
        "{}",
        text(&signed)
    );
    let cookie = session(&signed).unwrap();
    let page = home(&world, &cookie).await;
    assert!(page.status == 200 && text(&page).contains("dora"), "{}", text(&page));
    // The flow is over, and its cookie gone.
    let deleted = set_cookies(&signed);
    assert!(
        deleted.iter().any(|(name, value, _)| name.starts_with("authd_oidc_") && value.is_empty())
    );

    // The same user again, and a page of the provider to sign out there too.
    let again = fake.sign_in(&world, fake.claims(&world, "dora")).await;
    let second = session(&again).unwrap();
    let out = world.send("POST", "/logout", &[("cookie", &second)], "").await;
    let to = header(&out, "location");
    assert!(to.starts_with(&format!("{}/end?client_id=authd&", fake.issuer)), "{to}");
    assert_eq!(home(&world, &second).await.status, 303);
    assert_eq!(home(&world, &cookie).await.status, 200, "another session");
    assert_eq!(
        world.database.sql("SELECT count(*) FROM users WHERE username = 'dora'").await,
        ["1"]
    );
    assert_eq!(acts(&world).await, ["log_in oidc", "log_in oidc", "log_out"]);
}

#[tokio::test]
async fn what_the_provider_says_may_not_be_enough() {
    let fake = Fake::start().await;
    let world = fake.plan().serve().await;
    let with = |name: &str, claim: &str, value: Value| {
        let mut claims = fake.claims(&world, name);
        claims[claim] = value;
        claims
    };
    let mut classes = BTreeSet::new();
    for (claims, class, words) in [
        (with("dora", "email", "dora@evil.example".into()), "email_domain", "e-mail domain"),
        (with("dora", "email", "dora@a.example.com".into()), "email_domain", "e-mail domain"),
        (with("dora", "email", "dora@example.com@evil".into()), "email_domain", "e-mail domain"),
        (with("dora", "email_verified", false.into()), "email_not_verified", "is not verified"),
        (with("dora", "email_verified", Value::Null), "email_not_verified", "is not verified"),
        (with("dora", "email_verified", "false".into()), "email_not_verified", "is not verified"),
        (with("dora", "email_verified", 1.into()), "email_not_verified", "is not verified"),
        (with("dora", "email", Value::Null), "no_email", "has no e-mail address"),
        (fake.claims(&world, "sue"), "suspended", "account is suspended"),
        // alice has a password.
        (fake.claims(&world, "alice"), "address_taken", "Another account here"),
        (with("dora", "nonce", "of-another-flow".into()), "wrong_nonce", "is not valid"),
        (with("dora", "aud", "other".into()), "wrong_audience", "is not valid"),
        (with("dora", "exp", (seconds(&world) - 100).into()), "expired", "is not valid"),
        (with("dora", "iss", "https://evil.example".into()), "wrong_issuer", "is not valid"),
    ] {
        let answer = fake.sign_in(&world, claims.clone()).await;
        assert_eq!((answer.status.as_u16(), session(&answer)), (401, None), "{claims}");
        let page = text(&answer);
        assert!(page.contains(words) && page.contains("<h1>Sign in</h1>"), "{class}: {page}");
        classes.insert(format!("log_in {class} oidc"));
    }
    let count = "SELECT count(*) FROM api_keys WHERE login_type = 'oidc'";
    assert_eq!(world.database.sql(count).await, ["0"]);
    // bob was imported, and is found by the address.
    let answer = fake.sign_in(&world, fake.claims(&world, "bob")).await;
    assert_eq!(answer.status, 303, "{}", text(&answer));
    let linked = world.database.sql("SELECT linked_id FROM user_links").await;
    assert_eq!(linked, [format!("{}||sub-bob", fake.issuer)]);
    classes.insert("log_in oidc".to_owned());
    // Acts of one class have one row an hour.
    assert_eq!(acts(&world).await.into_iter().collect::<BTreeSet<_>>(), classes);
}

#[tokio::test]
async fn a_provider_may_write_texts_and_a_site_may_trust_its_addresses() {
    let fake = Fake::start().await;
    for (ignores, verified, status) in [
        (false, json!("true"), 303),
        (false, json!(false), 401),
        (true, json!(false), 303),
        (true, Value::Null, 303),
    ] {
        let mut plan = fake.plan();
        plan.oidc.as_mut().unwrap().ignore_email_verified = ignores;
        let world = plan.serve().await;
        let mut claims = fake.claims(&world, "dora");
        claims["email_verified"] = verified.clone();
        let answer = fake.sign_in(&world, claims).await;
        assert_eq!(answer.status, status, "{ignores} {verified}: {}", text(&answer));
        assert_eq!(session(&answer).is_some(), status == 303);
    }
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_that_asked() {
    let fake = Fake::start().await;
    let world = fake.plan().serve().await;
    let refused = async |query: &str, cookie: &str| {
        let answer = arrive(&world, query, cookie).await;
        let page = text(&answer);
        assert_eq!((answer.status.as_u16(), session(&answer)), (401, None), "{page}");
        assert!(page.contains("was not begun in this browser"), "{page}");
    };
    let (own, other) = (begin(&world, "/").await, begin(&world, "/").await);
    let mut claims = fake.claims(&world, "dora");
    claims["nonce"] = own.nonce.clone().into();
    fake.answer(&claims);
    let query = format!("code=c&state={}", own.state);
    refused(&query, "").await;
    refused(&query, &other.cookie).await;
    refused(&query, &format!("{}x", own.cookie)).await;
    refused("code=c&state=", &own.cookie).await;
    refused("code=c", &own.cookie).await;
    // A cookie under the name of the other flow does not help: the sealed text counts.
    let name = own.cookie.split_once('=').unwrap().0;
    let value = other.cookie.split_once('=').unwrap().1;
    refused(&query, &format!("{name}={value}")).await;
    // Two tabs do not get in each other's way.
    let both = format!("{}; {}", other.cookie, own.cookie);
    let signed = arrive(&world, &query, &both).await;
    assert!(signed.status == 303 && session(&signed).is_some(), "{}", text(&signed));
    let deleted = set_cookies(&signed);
    let deleted: Vec<_> = deleted.iter().filter(|(_, value, _)| value.is_empty()).collect();
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    assert!(own.cookie.starts_with(&deleted[0].0));
    // The same address again, also with the cookie that was deleted.
    refused(&query, "").await;
    let again = arrive(&world, &query, &both).await;
    assert!(again.status == 401 && text(&again).contains("already been used"), "{}", text(&again));

    // A flow is good for ten minutes.
    world.move_clock(601);
    refused(&format!("code=c&state={}", other.state), &other.cookie).await;

    let away = begin(&world, "//evil.example/x").await;
    let denied = format!("error=access_denied&state={}", away.state);
    let answer = arrive(&world, &denied, &away.cookie).await;
    assert!(text(&answer).contains("The provider has not signed you in"), "{}", text(&answer));
    // What is not a path of this host is not returned to.
    let away = begin(&world, "//evil.example/x").await;
    let mut claims = fake.claims(&world, "dora");
    claims["nonce"] = away.nonce.into();
    fake.answer(&claims);
    let answer = arrive(&world, &format!("code=c&state={}", away.state), &away.cookie).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "location")), (303, "/"));
}

#[tokio::test]
async fn flows_that_a_browser_leaves_do_not_add_up() {
    let fake = Fake::start().await;
    let world = fake.plan().serve().await;
    let mut cookies = Vec::new();
    for _ in 0..4 {
        cookies.push(begin(&world, &format!("/{}", "x".repeat(2_500))).await.cookie);
    }
    assert!(cookies.iter().all(|cookie| cookie.len() < 4_000));
    let headers = [("cookie", &*cookies.join("; "))];
    let answer = world.send("GET", CALLBACK, &headers, "").await;
    let set = set_cookies(&answer);
    assert_eq!((set.len(), set.iter().filter(|(_, value, _)| value.is_empty()).count()), (5, 4));
    // An address that no cookie holds leads to the start page.
    let away = begin(&world, &format!("/{}", "x".repeat(9_000))).await;
    assert!(away.cookie.len() < 1_000);
}

#[tokio::test]
async fn the_provider_signs_users_out() {
    let fake = Fake::start().await;
    let world = fake.plan().serve().await;
    let sign_in = async |name: &str, sid: &str| {
        let mut claims = fake.claims(&world, name);
        claims["sid"] = sid.into();
        let signed = fake.sign_in(&world, claims).await;
        session(&signed).unwrap_or_else(|| panic!("{}", text(&signed)))
    };
    let (one, two, bob) =
        (sign_in("dora", "sid-1").await, sign_in("dora", "sid-2").await, sign_in("bob", "s").await);
    let is_in = async |session: &str| home(&world, session).await.status == 200;
    for (what, token, class) in [
        ("nothing", String::new(), "malformed_token"),
        ("an ID token", fake.token(&fake.claims(&world, "dora")), "not_a_logout_token"),
        (
            "another audience",
            fake.logout_token(&world, |claims| claims["aud"] = "x".into()),
            "wrong_audience",
        ),
        (
            "a nonce",
            fake.logout_token(&world, |claims| claims["nonce"] = "n".into()),
            "not_a_logout_token",
        ),
    ] {
        let answer = post_logout(&world, &token).await;
        let body = text(&answer);
        assert_eq!(answer.status, 400, "{what}: {body}");
        assert!(body.contains(class) && body.contains("invalid_request"), "{what}: {body}");
    }
    assert!(is_in(&one).await && is_in(&two).await && is_in(&bob).await);
    let token = fake.logout_token(&world, |_| ());
    let answer = post_logout(&world, &token).await;
    assert_eq!((answer.status.as_u16(), &*text(&answer)), (200, r#"{"ended":1}"#));
    assert!(header(&answer, "cache-control").contains("no-store"));
    assert!(!is_in(&one).await && is_in(&two).await && is_in(&bob).await);
    // Once.
    let again = post_logout(&world, &token).await;
    assert!(again.status == 400 && text(&again).contains("replayed"), "{}", text(&again));
    let all = fake.logout_token(&world, |claims| {
        claims.as_object_mut().unwrap().remove("sid");
    });
    assert_eq!(text(&post_logout(&world, &all).await), r#"{"ended":1}"#);
    assert!(!is_in(&two).await && is_in(&bob).await);
    let gone = fake.logout_token(&world, |_| ());
    assert_eq!(text(&post_logout(&world, &gone).await), r#"{"ended":0}"#);
    let kinds = acts(&world).await;
    assert_eq!(kinds.iter().filter(|act| **act == "log_out oidc").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn groups_and_roles_are_those_of_the_claims() {
    let fake = Fake::start().await;
    let mut plan = fake.plan();
    let home = plan.rows.organizations.iter().find(|of| of.name == "default").unwrap().id;
    plan.rows.group("crew", home, &[]);
    plan.rows.group("makers", home, &[]);
    let oidc = plan.oidc.as_mut().unwrap();
    oidc.group_field = Some("groups".to_owned());
    oidc.group_mapping =
        OidcConfig::parse_groups(r#"{"6f1d": "crew", "/staff": "makers", "8a2b": "x\u0000"}"#)
            .unwrap();
    oidc.user_role_field = Some("realm_access.roles".to_owned());
    oidc.user_role_mapping = vec![OidcConfig::parse_role("admins=owner").unwrap()];
    let world = plan.serve().await;
    let groups = "SELECT g.name FROM group_members m JOIN groups g ON g.id = m.group_id ORDER BY 1";
    let roles = "SELECT rbac_roles::text FROM users WHERE username = 'dora'";
    for (claims, in_groups, in_roles) in [
        (json!(["/crew", "makers", "unknown"]), vec!["crew", "makers"], "{owner}"),
        (json!("makers"), vec!["makers"], "{owner}"),
        (json!(["6f1d", "/6f1d", "8a2b"]), vec!["crew"], "{owner}"),
        (json!(["/staff", "crew"]), vec!["crew", "makers"], "{owner}"),
        (Value::Null, vec![], "{owner}"),
    ] {
        let mut all = fake.claims(&world, "dora");
        all["groups"] = claims;
        all["realm_access"] = json!({ "roles": ["admins", "offline_access"] });
        assert_eq!(fake.sign_in(&world, all).await.status, 303);
        assert_eq!(world.database.sql(groups).await, in_groups);
        assert_eq!(world.database.sql(roles).await, [in_roles]);
    }
    assert_eq!(fake.sign_in(&world, fake.claims(&world, "dora")).await.status, 303);
    assert_eq!(world.database.sql(roles).await, ["{}"], "a claim that is missing is an empty list");
}

#[tokio::test]
async fn a_site_may_take_no_tokens_and_no_new_users() {
    let fake = Fake::start().await;
    let mut plan = fake.plan();
    let oidc = plan.oidc.as_mut().unwrap();
    oidc.session_tokens = false;
    oidc.allow_signups = false;
    let world = plan.serve().await;
    let form = text(&world.send("GET", "/login", &[], "").await);
    assert!(!form.contains("Session token") && form.contains("Sign in with"), "{form}");
    let body = format!("token={}", world.token("bob"));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = world.send("POST", "/login", &headers, &body).await;
    assert_eq!((answer.status.as_u16(), session(&answer)), (403, None));
    let answer = fake.sign_in(&world, fake.claims(&world, "dora")).await;
    assert!(answer.status == 401 && text(&answer).contains("no account here yet"));
}

#[tokio::test]
async fn a_provider_that_fails_is_not_the_visitors_fault() {
    let fake = Fake::start().await;
    let world = fake.plan().serve().await;
    // Of the code, which a stranger may have made up, and of the client.
    for (failure, status, words) in [
        ("400 Bad Request", 401, "The provider has not accepted this sign-in"),
        ("401 Unauthorized", 503, "The identity provider does not answer as it should"),
        ("500 Internal Server Error", 503, "The identity provider does not answer as it should"),
    ] {
        *fake.tokens.lock().unwrap() = Err(failure);
        let away = begin(&world, "/").await;
        let answer = arrive(&world, &format!("code=c&state={}", away.state), &away.cookie).await;
        let page = text(&answer);
        assert!(answer.status == status && page.contains(words), "{failure}: {page}");
    }

    let mut plan = fake.plan();
    let nowhere = format!("http://{}", crate::real::nowhere());
    plan.oidc = Some(OidcConfig::new(&nowhere, "authd", &plan.config.access_url).unwrap());
    let world = plan.serve().await;
    let answer = world.send("GET", CALLBACK, &[("accept", "text/html")], "").await;
    assert_eq!(answer.status, 503, "{}", text(&answer));
    let answer = post_logout(&world, "a.b.c").await;
    assert_eq!(answer.status, 503, "{}", text(&answer));
}

#[tokio::test]
async fn attempts_that_fail_are_limited() {
    let fake = Fake::start().await;
    let mut plan = fake.plan();
    plan.limits.failed_log_ins_per_minute = 3;
    let world = plan.serve().await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(arrive(&world, "code=c&state=x", "").await.status.as_u16());
    }
    assert_eq!(seen[..3], [401; 3]);
    assert_eq!(seen[4], 429, "{seen:?}");
    assert_eq!(post_logout(&world, "a.b.c").await.status, 429);
}

#[tokio::test]
async fn without_a_provider_there_is_nothing_to_sign_in_at() {
    let world = World::new().await;
    for (method, path) in [("GET", CALLBACK), ("POST", LOGOUT)] {
        assert_eq!(world.send(method, path, &[], "").await.status, 404, "{path}");
    }
    assert!(!text(&world.send("GET", "/login", &[], "").await).contains("OpenID"));
}
