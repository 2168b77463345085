//! A control plane that carries visits that authd has decided: a model of its handler of apps and
//! terminals, as far as that reads requests and app tokens
//!
//! Written from the behaviour of the real one, without code of authd: it reads host and path like
//! a server in Go, tries four cookies, and compares names byte by byte. If the token does not
//! admit a request, the real one would then query its database for the visitor.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::app::{App, Head, respond};
use crate::world::World;

/// The requests that it received, and the app that it carries visits to
#[derive(Clone)]
pub struct ControlPlane {
    pub app: App,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request and its outcome
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: Head,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried to an app or a terminal
    Carried,
    /// For an app or a terminal, without a token that admits it
    Undecided,
    /// For the dashboard or the API
    Own,
}

/// The configuration of the handler
struct Settings {
    dashboard: &'static str,
    /// The part of the pattern of app hosts after the `*`
    suffix: &'static str,
    /// Sequences and secrets of the keys of app tokens
    keys: Vec<(String, Vec<u8>)>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl ControlPlane {
    /// Starts a control plane beside that authd, over the same database
    pub async fn beside(world: &World) -> Self {
        let rows = world
            .database
            .sql(
                "select sequence || ' ' || secret from crypto_keys
                 where feature = 'workspace_apps_token' and secret is not null",
            )
            .await;
        let key = |row: &String| {
            let (sequence, hex) = row.split_once(' ').unwrap();
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let secret = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            (sequence.to_owned(), secret)
        };
        let settings = Settings {
            dashboard: "coder.test",
            suffix: ".test.coder.com",
            keys: rows.iter().map(key).collect(),
            clock: Box::new(world.clock()),
        };
        let (app, listener) = App::bind().await;
        let control_plane = Self { app, seen: Arc::default() };
        let (serving, settings) = (control_plane.clone(), Arc::new(settings));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (control_plane, settings) = (serving.clone(), Arc::clone(&settings));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let head = control_plane.app.read(&mut stream).await?;
                    let (outcome, refusal) = settings.judge(&head);
                    let seen = Seen { head: head.clone(), outcome };
                    control_plane.seen.lock().unwrap().push(seen);
                    match refusal {
                        Some((status, why)) => respond(&mut stream, status, &json!(why)).await,
                        None => control_plane.app.answer(&mut stream, &head).await,
                    }
                });
            }
        });
        control_plane
    }

    pub fn address(&self) -> &str {
        &self.app.address
    }

    /// The requests since the last call
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Settings {
    /// Decides the outcome of a request, and the answer if the request is not carried
    fn judge(&self, head: &Head) -> (Outcome, Option<(u16, &'static str)>) {
        // `X-Forwarded-Host` is preferred to `Host`.
        let host =
            head.header("x-forwarded-host").or_else(|| head.header("host")).unwrap_or_default();
        let (raw, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let requests = match self.label(host) {
            Some("coder-logout") => return (Outcome::Own, Some((303, "log out"))),
            Some(label) => of_label(label),
            None => match of_path(raw) {
                Some(request) => vec![request],
                None => return (Outcome::Own, None),
            },
        };
        match self.token(head, query) {
            _ if requests.is_empty() => (Outcome::Own, Some((400, "no app of that name"))),
            // Which of the two readings of a host is right depends on the release.
            Some(token) if requests.iter().any(|request| is_for(&token, request)) => {
                (Outcome::Carried, None)
            }
            _ => (Outcome::Undecided, Some((303, "sign in"))),
        }
    }

    /// The part of an app's host that names the app; `None` for hosts that do not match the
    /// pattern in its exact case, which are the dashboard's
    fn label<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = host.split(':').next().unwrap();
        if name.trim_matches('.').eq_ignore_ascii_case(self.dashboard) {
            return None;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name.strip_suffix(self.suffix).filter(|label| !label.is_empty() && !label.contains('.'))
    }

    /// The first token that is authentic and not expired; later ones are not tried, even if it does
    /// not match the request
    fn token(&self, head: &Head, query: &str) -> Option<Value> {
        let in_query = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("coder_signed_app_token_23db1dde="))
            .find(|token| !token.is_empty());
        let cookies = head.cookies("coder_signed_app_token");
        let tokens = in_query.into_iter().chain(cookies).take(4);
        let claims = tokens.filter_map(|token| self.verify(token)).next()?;
        let is_terminal = claims["request"]["access_method"] == "terminal";
        (in_query.is_none() || is_terminal).then_some(claims)
    }

    fn verify(&self, token: &str) -> Option<Value> {
        let decode = |part: &str| {
            let padding = "===".get(..(4 - part.len() % 4) % 4)?;
            let text = part.replace('-', "+").replace('_', "/") + padding;
            openssl::base64::decode_block(&text).ok()
        };
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().ok()?;
        let fields: Value = serde_json::from_slice(&decode(header)?).ok()?;
        let (_, secret) = self.keys.iter().find(|(sequence, _)| fields["kid"] == **sequence)?;
        let key = PKey::hmac(secret).unwrap();
        let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
        let signed = format!("{header}.{payload}");
        let own = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        if fields["alg"] != "HS512" || own != decode(signature)? {
            return None;
        }
        let claims: Value = serde_json::from_slice(&decode(payload)?).ok()?;
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64()?);
        (ends + LEEWAY >= (self.clock)()).then_some(claims)
    }
}

/// A request for an app or a terminal, by the names in it
fn request(method: &str, base_path: &str, names: [&str; 5]) -> Value {
    let [prefix, user, workspace, agent, slug] = names;
    json!({
        "access_method": method, "base_path": base_path, "app_prefix": prefix,
        "username_or_id": user, "workspace_name_or_id": workspace,
        "agent_name_or_id": agent, "app_slug_or_port": slug,
    })
}

/// The requests that `[PREFIX---]SLUG[--AGENT]--WORKSPACE--USER` can mean
///
/// Before v2.27 the agent was required. Since then only hosts of ports have it, and it is ignored
/// in an app's host.
fn of_label(label: &str) -> Vec<Value> {
    let (prefix, name) = label.rfind("---").map_or(("", label), |at| label.split_at(at + 3));
    let sound = |part: &&str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
    let parts: Vec<&str> = name.split("--").filter(sound).collect();
    let digits = parts.first().map_or("", |slug| slug.strip_suffix('s').unwrap_or(slug));
    let is_port = (4..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let of = |names| request("subdomain", "/", names);
    match parts[..] {
        [slug, agent, workspace, user] if is_port => {
            vec![of([prefix, user, workspace, agent, slug])]
        }
        [slug, agent, workspace, user] => vec![
            of([prefix, user, workspace, agent, slug]),
            of([prefix, user, workspace, "", slug]),
        ],
        [slug, workspace, user] if !is_port => vec![of([prefix, user, workspace, "", slug])],
        _ => vec![],
    }
}

/// The request of a raw path, if it is that of an app or a terminal
fn of_path(raw: &str) -> Option<Value> {
    // Go keeps the raw path only if encoding the decoded path would give a different text. The
    // router matches the raw path if there is one.
    let path = decoded(raw);
    let routed = if encoded(&path) == raw { &path } else { raw };
    let agent = routed.strip_prefix("/api/v2/workspaceagents/").and_then(|rest| {
        rest.strip_suffix("/pty").filter(|agent| !agent.contains('/') && !agent.is_empty())
    });
    if let Some(agent) = agent {
        return Some(request("terminal", &format!("{path}/"), ["", "", "", agent, ""]));
    }
    let named = routed.strip_prefix("/@").or_else(|| routed.strip_prefix("/%40"))?;
    let mut parts = named.splitn(5, '/');
    let (user, joined, apps) = (parts.next()?, parts.next()?, parts.next()?);
    let (slug, below) = (parts.next()?, parts.next().unwrap_or_default());
    if apps != "apps" || slug.is_empty() {
        return None;
    }
    let mut base_path = path.strip_suffix(below).unwrap_or(&path).to_owned();
    if !base_path.ends_with('/') {
        base_path.push('/');
    }
    let (workspace, agent) = joined.split_once('.').unwrap_or((joined, ""));
    Some(request("path", &base_path, ["", user, workspace, agent, slug]))
}

/// Whether the token was issued for exactly the names in the request
fn is_for(token: &Value, request: &Value) -> bool {
    let fields = request.as_object().unwrap();
    fields.iter().all(|(name, value)| token["request"][name] == *value)
}

fn decoded(raw: &str) -> String {
    let mut decoded = Vec::new();
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
        let byte = if byte == b'%' { digit() * 16 + digit() } else { byte.into() };
        decoded.push(u8::try_from(byte).unwrap());
    }
    String::from_utf8(decoded).unwrap()
}

fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
    path.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The leeway for clocks in the library of the real one
const LEEWAY: Duration = Duration::from_secs(60);

#[test]
fn hosts_of_both_forms_are_read() {
    let agents = |label: &str| -> Vec<String> {
        let agent = |request: &Value| request["agent_name_or_id"].as_str().unwrap().to_owned();
        of_label(label).iter().map(agent).collect()
    };
    assert_eq!(agents("code--dev--alice"), [""]);
    assert_eq!(agents("code--main--dev--alice"), ["main", ""]);
    assert_eq!(agents("8080--main--dev--alice"), ["main"]);
    assert_eq!(agents("8080s--main--dev--alice"), ["main"]);
    assert!(agents("8080--dev--alice").is_empty());
    assert!(agents("dev--alice").is_empty() && agents("a--b--c--d--e").is_empty());
    assert_eq!(of_label("x---y---code--dev--alice")[0]["app_prefix"], "x---y---");
}

#[test]
fn base_paths_are_read_as_by_a_server_in_go() {
    for (raw, base_path) in [
        ("/@alice/dev/apps/x", "/@alice/dev/apps/x/"),
        ("/@alice/dev/apps/x/a%20b", "/@alice/dev/apps/x/"),
        ("/%40alice/dev/apps/x/a(1)", "/@alice/dev/apps/x/"),
        ("/@alice/dev/apps/x/a%20(1)", "/@alice/dev/apps/x/a (1)/"),
    ] {
        assert_eq!(of_path(raw).unwrap()["base_path"], base_path, "{raw}");
    }
    assert!(of_path("/@alice/dev/%61pps/x/").is_none() && of_path("/x/@a/b/apps/c/").is_none());
}
