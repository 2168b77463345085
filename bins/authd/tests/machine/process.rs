use std::time::{Duration, Instant};

use identity_verify::Cloud;
use tokio::process::Command;

use crate::proxy::ForwardProxy;
use crate::tls::Secure;
use crate::world::{TOKEN, World};

/// Standard output and error of `authd agent-token` in this environment alone
async fn agent_token(url: &str, world: &World, env: &[(&str, String)]) -> (String, String) {
    let metadata = world.metadata.url("");
    let said = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["agent-token", "--url", url, "--metadata-url", &metadata, "--patience", "0"])
        .env_clear()
        .envs(env.iter().cloned())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(said.stdout), text(said.stderr))
}

#[tokio::test]
async fn the_process_heeds_proxies_and_authorities_of_its_environment() {
    let world = World::of(Cloud::Azure);
    let secure = Secure::start("coder.invalid", world.control_plane.address()).await;
    let proxy = ForwardProxy::start().await;
    let ca_file = secure.ca_file.to_str().unwrap().to_owned();
    let through = format!("http://{}", proxy.address);
    let url = format!("https://coder.invalid:{}", secure.address.port());

    for name in ["SSL_CERT_FILE", "AUTHD_CA_FILE"] {
        let env = [("HTTPS_PROXY", through.clone()), (name, ca_file.clone())];
        let (token, told) = agent_token(&url, &world, &env).await;
        assert_eq!((&*token, &*told), (&*format!("{TOKEN}\n"), ""), "{name}");
    }
    assert_eq!(proxy.seen().len(), 2);
    // Without the proxy the name does not resolve.
    let exception = ("NO_PROXY", "coder.invalid".to_owned());
    let env = [("HTTPS_PROXY", through.clone()), ("SSL_CERT_FILE", ca_file), exception];
    let (token, told) = agent_token(&url, &world, &env).await;
    assert!(token.is_empty() && told.contains("no connection: dns"), "{told}");

    // The metadata service is asked directly, whatever the environment says.
    let url = world.control_plane.url("");
    let nowhere = "http://127.0.0.1:1".to_owned();
    let env = [("HTTPS_PROXY", nowhere.clone()), ("HTTP_PROXY", through), ("ALL_PROXY", nowhere)];
    let (token, told) = agent_token(&url, &world, &env).await;
    assert_eq!(token, format!("{TOKEN}\n"), "{told}");
    assert!(proxy.seen().pop().unwrap().0.starts_with("POST http://127.0.0.1:"));
}

/// Not a test but a measurement, for docs/performance.md:
/// `cargo test --release -p authd --test machine -- --ignored --nocapture cold_start`
#[tokio::test]
#[ignore = "a measurement, which depends on the machine"]
async fn cold_start_to_token() {
    let world = World::of(Cloud::Aws);
    let secure = Secure::start("localhost", world.control_plane.address()).await;
    let ca_file = ("AUTHD_CA_FILE", secure.ca_file.to_str().unwrap().to_owned());
    let secure_url = format!("https://localhost:{}", secure.address.port());
    for (what, url) in [("http", world.control_plane.url("")), ("https", secure_url)] {
        let mut times = Vec::new();
        for _ in 0..51 {
            let began = Instant::now();
            let (token, told) = agent_token(&url, &world, std::slice::from_ref(&ca_file)).await;
            times.push(began.elapsed());
            assert_eq!(token, format!("{TOKEN}\n"), "{told}");
        }
        times.sort_unstable();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: median {median:.1?}, slowest {slowest:.1?}");
        assert!(median < Duration::from_millis(50), "{what}: {median:?}");
    }
}
