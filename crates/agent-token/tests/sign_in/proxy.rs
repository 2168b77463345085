use std::collections::HashMap;

use agent_token::{Cloud, Machine, RetryTimeout};
use identity_verify::test_util::server::Answer;
use testkit::net::{ForwardProxy, TlsFront};

use crate::world::{TOKEN, World, complaint, page, sign_in_path, spoil};

fn environment(pairs: &[(&'static str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: HashMap<_, _> = pairs.iter().cloned().collect();
    move |name| pairs.get(name).cloned()
}

/// The machine of `world` with the control plane at `url`, reached through the proxy of `env`
fn machine(world: &World, url: &str, env: &[(&'static str, String)]) -> Machine {
    let machine = world.machine_at(url).in_environment(environment(env), None).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    Machine { metadata, cloud: Some(Cloud::Azure), ..machine }
}

#[tokio::test]
async fn a_control_plane_without_tls_is_requested_in_absolute_form() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let port = world.control_plane.address().port();
    let url = format!("http://coder.invalid:{port}/");
    let with_user = format!("http://al:pa%20ss@{}", proxy.address);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let machine = machine(&world, &url, &[(name, with_user.clone())]);
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{name}");
        let (line, authorization) = proxy.seen().pop().unwrap();
        let path = sign_in_path(Cloud::Azure);
        assert_eq!(line, format!("POST http://coder.invalid:{port}{path} HTTP/1.1"), "{name}");
        // RFC 7617, of `al:pa ss`
        assert_eq!(authorization.as_deref(), Some("Basic YWw6cGEgc3M="));
        let request = world.control_plane.requests().pop().unwrap();
        assert_eq!(request.header("host"), Some(&*format!("coder.invalid:{port}")));
        assert_eq!(request.header("proxy-authorization"), None);
    }
    // The metadata service was asked directly each time.
    assert_eq!(proxy.seen().len(), 4 * 2, "a nonce is asked for first");
    assert_eq!(world.metadata.requests().len(), 4);
}

#[tokio::test]
async fn a_control_plane_with_tls_is_reached_through_a_tunnel() {
    let world = World::of(Cloud::Azure);
    let secure = TlsFront::start("coder.invalid", world.control_plane.address()).await;
    let (port, proxy) = (secure.address.port(), ForwardProxy::start().await);
    let url = format!("https://coder.invalid:{port}");
    let with_user = format!("http://al@{}", proxy.address);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let env = environment(&[(name, with_user.clone())]);
        let machine = world.machine_at(&url).in_environment(env, Some(&secure.ca_file)).unwrap();
        let metadata = world.machine_of_any_cloud().metadata;
        let machine = Machine { metadata, cloud: Some(Cloud::Azure), ..machine };
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{name}");
        let (line, authorization) = proxy.seen().pop().unwrap();
        assert_eq!(line, format!("CONNECT coder.invalid:{port} HTTP/1.1"), "{name}");
        assert_eq!(authorization.as_deref(), Some("Basic YWw6"));
        let request = world.control_plane.requests().pop().unwrap();
        assert_eq!(request.path, sign_in_path(Cloud::Azure));
        assert_eq!(request.header("proxy-authorization"), None);
    }
}

#[tokio::test]
async fn a_proxy_may_speak_tls_or_socks() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let secure_proxy = TlsFront::start("localhost", proxy.address).await;
    let port = world.control_plane.address().port();
    let url = format!("http://coder.invalid:{port}");
    let value = format!("https://localhost:{}", secure_proxy.address.port());
    let env = environment(&[("HTTP_PROXY", value)]);
    let machine = world.machine_at(&url).in_environment(env, Some(&secure_proxy.ca_file)).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    let machine = Machine { metadata: metadata.clone(), cloud: Some(Cloud::Azure), ..machine };
    assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN);
    assert!(proxy.seen().pop().unwrap().0.starts_with("POST http://coder.invalid:"));

    for scheme in ["socks5", "socks5h"] {
        let env = environment(&[("ALL_PROXY", format!("{scheme}://{}", proxy.address))]);
        let machine = world.machine_at(&url).in_environment(env, None).unwrap();
        let machine = Machine { metadata: metadata.clone(), cloud: Some(Cloud::Azure), ..machine };
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{scheme}");
        assert_eq!(proxy.seen().pop().unwrap().0, format!("SOCKS coder.invalid:{port}"));
    }
}

#[tokio::test]
async fn hosts_in_no_proxy_are_reached_directly() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let url = world.control_plane.url("");
    let through = ("HTTP_PROXY", format!("http://{}", proxy.address));
    for name in ["NO_PROXY", "no_proxy"] {
        let env = [through.clone(), (name, "localhost, 127.0.0.0/8".to_owned())];
        assert_eq!(machine(&world, &url, &env).sign_in().await.unwrap().reveal(), TOKEN);
        assert!(proxy.seen().is_empty(), "{name}");
    }
    assert_eq!(machine(&world, &url, &[through]).sign_in().await.unwrap().reveal(), TOKEN);
    assert_eq!(proxy.seen().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_is_busy_is_asked_again_and_one_that_refuses_is_named() {
    let world = World::of(Cloud::Azure);
    let secure = TlsFront::start("coder.invalid", world.control_plane.address()).await;
    let proxy = ForwardProxy::start().await;
    let value = format!("http://user:hunter2@{}", proxy.address);
    for secure_url in [false, true] {
        let (scheme, port, name) = match secure_url {
            true => ("https", secure.address.port(), "HTTPS_PROXY"),
            false => ("http", world.control_plane.address().port(), "HTTP_PROXY"),
        };
        let url = format!("{scheme}://coder.invalid:{port}");
        let env = environment(&[(name, value.clone())]);
        let machine = world.machine_at(&url).in_environment(env, Some(&secure.ca_file)).unwrap();
        let metadata = world.machine_of_any_cloud().metadata;
        let machine = Machine { metadata, cloud: Some(Cloud::Azure), ..machine };

        proxy.refuse(&["503 Busy", "502 Bad Gateway", "504 Late"]);
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{scheme}");
        for (refusal, part) in [("403 Forbidden", "403"), ("407 Auth", "407")] {
            // The request for a nonce, and what follows.
            proxy.refuse(&[refusal; 2]);
            let said = complaint(&machine).await;
            assert!(said.contains(part) && !said.contains("hunter2"), "{scheme}: {said}");
            let named = format!("the proxy `http://{}` of {name}", proxy.address);
            assert!(said.contains(&named), "{said}");
            let needs_user = said.contains("requires a user and a password");
            assert_eq!(needs_user, part == "407", "{said}");
        }
    }
}

#[tokio::test]
async fn an_unreachable_proxy_is_named() {
    let world = World::of(Cloud::Azure);
    let env = [("HTTP_PROXY", "http://127.0.0.1:1".to_owned())];
    let machine = machine(&world, "http://coder.invalid", &env);
    let machine = Machine { retry_timeout: RetryTimeout::Once, ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("the proxy `http://127.0.0.1:1` of HTTP_PROXY: no connection"), "{said}");
}

#[tokio::test]
async fn a_redirect_through_a_proxy_is_not_followed_either() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let path = sign_in_path(Cloud::Azure);
    spoil(&world.control_plane, ("POST", &path), 1, |_| {
        Answer::status(302).with_header("Location", "http://portal.example.com/")
    });
    let env = [("HTTP_PROXY", format!("http://{}", proxy.address))];
    let said = complaint(&machine(&world, &world.control_plane.url(""), &env)).await;
    assert!(said.contains("`http://portal.example.com/`"), "{said}");
    let named = format!("went through the proxy `http://{}` of HTTP_PROXY", proxy.address);
    assert!(said.contains(&named), "{said}");
    assert_eq!(proxy.seen().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_may_have_answered_itself_is_named() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let path = sign_in_path(Cloud::Azure);
    let refusal = r#"{"message":"Invalid Azure identity."}"#;
    for (answer, named) in [
        (page(), true),
        (Answer { status: 403, ..page() }, true),
        (Answer { status: 404, ..page() }, true),
        // Only a control plane answers like this.
        (Answer { body: refusal.into(), ..Answer::status(401) }, false),
    ] {
        spoil(&world.control_plane, ("POST", &path), 1, move |_| answer.clone());
        let env = [("HTTP_PROXY", format!("http://{}", proxy.address))];
        let said = complaint(&machine(&world, &world.control_plane.url(""), &env)).await;
        let via = said.contains(&format!("went through the proxy `http://{}`", proxy.address));
        assert_eq!(via, named, "{said}");
    }
}
