use std::time::Duration;

use hyper::Uri;
use identity_fetch::{FetchError, Fetched, Fetcher, Reach, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::world::{Reply, World};

const LIMIT: usize = 1000;

/// A world in which `site.test` gives that answer
fn site(answer: Reply) -> World {
    let world = World::default();
    world.host("site.test", "1.1.1.1", move |_| answer.clone());
    world
}

async fn get(world: &World, url: &str) -> Result<Fetched, FetchError> {
    Fetcher::new(world.network(), Reach::Public).get(&url.parse().unwrap(), LIMIT).await
}

async fn get_from(answer: Reply) -> Result<Fetched, FetchError> {
    get(&site(answer), "http://site.test/x").await
}

#[tokio::test(start_paused = true)]
async fn a_complete_answer_is_fetched() {
    let body = vec![b'x'; LIMIT];
    let world = site(Reply::with("200 OK", "Cache-Control: max-age=60\r\nAge: 9\r\n", &body));
    let fetched = get(&world, "http://site.test/a%20b?c=d").await.unwrap();
    assert_eq!(fetched.body, body);
    assert_eq!(fetched.lifetime, Some(Duration::from_secs(51)));

    let [request] = &world.requests()[..] else { panic!("{:?}", world.requests()) };
    let request = request.to_ascii_lowercase();
    assert!(request.starts_with("get /a%20b?c=d http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nhost: site.test\r\n"), "{request}");
}

#[tokio::test(start_paused = true)]
async fn no_redirect_is_followed() {
    for to in ["http://127.0.0.1/", "http://site.test/y", "/y", "https://elsewhere.test/"] {
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
        {
            let world = site(Reply::with(status, &format!("location: {to}\r\n"), ""));
            let error = get(&world, "http://site.test/x").await.unwrap_err();
            assert!(matches!(error, FetchError::Status(got) if status.starts_with(got.as_str())));
            assert_eq!(world.connected().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_status_200_is_an_answer() {
    for status in ["204 No Content", "206 Partial Content", "404 Not Found", "500 Internal"] {
        let error = get_from(Reply::status(status)).await.unwrap_err();
        assert!(matches!(error, FetchError::Status(_)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_not_read_to_its_end() {
    for answer in [
        Reply::ok(vec![b'x'; LIMIT + 1]),
        // Declares a large body and sends none.
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()),
        Reply::Endless,
    ] {
        let error = get_from(answer).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: LIMIT }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_or_malformed_answer_is_an_error() {
    let endless_head = [&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 100 << 10]].concat();
    let many_headers = ["HTTP/1.1 200 OK\r\n", &"x: y\r\n".repeat(65), "\r\n"].concat();
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &endless_head,
        many_headers.as_bytes(),
    ] {
        let error = get_from(Reply::Bytes(bytes.to_vec())).await.unwrap_err();
        assert!(matches!(error, FetchError::Broken(_)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_times_out_after_five_seconds() {
    let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
    for answer in [Reply::Silence, Reply::Slow(slow)] {
        let started = Instant::now();
        let error = get_from(answer).await.unwrap_err();
        assert!(matches!(error, FetchError::TimedOut), "{error:?}");
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_resolves_differently_the_second_time_does_not_reach_private_addresses() {
    let world = World::default();
    world.name("site.test", &[&["10.0.0.1"], &["1.1.1.1"], &["169.254.169.254"]]);
    for address in ["10.0.0.1", "1.1.1.1", "169.254.169.254"] {
        world.serve(address, |_| Reply::ok("hi"));
    }
    let error = get(&world, "http://site.test/x").await.unwrap_err();
    assert!(matches!(error, FetchError::NoAllowedAddress), "{error:?}");
    assert_eq!(world.connected(), []);
    get(&world, "http://site.test/x").await.unwrap();
    assert_eq!(world.connected(), ["1.1.1.1:80".parse().unwrap()]);
    get(&world, "http://site.test/x").await.unwrap_err();
    assert_eq!(world.connected().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn private_addresses_beside_public_ones_are_skipped() {
    let world = World::default();
    world.name("site.test", &[&["127.0.0.1", "::1", "1.1.1.1", "::ffff:10.0.0.1", "1.0.0.1"]]);
    world.serve("127.0.0.1", |_| Reply::ok("secret"));
    world.serve("1.0.0.1", |_| Reply::ok("hi"));
    // The first public one refuses the connection.
    assert_eq!(get(&world, "http://site.test/x").await.unwrap().body, "hi");
    assert_eq!(world.connected(), ["1.1.1.1:80", "1.0.0.1:80"].map(|a| a.parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn addresses_in_place_of_names_are_checked_in_the_same_way() {
    let world = World::default();
    for address in ["127.0.0.1", "::1", "1.1.1.1", "2606:4700::1"] {
        world.serve(address, |_| Reply::ok("hi"));
    }
    for (host, reached) in
        [("127.0.0.1", false), ("[::1]", false), ("1.1.1.1", true), ("[2606:4700::1]", true)]
    {
        let url = format!("http://{host}/");
        assert_eq!(get(&world, &url).await.is_ok(), reached, "{host}");
        let anywhere = Fetcher::new(world.network(), Reach::Anywhere);
        anywhere.get(&url.parse().unwrap(), LIMIT).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_http_and_https_urls_are_fetched() {
    let world = site(Reply::ok("hi"));
    for url in [
        "/x",
        "site.test",
        "ftp://site.test/x",
        "file://site.test/etc/passwd",
        "http://user@site.test/x",
        "http://1.1.1.1@site.test/x",
        "http://site.test@site.test/x",
        "http://site.test:80@site.test/x",
        "http://site.test:/x",
        "http://site.test:99999/x",
    ] {
        let fetched = get(&world, url).await;
        assert!(matches!(fetched, Err(FetchError::Url)), "{url}: {fetched:?}");
    }
    let error = get(&world, "http://unknown.test/x").await.unwrap_err();
    assert!(matches!(error, FetchError::Resolve(_)), "{error:?}");
    assert_eq!(world.connected(), []);
}

/// Over real sockets and the machine's resolver
#[tokio::test]
async fn a_server_on_loopback_is_reached_only_if_the_operator_wrote_the_url() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
    });
    let network = std::sync::Arc::new(System);
    let public = Fetcher::new(network.clone(), Reach::Public);
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let url: Uri = format!("http://{host}:{port}/").parse().unwrap();
        let error = public.get(&url, LIMIT).await.unwrap_err();
        assert!(matches!(error, FetchError::NoAllowedAddress), "{host}: {error:?}");
    }
    let url: Uri = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let fetched = Fetcher::new(network, Reach::Anywhere).get(&url, LIMIT).await.unwrap();
    assert_eq!((&*fetched.body, fetched.lifetime), (&b"hi"[..], None));
    server.await.unwrap();
}

/// Fetches through a proxy that gives that answer
async fn tunnel(answer: Reply) -> FetchError {
    let world = World::default();
    world.host("proxy.test", "10.0.0.1", move |_| answer.clone());
    let fetcher = Fetcher::through(world.network(), "http://proxy.test:3128".parse().unwrap());
    let error = fetcher.get(&Uri::from_static("https://site.test/"), LIMIT).await.unwrap_err();
    assert_eq!(world.connected(), ["10.0.0.1:3128".parse().unwrap()]);
    error
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_proxy_is_bounded_in_time_and_size() {
    let started = Instant::now();
    let silent = tunnel(Reply::Silence).await;
    assert!(matches!(silent, FetchError::TimedOut), "{silent:?}");
    assert_eq!(started.elapsed().as_secs(), 5);

    // Without the limits these would open the tunnel.
    let long = format!("x: {}\r\n", "x".repeat(100 << 10));
    for headers in [long, "x: y\r\n".repeat(65)] {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        let error = tunnel(Reply::Bytes(head.into_bytes())).await;
        assert!(matches!(error, FetchError::Broken(_)), "{error:?}");
    }
}
