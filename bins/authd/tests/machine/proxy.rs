#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use authd::machine::{Machine, Patience};
use identity_verify::Cloud;
use identity_verify::test_util::server::Answer;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::tls::Secure;
use crate::world::{TOKEN, World, complaint, sign_in_path, spoil};

/// A forward proxy: tunnels and the absolute form (RFC 9110, 9.3.6; RFC 9112, 3.2.2), and
/// SOCKS 5 (RFC 1928)
pub struct ForwardProxy {
    pub address: SocketAddr,
    /// The first line of each request, and what authorizes it
    seen: Seen,
    /// Answered to this many requests before any is served
    refusals: Arc<Mutex<Vec<&'static str>>>,
}

impl ForwardProxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, refusals) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (log, script) = (Arc::clone(&seen), Arc::clone(&refusals));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(serve(BufReader::new(stream), log, script));
            }
        });
        Self { address, seen, refusals }
    }

    pub fn seen(&self) -> Vec<(String, Option<String>)> {
        self.seen.lock().unwrap().clone()
    }

    fn refuse(&self, with: &[&'static str]) {
        *self.refusals.lock().unwrap() = with.to_vec();
    }
}

type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn serve(
    mut stream: BufReader<TcpStream>,
    seen: Seen,
    refusals: Arc<Mutex<Vec<&'static str>>>,
) -> Option<()> {
    if stream.fill_buf().await.ok()?.first() == Some(&5) {
        return socks(stream, seen).await;
    }
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let authorization = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    seen.lock().unwrap().push((head[0].clone(), authorization));
    let refusal = refusals.lock().unwrap().pop();
    if let Some(refusal) = refusal {
        let answer = format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
        return None;
    }
    let mut words = head[0].split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if method == "CONNECT" {
        let mut upstream = TcpStream::connect(local(target)).await.ok()?;
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
        return None;
    }
    let (authority, path) = target.strip_prefix("http://")?.split_once('/')?;
    let mut upstream = TcpStream::connect(local(authority)).await.ok()?;
    let mut passed = format!("{method} /{path} HTTP/1.1\r\n");
    for line in head[1..].iter().filter(|line| !line.to_ascii_lowercase().starts_with("proxy-")) {
        passed.push_str(&format!("{line}\r\n"));
    }
    upstream.write_all(format!("{passed}\r\n").as_bytes()).await.ok()?;
    copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
    None
}

/// A name that only the proxy can resolve
fn local(authority: &str) -> String {
    authority.replace("coder.invalid", "127.0.0.1")
}

async fn socks(mut stream: BufReader<TcpStream>, seen: Seen) -> Option<()> {
    let [_version, methods] = stream.read_u16().await.ok()?.to_be_bytes();
    stream.read_exact(&mut vec![0; methods.into()]).await.ok()?;
    stream.write_all(&[5, 0]).await.ok()?;
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.ok()?;
    // CONNECT to a domain name
    assert_eq!(request[..4], [5, 1, 0, 3]);
    let mut name = vec![0; request[4].into()];
    stream.read_exact(&mut name).await.ok()?;
    let port = stream.read_u16().await.ok()?;
    let authority = format!("{}:{port}", String::from_utf8(name).unwrap());
    seen.lock().unwrap().push((format!("SOCKS {authority}"), None));
    let mut upstream = TcpStream::connect(local(&authority)).await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
    None
}

fn environment(pairs: &[(&'static str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: HashMap<_, _> = pairs.iter().cloned().collect();
    move |name| pairs.get(name).cloned()
}

/// The machine of `world` with a control plane of this name behind `env`
fn machine(world: &World, url: &str, env: &[(&'static str, String)]) -> Machine {
    let machine = world.machine_at(url).in_environment(environment(env), None).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    Machine { metadata, cloud: Some(Cloud::Azure), ..machine }
}

#[tokio::test]
async fn a_control_plane_without_tls_is_asked_for_in_absolute_form() {
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
    assert_eq!(proxy.seen().len(), 4);
    assert_eq!(world.metadata.requests().len(), 4);
}

#[tokio::test]
async fn a_control_plane_with_tls_is_reached_through_a_tunnel() {
    let world = World::of(Cloud::Azure);
    let secure = Secure::start("coder.invalid", world.control_plane.address()).await;
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
    let secure_proxy = Secure::start("localhost", proxy.address).await;
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
async fn hosts_of_the_list_are_reached_directly() {
    let (world, proxy) = (World::of(Cloud::Azure), ForwardProxy::start().await);
    let url = world.control_plane.url("");
    let through = ("HTTP_PROXY", format!("http://{}", proxy.address));
    for name in ["NO_PROXY", "no_proxy"] {
        let env = [through.clone(), (name, "localhost, 127.0.0.0/8".to_owned())];
        assert_eq!(machine(&world, &url, &env).sign_in().await.unwrap().reveal(), TOKEN);
        assert!(proxy.seen().is_empty(), "{name}");
    }
    assert_eq!(machine(&world, &url, &[through]).sign_in().await.unwrap().reveal(), TOKEN);
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_is_busy_is_asked_again_and_one_that_refuses_is_named() {
    let world = World::of(Cloud::Azure);
    let secure = Secure::start("coder.invalid", world.control_plane.address()).await;
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
            proxy.refuse(&[refusal]);
            let said = complaint(&machine).await;
            assert!(said.contains(part) && !said.contains("hunter2"), "{scheme}: {said}");
            if secure_url {
                let named = format!("the proxy `http://{}` of {name}", proxy.address);
                assert!(said.contains(&named), "{said}");
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let world = World::of(Cloud::Azure);
    let env = [("HTTP_PROXY", "http://127.0.0.1:1".to_owned())];
    let machine = machine(&world, "http://coder.invalid", &env);
    let machine = Machine { patience: Patience::Once, ..machine };
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
    assert_eq!(proxy.seen().len(), 1);
}
