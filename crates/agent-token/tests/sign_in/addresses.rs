use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_token::{Cloud, Machine, RetryTimeout, Timeouts};
use identity_verify::test_util::server::{Answer, Server};

use crate::world::{TOKEN, World, complaint, first_request, serve};

/// The clouds' own addresses, in a network of the test
///
/// They are link-local and some need privileges, so the test below runs in its own namespace.
#[test]
fn metadata_services_are_found_at_their_own_addresses() {
    let namespaces =
        [&["--net", "--mount"][..], &["--user", "--map-root-user", "--net", "--mount"]];
    let unshare = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(options);
        command
    };
    let works = |options: &&&[&str]| {
        unshare(options).args(["ip", "link", "set", "lo", "up"]).status().is_ok_and(|s| s.success())
    };
    let Some(options) = namespaces.iter().find(works) else {
        // Some sandboxes do not allow namespaces, whatever is installed.
        let installed = Command::new("ip").arg("-V").output().is_ok();
        let required = std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_some();
        assert!(installed || !required, "there is no `ip`");
        eprintln!("WARNING: no network namespace: THE CLOUDS' ADDRESSES WERE NOT TESTED");
        return;
    };
    let inside = unshare(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "addresses::inside_a_namespace", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success() && said.contains("1 passed"), "{inside:?}");
}

#[test]
#[ignore = "needs a network namespace of its own, which another test makes"]
fn inside_a_namespace() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(every_address());
    // Without waiting for a resolver that does not answer.
    runtime.shutdown_background();
}

async fn every_address() {
    ip(&["link", "set", "lo", "up"]);

    // Neither a route nor a name.
    let world = World::of(Cloud::Aws);
    for cloud in [None, Some(Cloud::Aws), Some(Cloud::Azure), Some(Cloud::Google)] {
        let machine = Machine { retry_timeout: RetryTimeout::Once, ..machine(&world, cloud) };
        let said = complaint(&machine).await;
        assert!(said.contains("`http://169.254.169.254/"), "{said}");
        assert!(cloud != Some(Cloud::Aws) || said.contains("`http://[fd00:ec2::254]/"), "{said}");
    }

    // AWS by IPv6, if IPv4 has no route.
    ip(&["-6", "addr", "add", "fd00:ec2::254/128", "dev", "lo", "nodad"]);
    let six = at("[fd00:ec2::254]:80");
    serve(&six, Cloud::Aws);
    signs_in(&world, &[None, Some(Cloud::Aws)]).await;
    assert!(!six.requests().is_empty());

    // AWS by IPv4 if both answer: the other is not asked.
    let asked = six.requests().len();
    ip(&["addr", "add", "169.254.169.254/32", "dev", "lo"]);
    let four = at("169.254.169.254:80");
    serve(&four, Cloud::Aws);
    signs_in(&world, &[None, Some(Cloud::Aws)]).await;
    assert_eq!(six.requests().len(), asked);
    drop((four, six));

    // Google by its address, if its name does not resolve.
    let four = at("169.254.169.254:80");
    serve(&four, Cloud::Google);
    // The service that answers at one address is not asked at the others.
    let (method, path) = first_request(Cloud::Google);
    four.on(method, path, |_| Answer::status(503));
    let once =
        Machine { retry_timeout: RetryTimeout::Once, ..machine(&world, Some(Cloud::Google)) };
    let said = complaint(&once).await;
    assert!(said.contains("answered 503") && !said.contains("fd20:ce::254"), "{said}");
    serve(&four, Cloud::Google);
    signs_in(&World::of(Cloud::Google), &[None, Some(Cloud::Google)]).await;

    // A sign-in that does not need the resolver does not wait for it.
    let resolver = UdpSocket::bind("127.0.0.1:53").unwrap();
    let settings = file("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n");
    bind(&settings, "/etc/resolv.conf");
    signs_in(&World::of(Cloud::Google), &[None, Some(Cloud::Google)]).await;
    drop(four);
    for cloud in [Cloud::Aws, Cloud::Azure] {
        let four = at("169.254.169.254:80");
        serve(&four, cloud);
        let (method, path) = first_request(Cloud::Google);
        four.on(method, path, |_| Answer::status(404));
        signs_in(&World::of(cloud), &[None, Some(cloud)]).await;
    }
    drop(resolver);

    // Google by its IPv6 address, on an instance without IPv4.
    ip(&["addr", "del", "169.254.169.254/32", "dev", "lo"]);
    ip(&["-6", "addr", "add", "fd20:ce::254/128", "dev", "lo", "nodad"]);
    let six = at("[fd20:ce::254]:80");
    serve(&six, Cloud::Google);
    signs_in(&World::of(Cloud::Google), &[None, Some(Cloud::Google)]).await;
    assert!(!six.requests().is_empty());
    drop(six);

    // Google by its name.
    ip(&["-6", "addr", "del", "fd20:ce::254/128", "dev", "lo"]);
    bind(&file("hosts", "127.0.0.9 metadata.google.internal\n"), "/etc/hosts");
    let named = at("127.0.0.9:80");
    serve(&named, Cloud::Google);
    signs_in(&World::of(Cloud::Google), &[None, Some(Cloud::Google)]).await;
    assert!(!named.requests().is_empty());
}

/// The machine with the clouds' own addresses, and timeouts that a test would notice
fn machine(world: &World, cloud: Option<Cloud>) -> Machine {
    let long = Timeouts { connect: Duration::from_secs(20), answer: Duration::from_secs(20) };
    let machine = world.machine_at(&world.control_plane.url(""));
    Machine { cloud, metadata_timeouts: long, ..machine }
}

async fn signs_in(world: &World, clouds: &[Option<Cloud>]) {
    for cloud in clouds {
        let began = Instant::now();
        let token = machine(world, *cloud).sign_in().await;
        assert_eq!(token.unwrap().reveal(), TOKEN, "{cloud:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{cloud:?}: {:?}", began.elapsed());
    }
}

fn at(address: &str) -> Server {
    Server::start_at(address.parse::<SocketAddr>().unwrap())
}

fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().unwrap().success(), "ip {words:?}");
}

/// Mounts `file` over another, in this namespace only
fn bind(file: &PathBuf, over: &str) {
    let mounted = Command::new("mount").arg("--bind").arg(file).arg(over).status().unwrap();
    assert!(mounted.success(), "{over}");
}

fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("authd-{}-{name}", uuid::Uuid::new_v4()));
    std::fs::write(&path, content).unwrap();
    path
}
