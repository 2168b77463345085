//! Long addresses and headers arrive, or are answered with a page

use hyper::Method;

use crate::everyday::{DASHBOARD, Front, HOST};
use crate::proxy::Program;
use crate::world::{Plan, header, location, set_cookies, text};

/// An address of so many bytes that consists of `part`
pub fn address(part: &str, bytes: usize) -> String {
    format!("/deep/link?q={}", part.repeat(bytes / part.len()))
}

impl Front {
    /// A signed-out visitor follows a long link, signs in at the dashboard, and arrives
    async fn follow(&self, link: &str) {
        let place = format!("{:?} {} bytes of {:?}", self.program, link.len(), &link[..20]);
        let get = async |host: &str, uri: &str, cookie: &str| {
            let headers = [("cookie", cookie), ("accept", "text/html")];
            let answer = self.proxy.ask(Method::GET, (host, uri), &headers, "").await;
            assert_eq!(answer.status, 303, "{place}: {}", text(&answer));
            let to = location(&answer);
            let query = to.query().map_or(String::new(), |query| format!("?{query}"));
            (answer, format!("{}{query}", to.path()))
        };
        let (leaving, asked) = get(HOST, link, "").await;
        let (name, value, _) = &set_cookies(&leaving)[0];
        let leaving = format!("{name}={value}");
        let session = format!("coder_session_token={}", self.world.token("alice"));
        let (_, arriving) = get(DASHBOARD, &asked, &session).await;
        let (arrived, back) = get(HOST, &arriving, &leaving).await;
        assert!(back == link, "{place}: {}", &back[..100]);

        let (name, token, _) = &set_cookies(&arrived)[0];
        let own = format!("{}={}", "own", "c".repeat(15_000));
        let cookie = format!("{own}; {name}={token}");
        let authorization = format!("Bearer {}", "b".repeat(15_000));
        let headers = [("cookie", &*cookie), ("authorization", &*authorization)];
        for uri in [link, "/"] {
            self.app.seen();
            let opened = self.proxy.ask(Method::GET, (HOST, uri), &headers, "").await;
            assert_eq!(opened.status, 200, "{place}: {}", text(&opened));
            let seen = self.app.seen().remove(0);
            assert!(seen.target == uri, "{place}");
            assert_eq!(seen.header("cookie"), Some(&*own), "{place}");
            assert_eq!(seen.header("authorization"), Some(&*authorization), "{place}");
        }
    }

    /// Beyond the limits there is a page
    async fn beyond(&self) {
        for (uri, cookie) in [(500_000, 10), (10, 500_000), (250_000, 250_000)] {
            let uri = address("a", uri);
            let cookie = "c".repeat(cookie);
            let answer = self
                .proxy
                .raw(&format!(
                    "GET {uri} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nCookie: own={cookie}\r\n\r\n"
                ))
                .await;
            let status = answer.get(9..12).unwrap_or_default();
            let place = format!("{:?} {} {}: {answer}", self.program, uri.len(), cookie.len());
            assert!(["414", "431"].contains(&status), "{place}");
            assert!(answer.contains("<h1>") && answer.contains("Too Long</h1>"), "{place}");
            assert!(answer.to_lowercase().contains("content-type: text/html"), "{place}");
        }
    }
}

async fn all(program: Program) {
    let Some(front) = Front::planned(program, Plan::new(), &[]).await else { return };
    for (part, bytes) in
        [("a", 4_000), ("abcdefghijklmno&p=", 16_000), ("%2F", 16_000), ("{a:[1]},", 16_000)]
    {
        front.follow(&address(part, bytes)).await;
    }
    front.beyond().await;
    let front_door = [("coder-session-token", front.world.token("alice"))];
    let folder = "/@alice/dev/apps/own";
    let uri = format!("{folder}{}", address("%2F", 16_000));
    let opened = front.proxy.ask(Method::GET, (DASHBOARD, &uri), &front_door, "").await;
    assert_eq!(opened.status, 200, "{program:?}: {}", text(&opened));
    let stranger = front.proxy.ask(Method::GET, (DASHBOARD, &uri), &[], "").await;
    assert_eq!(stranger.status, 303, "{program:?}: {}", text(&stranger));
    assert!(header(&stranger, "location").len() > 16_000, "{program:?}");
}

#[tokio::test]
async fn nginx_carries_what_is_long() {
    all(Program::Nginx).await;
}

#[tokio::test]
async fn caddy_carries_what_is_long() {
    all(Program::Caddy).await;
}

#[tokio::test]
async fn a_newer_caddy_carries_what_is_long() {
    all(Program::NewCaddy).await;
}

#[tokio::test]
async fn envoy_carries_what_is_long() {
    all(Program::Envoy).await;
}
