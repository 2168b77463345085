//! `authd-demo --serve` prints a link that signs in and opens an app

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, COOKIE, HOST, LOCATION, SET_COOKIE};
use testkit::net::{Answer, Client};

/// A browser that keeps cookies by host, and resolves what is below `localhost` to this machine
struct Browser {
    client: Client,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    fn new() -> Self {
        Self { client: Client::new(), cookies: BTreeMap::new() }
    }

    /// Follows redirects
    async fn open(&mut self, url: &str) -> Answer {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let rest = url.strip_prefix("http://").unwrap();
            let (host, path) = rest.split_once('/').unwrap();
            let (name, port) = host.split_once(':').unwrap();
            assert!(name.ends_with(".localhost"), "{url}");
            // A cookie for a domain is sent to all hosts below it.
            let sent: Vec<String> = self
                .cookies
                .iter()
                .filter(|(domain, _)| name == *domain || name.ends_with(&format!(".{domain}")))
                .flat_map(|(_, cookies)| {
                    cookies.iter().map(|(key, value)| format!("{key}={value}"))
                })
                .collect();
            let cookies = sent.join("; ");
            let headers = [(HOST, host), (ACCEPT, "text/html"), (COOKIE, &*cookies)];
            let address = format!("http://127.0.0.1:{port}/{path}");
            let answer = self.client.send(Method::GET, &address, &headers, Bytes::new());
            let answer = answer.await.unwrap();
            for cookie in answer.headers.get_all(SET_COOKIE) {
                let cookie = cookie.to_str().unwrap();
                let (key, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
                let domain = cookie.split("; Domain=").nth(1);
                let domain = domain.map_or(name, |rest| rest.split(';').next().unwrap());
                let jar = self.cookies.entry(domain.trim_start_matches('.').to_owned());
                jar.or_default().insert(key.to_owned(), value.to_owned());
            }
            match answer.headers.get(LOCATION) {
                Some(location) => url = location.to_str().unwrap().to_owned(),
                None => return answer,
            }
        }
        panic!("too many redirects: {url}");
    }
}

#[tokio::test]
async fn the_link_signs_in_and_opens_the_app() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_authd-demo"))
        .arg("--serve")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut urls = lines.by_ref().filter_map(|line| {
        line.split(' ').find(|word| word.contains(".localhost:")).map(str::to_owned)
    });
    let [link, app, stopped] = std::array::from_fn(|_| urls.next().unwrap());

    let text = |answer: &Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let signed_out = Browser::new().open(&app).await;
    assert!(text(&signed_out).contains("Sign in"), "{}", text(&signed_out));
    let mut browser = Browser::new();
    let opened = browser.open(&link).await;
    assert_eq!(opened.status.as_u16(), 200, "{}", text(&opened));
    assert!(text(&opened).contains("This is the app"), "{}", text(&opened));
    assert!(text(&opened).contains("sees: none"), "{}", text(&opened));
    assert!(text(&browser.open(&app).await).contains("This is the app"));
    assert_eq!(browser.open(&stopped).await.status.as_u16(), 400);

    let id = rustix::process::Pid::from_raw(demo.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(demo.wait().unwrap().success());
}
