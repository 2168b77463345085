//! Shared ports, and cross-origin requests

use hyper::StatusCode;
use store::fleet::{CorsBehavior, SharingLevel};

use crate::api::undocumented;
use crate::world::{Plan, World, header};

fn host(port: &str) -> String {
    format!("{port}--agent--dev--alice.test.coder.com")
}

async fn opens(world: &World, port: &str, who: &str) -> u16 {
    let token = if who.is_empty() { "" } else { world.token(who) };
    world.visit(&host(port), "/", &[("coder-session-token", token)]).await.status.as_u16()
}

// scenario 201, 202, 204
#[tokio::test]
async fn a_port_is_shared_by_its_number() {
    let mut plan = Plan::new();
    plan.share_port(9001, SharingLevel::Authenticated);
    plan.share_port(9002, SharingLevel::Public);
    plan.share_port(9003, SharingLevel::Organization);
    let world = plan.serve().await;
    assert_eq!(opens(&world, "9000", "bob").await, 404);
    assert_eq!(opens(&world, "9000", "alice").await, 200);
    assert_eq!(opens(&world, "9001", "carol").await, 200);
    assert_eq!(opens(&world, "9001", "").await, 303);
    assert_eq!(opens(&world, "9002", "").await, 200);
    assert_eq!(opens(&world, "9002s", "").await, 200);
    assert_eq!(opens(&world, "9003", "bob").await, 200);
    assert_eq!(opens(&world, "9003", "carol").await, 404);
}

#[tokio::test]
async fn the_maximum_level_of_a_template_limits_shares_if_enforced() {
    for (enforce, status) in [(false, 200), (true, 404)] {
        let mut plan = Plan::new();
        plan.share_port(9001, SharingLevel::Authenticated);
        plan.config.rules = plan.config.rules.enforce_max_port_sharing(enforce);
        let world = plan.serve().await;
        assert_eq!(opens(&world, "9001", "bob").await, status);
    }
}

// scenario 205, 207, 208, 210, 211
#[tokio::test]
async fn the_proxy_learns_which_cors_headers_apply() {
    for (behavior, expected) in
        [(CorsBehavior::Simple, "simple"), (CorsBehavior::Passthru, "passthru")]
    {
        let mut plan = Plan::new();
        plan.share_port(9001, SharingLevel::Authenticated);
        plan.share_port(9002, SharingLevel::Public);
        plan.cors(behavior);
        let world = plan.serve().await;
        for (port, who) in [("9000", "alice"), ("9001", "bob"), ("9002", "")] {
            let token = if who.is_empty() { "" } else { world.token(who) };
            let session = [("coder-session-token", token), ("origin", "https://other.example")];
            let answer = world.visit(&host(port), "/", &session).await;
            assert_eq!(answer.status, StatusCode::OK, "{port}");
            assert_eq!(header(&answer, "x-authd-cors"), expected, "{port}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
}

// scenario 213, 214
#[tokio::test]
async fn preflights_are_visits_like_any_other() {
    let mut plan = Plan::new();
    plan.share_port(9001, SharingLevel::Authenticated);
    plan.share_port(9002, SharingLevel::Public);
    plan.cors(CorsBehavior::Passthru);
    let world = plan.serve().await;
    for (port, who, status) in [("9002", "", 200), ("9001", "bob", 200), ("9001", "", 303)] {
        for origin in ["https://9002--agent--dev--alice.test.coder.com", "https://other.example"] {
            for method in ["OPTIONS", "GET"] {
                let token = if who.is_empty() { "" } else { world.token(who) };
                let headers = [
                    ("x-forwarded-method", method),
                    ("origin", origin),
                    ("access-control-request-method", "GET"),
                    ("coder-session-token", token),
                ];
                let answer = world.visit(&host(port), "/", &headers).await;
                assert_eq!(answer.status.as_u16(), status, "{port} {method} {origin}");
            }
        }
    }
}

#[tokio::test]
async fn preflights_are_answered_if_the_proxy_can_relay_the_answer() {
    let world = World::new().await;
    let host = "owner--agent--dev--alice.test.coder.com";
    let check = async |proxy: &str, method: &str, headers: &[(&str, &str)]| {
        let mut all = vec![
            ("host", host),
            ("x-forwarded-host", host),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", method),
            ("origin", "https://9002--agent--dev--alice.test.coder.com"),
        ];
        all.extend(headers);
        world.send(method, &format!("/api/v2/forward-auth/{proxy}"), &all, "").await
    };
    let ahead = [("access-control-request-method", "PUT")];
    let answered = check("caddy", "OPTIONS", &ahead).await;
    // Never 2xx, which would forward the request to the app.
    assert_eq!(answered.status, StatusCode::FORBIDDEN);
    assert_eq!(header(&answered, "x-authd-preflight"), "allowed");
    assert_eq!(header(&answered, "access-control-allow-methods"), "PUT");
    let answered = check("nginx", "OPTIONS", &ahead).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    let headers = [("x-authd-answer", header(&answered, "x-authd-answer"))];
    let given = world.send("OPTIONS", "/api/v2/forward-auth/nginx/answer", &headers, "").await;
    assert_eq!(given.status, StatusCode::NO_CONTENT);
    assert_eq!(
        undocumented("GET", "/api/v2/forward-auth/nginx/answer", given.status, &given.headers),
        None
    );
    assert_eq!(header(&given, "access-control-allow-methods"), "PUT");
    // Envoy continues only with 200.
    let answered = check("envoy", "OPTIONS", &ahead).await;
    assert_eq!(answered.status, StatusCode::NO_CONTENT);
    let envoy = "/api/v2/forward-auth/envoy";
    assert_eq!(undocumented("GET", envoy, answered.status, &answered.headers), None);
    assert_eq!(header(&answered, "access-control-allow-methods"), "PUT");
    assert!(world.rows().await.is_empty());

    // Other methods are not preflights, nor is OPTIONS without a requested method.
    let twice =
        [("access-control-request-method", "PUT"), ("access-control-request-method", "GET")];
    for (proxy, method, headers) in [
        ("traefik", "OPTIONS", &ahead[..]),
        ("caddy", "GET", &ahead),
        ("envoy", "GET", &ahead),
        ("caddy", "OPTIONS", &[]),
        ("caddy", "OPTIONS", &twice),
    ] {
        let visit = check(proxy, method, headers).await;
        assert_eq!(visit.status, StatusCode::UNAUTHORIZED, "{proxy} {method}");
        assert!(!visit.headers.contains_key("access-control-allow-methods"));
    }
    let session = [("coder-session-token", world.token("alice"))];
    for proxy in ["traefik", "envoy/", "caddy", "nginx"] {
        let opened = check(proxy, "GET", &session).await;
        let origin = "https://9002--agent--dev--alice.test.coder.com";
        assert_eq!(header(&opened, "x-authd-cors-origin"), origin, "{proxy}");
    }
}
