//! App tokens that were issued before something was found that does not hold any more

use std::time::Duration;

use serde_json::json;

use crate::world::{Plan, World, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

/// The cookie with the app token of a visitor who opens the app with a session
async fn open(world: &World, name: &str) -> String {
    let headers = [("coder-session-token", world.token(name)), ("accept", "application/json")];
    let opened = world.visit(HOST, "/", &headers).await;
    assert_eq!(opened.status, 200, "{}", text(&opened));
    let (name, value, _) = set_cookies(&opened).pop().unwrap();
    format!("{name}={value}")
}

#[tokio::test]
async fn a_token_of_before_opens_an_app_until_it_is_not_shared_any_more() {
    let mut plan = Plan::new();
    plan.revocations = true;
    let world = plan.serve().await;
    let share = async |users: &[&str]| {
        let headers =
            [("coder-session-token", world.token("alice")), ("content-type", "application/json")];
        let body = json!({
            "workspace": "alice/dev", "agent": "agent", "app": "owner", "users": users, "groups": [],
        });
        let path = "/api/v2/authd/shares";
        assert_eq!(world.send("PUT", path, &headers, &body.to_string()).await.status, 200);
    };
    share(&["bob"]).await;
    let (alice, bob) = (open(&world, "alice").await, open(&world, "bob").await);
    // The token alone, without a session
    let by_token = async |cookie: &str| world.visit(HOST, "/", &[("cookie", cookie)]).await.status;
    for cookie in [&alice, &bob] {
        assert_eq!(by_token(cookie).await, 200);
    }
    share(&[]).await;
    // It is looked for twice a second, and the token would be good for a minute.
    for _ in 0..100 {
        if by_token(&bob).await != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(by_token(&bob).await, 303);
    assert_eq!(by_token(&alice).await, 200, "the token of another visitor");
}
