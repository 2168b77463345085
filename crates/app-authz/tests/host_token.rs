//! App tokens and hosts that name an agent, as releases of the control plane differ

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod facts;

use std::time::{Duration, SystemTime};

use app_authz::address::AgentInHost::{self, OfAll, OfPorts};
use app_authz::address::AppName;
use app_authz::app::UncheckedRequest;
use app_authz::rbac::{Levels, Role, Scope, Subject};
use app_authz::token::{AppToken, CryptoKey, Feature, Hs512Key, KeyRing, LEEWAY, Secret};
use app_authz::{AppRequest, Rules, decide, resolve};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{HS512, JwsSigner};
use serde_json::{Value, json};
use uuid::Uuid;

use self::facts::AGENT;

const SECRET: [u8; 64] = [7; 64];

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ring() -> KeyRing<Hs512Key> {
    let starts_at = now() - Duration::from_secs(3600);
    let key = CryptoKey::new(Feature::WorkspaceAppsToken, 3, Secret::new(SECRET), starts_at);
    KeyRing::new(&[key]).unwrap()
}

fn verify(token: &str) -> AppToken {
    ring().verify(token, now(), LEEWAY).unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The request for the root of a host, under a rule
fn of_host(label: &str, rule: AgentInHost) -> AppRequest {
    let name: AppName = label.parse().unwrap();
    AppRequest::try_from(UncheckedRequest::from(name)).unwrap().under(rule)
}

/// The request as a proxy sends it, which read a host itself
fn of_proxy(method: &str, agent: &str) -> AppRequest {
    let request = UncheckedRequest {
        access_method: method.to_owned(),
        base_path: "/".to_owned(),
        username_or_id: "foo".to_owned(),
        workspace_name_or_id: "bar".to_owned(),
        agent_name_or_id: agent.to_owned(),
        app_slug_or_port: "qux".to_owned(),
        ..UncheckedRequest::default()
    };
    request.try_into().unwrap()
}

/// A token that we sign for the request, which leads to the agent `baz`
fn sign(request: &AppRequest) -> String {
    let facts = facts::of_app("baz", request.slug_or_port());
    let target = resolve(request, Some(&facts), Rules::default()).unwrap();
    let everything = Levels::site(["*:*".parse().unwrap()].into_iter().collect());
    let role = Role::new("all".parse().unwrap(), everything);
    let subject = Subject::new(facts.workspace.owner, [role.into()], Scope::all());
    let permit = decide(&target, Some(&subject), Rules::default()).unwrap();
    let signed = ring().sign(&permit, now()).unwrap();
    assert_eq!(verify(signed.reveal()), **signed.token());
    signed.reveal().to_owned()
}

/// A token as a control plane signs it: the agent only in the request
fn sign_as_control_plane(slug: &str, agent: &str) -> String {
    let claims = json!({
        "exp": 1_800_000_030_u64,
        "request": {
            "access_method": "subdomain", "base_path": "/", "app_prefix": "",
            "username_or_id": "foo", "workspace_name_or_id": "bar", "agent_name_or_id": agent,
            "app_slug_or_port": slug,
        },
        "user_id": Uuid::from_u128(1), "workspace_id": Uuid::from_u128(2), "agent_id": AGENT,
        "app_url": "http://127.0.0.1:8080",
    });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS512","kid":"3"}"#);
    let text = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let signer = HS512.signer_from_bytes(SECRET).unwrap();
    format!("{text}.{}", encode(&signer.sign(text.as_bytes()).unwrap()))
}

#[test]
fn a_token_of_a_control_plane_is_accepted_on_hosts_of_both_forms() {
    for (slug, agent, host, accepted) in [
        // Since v2.27 the agent in an app's host is ignored.
        ("qux", "", "qux--bar--foo", true),
        ("qux", "", "qux--baz--bar--foo", true),
        ("8080", "baz", "8080--baz--bar--foo", true),
        ("8080", "baz", "8080--other--bar--foo", false),
        ("8080", "", "8080--baz--bar--foo", false),
        ("80", "", "80--baz--bar--foo", true),
        // Before v2.27 it was compared.
        ("qux", "baz", "qux--baz--bar--foo", true),
        ("qux", "baz", "qux--other--bar--foo", false),
        ("qux", "baz", "qux--bar--foo", false),
        ("80", "baz", "80--baz--bar--foo", true),
        ("80", "baz", "80--other--bar--foo", false),
        // Another app, workspace, owner, prefix, or another spelling.
        ("qux", "", "quux--bar--foo", false),
        ("qux", "", "quux--baz--bar--foo", false),
        ("qux", "", "qux--baz--bart--foo", false),
        ("qux", "", "qux--bar--fool", false),
        ("qux", "", "pre---qux--bar--foo", false),
        ("qux", "", "Qux--bar--foo", false),
    ] {
        let token = verify(&sign_as_control_plane(slug, agent));
        let asked = of_host(host, OfPorts);
        assert_eq!(token.matches(&asked), accepted, "{slug} of `{agent}` at {host}");
    }
}

#[test]
fn the_agent_is_signed_in_the_request_or_beside_it() {
    for (host, rule, in_request) in [
        ("qux--bar--foo", OfPorts, ""),
        ("qux--bar--foo", OfAll, ""),
        ("qux--baz--bar--foo", OfPorts, ""),
        ("qux--baz--bar--foo", OfAll, "baz"),
        ("8080--baz--bar--foo", OfPorts, "baz"),
        ("8080--baz--bar--foo", OfAll, "baz"),
        ("80--baz--bar--foo", OfPorts, ""),
    ] {
        let token = sign(&of_host(host, rule));
        let claims = claims(&token);
        assert_eq!(claims["request"]["agent_name_or_id"], in_request, "{host} {rule:?}");
        let beside = if in_request.is_empty() { json!("baz") } else { Value::Null };
        assert_eq!(claims["agent_name"], beside, "{host} {rule:?}");
        // The request is made before the release of the control plane is known.
        assert!(verify(&token).matches(&of_host(host, OfPorts)), "{host} {rule:?}");
    }
    for (method, agent, beside) in [
        ("subdomain", "", json!("baz")),
        ("subdomain", "baz", Value::Null),
        ("path", "", Value::Null),
        ("path", "baz", Value::Null),
    ] {
        let claims = claims(&sign(&of_proxy(method, agent)));
        assert_eq!(claims["request"]["agent_name_or_id"], agent);
        assert_eq!(claims["agent_name"], beside, "{method} {agent}");
    }
}

#[test]
fn a_token_does_not_open_the_app_of_another_agent() {
    let id = |n: u128| format!("qux--{}--bar--foo", Uuid::from_u128(n));
    for signed in [of_host("qux--bar--foo", OfPorts), of_proxy("subdomain", "")] {
        let token = verify(&sign(&signed));
        for (host, accepted) in [
            ("qux--bar--foo", true),
            ("qux--baz--bar--foo", true),
            ("qux--Baz--bar--foo", true),
            (&*id(4), true),
            ("qux--other--bar--foo", false),
            (&*id(5), false),
        ] {
            assert_eq!(token.matches(&of_host(host, OfPorts)), accepted, "{host}");
        }
    }
    let port = verify(&sign(&of_host("80--baz--bar--foo", OfPorts)));
    assert!(!port.matches(&of_host("80--other--bar--foo", OfPorts)));
    let older = verify(&sign(&of_host("qux--baz--bar--foo", OfAll)));
    assert!(!older.matches(&of_host("qux--other--bar--foo", OfPorts)));
    assert!(!older.matches(&of_host("qux--bar--foo", OfPorts)));
}
