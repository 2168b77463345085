//! A control plane that carries what authd decided: its own handler of apps and terminals, as
//! far as it reads requests and app tokens
//!
//! Written from what the real one does, and with nothing of ours: it reads host and path as a
//! server in Go does, tries four cookies, and compares names byte by byte. Where the token does
//! not let a request in, the real one would now ask its database who the visitor is.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::app::{App, Head, respond};
use crate::world::World;

/// What it was asked, and the app that it carries requests to
#[derive(Clone)]
pub struct ControlPlane {
    pub app: App,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request, and what became of it
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: Head,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried to an app or a terminal
    Carried,
    /// For an app or a terminal, and no token lets it in
    Undecided,
    /// The dashboard's own, or the interface's
    Own,
}

/// What the handler was built with
struct Settings {
    dashboard: &'static str,
    /// What follows the `*` in the pattern of app hosts
    suffix: &'static str,
    /// Sequence and secret of the keys of app tokens
    keys: Vec<(String, Vec<u8>)>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl ControlPlane {
    /// One beside that authd, over the same database
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

    /// What was asked since this was asked last
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Settings {
    /// What becomes of a request, and what it is answered if it is not carried to anything
    fn judge(&self, head: &Head) -> (Outcome, Option<(u16, &'static str)>) {
        // A header of proxies goes before `Host`.
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

    /// The part of an app's host that names the app; hosts that are not of the pattern as it is
    /// written are the dashboard's
    fn label<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = host.split(':').next().unwrap();
        if name.trim_matches('.').eq_ignore_ascii_case(self.dashboard) {
            return None;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name.strip_suffix(self.suffix).filter(|label| !label.is_empty() && !label.contains('.'))
    }

    /// The first token that is authentic and good; whether it matches is seen later, and no
    /// further one is tried
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
        let told: Value = serde_json::from_slice(&decode(header)?).ok()?;
        let (_, secret) = self.keys.iter().find(|(sequence, _)| told["kid"] == **sequence)?;
        let key = PKey::hmac(secret).unwrap();
        let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
        let signed = format!("{header}.{payload}");
        let own = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        if told["alg"] != "HS512" || own != decode(signature)? {
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

/// What `[PREFIX---]SLUG[--AGENT]--WORKSPACE--USER` asks for
///
/// Before v2.27 the agent was always there. Since then it is a port's alone, and one that an app's
/// host names is passed over.
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

/// What a raw path asks for, if it is an app's or a terminal's
fn of_path(raw: &str) -> Option<Value> {
    // Go keeps the raw path only where it would spell the decoded one in another way, and the
    // router looks at the raw one if it is there.
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

/// Whether the token was issued for that request, by all of its names
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

/// What the library of the real one allows, as clocks differ
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
fn base_paths_are_read_as_a_server_in_go_does() {
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
