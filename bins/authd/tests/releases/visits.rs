//! Visits to apps and terminals, through forward auth and through a registered proxy

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{Answer, Release, Target, Visit, World};

use crate::answers::Wrong;
use crate::clouds::Clouds;
use crate::deployment::{APPS, DASHBOARD, Deployment, header, now, query_of};

// scenario 113, and the others of app access, on every release
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_get_the_answers_of_each_release() {
    let (clouds, mut wrong) = (Clouds::generate(), Wrong::default());
    for release in Release::FIRST_WITH_APPS.and_later() {
        let world = World::of(*release, now());
        let database = world.database().await;
        let deployment = Deployment::start(world, &database, true, &clouds).await;
        let mut recorded = BTreeMap::new();
        let visits = deployment.world.visits();
        assert!(visits.len() > 100, "{release}: {} visits", visits.len());
        for (number, visit) in visits.iter().enumerate() {
            for (form, host, uri) in places(&deployment.world, visit.target) {
                let browser = format!("browser-{number}-{form}");
                let client = client(recorded.len());
                let visitor = (&*browser, &*client);
                let answer = deployment.forward(visit, (&host, &uri), visitor).await;
                let (found, question) = (answer.status.as_u16(), (&*host, &*uri, visit));
                wrong.unless_same(*release, &question, &found, &status(visit));
                deployment.check(&mut wrong, visit, (&host, &uri), &answer);
                recorded.insert(browser, found);
            }
            if let Some(envelope) = envelope(&deployment.world, visit) {
                let browser = format!("proxy-{number}");
                let client = client(recorded.len());
                let visitor = (&*browser, &*client);
                let found = deployment.issued(&mut wrong, visit, envelope, visitor).await;
                recorded.insert(browser, found);
            }
            if has_no_workspace(visit.target) {
                recorded
                    .retain(|browser, _| browser.split('-').nth(1) != Some(&number.to_string()));
            }
        }
        // Each visit to an existing workspace is in the log exactly once.
        deployment.written().await;
        let rows = database
            .sql(
                "SELECT user_agent || '|' || status_code FROM authd_audit_log
                 WHERE action = 'open' ORDER BY user_agent COLLATE \"C\"",
            )
            .await;
        let recorded: Vec<_> =
            recorded.iter().map(|(browser, status)| format!("{browser}|{status}")).collect();
        wrong.unless_same(*release, &"the log", &rows, &recorded);
        let of = |user: &str| {
            let id = deployment.world.id(user);
            format!("SELECT count(*) > 20 FROM authd_audit_log WHERE user_id = '{id}'")
        };
        let found = database.sql(&of("alice")).await;
        wrong.unless_same(*release, &"Alice's rows", &found, &vec!["t".to_owned()]);
    }
    wrong.assert_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_statement_decides_on_every_release_and_one_records() {
    let (clouds, mut wrong) = (Clouds::generate(), Wrong::default());
    for release in Release::FIRST_WITH_APPS.and_later() {
        let world = World::of(*release, now());
        let database = world.database().await;
        let deployment = Deployment::start(world, &database, true, &clouds).await;
        let app = |key, slug, answer| Visit {
            key,
            target: Target::App { slug, agent: "main", workspace: "dev", owner: "alice" },
            answer,
            reference: None,
        };
        let terminal = Visit {
            target: Target::Terminal("alice/dev/main"),
            ..app(Some("alice"), "", Answer::Opens)
        };
        let visits = [
            app(Some("alice"), "closed", Answer::Opens),
            app(Some("bob"), "closed", Answer::NotFound),
            app(None, "closed", Answer::SignIn),
            app(Some("alice"), "8080", Answer::Opens),
            app(Some("dave"), "open", Answer::Inactive),
            terminal,
        ];
        // The first visits open connections, load the proxies, and record the first use of
        // sessions.
        for round in ["first", "second"] {
            for (number, visit) in visits.iter().enumerate() {
                for (form, host, uri) in places(&deployment.world, visit.target) {
                    let browser = format!("{round}-{number}-{form}");
                    let place = (&*host, &*uri);
                    let visiting = deployment.forward(visit, place, (&browser, CLIENT));
                    let (answer, statements) = deployment.counted(visiting).await;
                    if round == "second" {
                        let found = (answer.status.as_u16(), statements);
                        wrong.unless_same(*release, visit, &found, &(status(visit), 2));
                    }
                }
                let envelope = envelope(&deployment.world, visit).unwrap();
                let browser = format!("{round}-{number}-proxy");
                let asking = deployment.issued(&mut wrong, visit, envelope, (&browser, CLIENT));
                let (_, statements) = deployment.counted(asking).await;
                if round == "second" {
                    wrong.unless_same(*release, &("proxy", visit), &statements, &2);
                }
            }
        }
        for feature in ["workspace_apps_token", "workspace_apps_api_key"] {
            let (answer, statements) = deployment.counted(deployment.keys(feature)).await;
            let found = (answer.status.as_u16(), statements);
            wrong.unless_same(*release, &feature, &found, &(200, 1));
        }
    }
    wrong.assert_none();
}

/// The name, host and path of each form of address that the release accepts for a target
///
/// Since v2.27 the dashboard's links name the agent only in the hosts of ports.
pub fn places(world: &World, target: Target) -> Vec<(&'static str, String, String)> {
    match target {
        Target::App { slug, agent, workspace, owner } => {
            let long = format!("{slug}--{agent}--{workspace}--{owner}.{APPS}");
            let short = format!("{slug}--{workspace}--{owner}.{APPS}");
            let mut hosts = Vec::new();
            if !agent.is_empty() {
                hosts.push(("long", long, "/".to_owned()));
            }
            if agent.is_empty() || leaves_agent_out(world, slug, agent) {
                hosts.push(("short", short, "/".to_owned()));
            }
            hosts
        }
        Target::Terminal(agent) => {
            let path = format!("/api/v2/workspaceagents/{}/pty", world.id(agent));
            vec![("terminal", DASHBOARD.to_owned(), path)]
        }
    }
}

/// Whether the release leaves out the agent in requests for the app, with the same outcome
fn leaves_agent_out(world: &World, slug: &str, agent: &str) -> bool {
    let is_port = slug.starts_with(|first: char| first.is_ascii_digit());
    // Requested on an agent that does not have the app
    let is_elsewhere = slug == "aside" && agent == "main";
    world.release() >= Release::V2_27 && !is_port && !is_elsewhere
}

/// What a proxy of the release sends for the visit; `None` if its answer differs
fn envelope(world: &World, visit: &Visit) -> Option<Value> {
    let (request, app_hostname) = match visit.target {
        Target::App { slug: "aside", agent: "main", .. } => return None,
        Target::App { slug, agent, workspace, owner } => {
            let agent = if leaves_agent_out(world, slug, agent) { "" } else { agent };
            let request = json!({
                "access_method": "subdomain", "base_path": "/", "username_or_id": owner,
                "workspace_name_or_id": workspace, "agent_name_or_id": agent,
                "app_slug_or_port": slug,
            });
            (request, "*.oslo.test")
        }
        Target::Terminal(agent) => {
            let id = world.id(agent);
            let request = json!({
                "access_method": "terminal", "agent_name_or_id": id,
                "base_path": format!("/api/v2/workspaceagents/{id}/pty"),
            });
            (request, "")
        }
    };
    Some(json!({
        "app_request": request,
        "path_app_base_url": "https://oslo.test",
        "app_hostname": app_hostname,
        "app_path": "/some/path",
        "app_query": "a=1",
        "session_token": visit.key.map_or("", |key| world.token(key)),
    }))
}

/// The status that a browser gets; a terminal cannot be redirected to sign in, and gets 404
const fn status(visit: &Visit) -> u16 {
    match (visit.answer, visit.target) {
        (Answer::Opens, _) => 200,
        (Answer::SignIn, Target::Terminal(_)) | (Answer::NotFound, _) => 404,
        (Answer::SignIn, _) => 303,
        (Answer::Stopped, _) => 400,
        (Answer::Unreachable, _) => 502,
        (Answer::Inactive, _) => 401,
    }
}

/// A different address for each client, since the log limits denials for each address
fn client(number: usize) -> String {
    format!("198.18.{}.{}", number / 256, number % 256)
}

/// Whether the workspace does not exist: such visits are not recorded
fn has_no_workspace(target: Target) -> bool {
    match target {
        Target::App { workspace, owner, .. } => {
            ["nothing", "removed"].contains(&workspace) || ["ghost", "unknown"].contains(&owner)
        }
        Target::Terminal(agent) => {
            ["alice/dev gone", "alice/dev past", "alice/removed/main"].contains(&agent)
        }
    }
}

const CLIENT: &str = "203.0.113.7";

impl Deployment {
    /// Sends a visit through forward auth, with this `User-Agent` and client address
    async fn forward(
        &self,
        visit: &Visit,
        place: (&str, &str),
        (browser, client): (&str, &str),
    ) -> testkit::net::Answer {
        let mut headers = vec![("user-agent", browser), ("x-forwarded-for", client)];
        headers.extend(visit.key.map(|key| ("coder-session-token", self.world.token(key))));
        self.visit(place, &headers).await
    }

    /// Checks the target of the answer: the agent, or the dashboard and then the same host
    fn check(
        &self,
        wrong: &mut Wrong,
        visit: &Visit,
        (host, uri): (&str, &str),
        answer: &testkit::net::Answer,
    ) {
        let (found, expected) = match (answer.status.as_u16(), visit.target) {
            (303, _) => (query_of(answer, "redirect_uri"), format!("https://{host}{uri}")),
            (200, Target::Terminal(agent)) => {
                (header(answer, "x-authd-agent-id").to_owned(), self.world.id(agent).to_string())
            }
            (200, Target::App { agent, workspace, owner, .. }) if !agent.is_empty() => {
                let agent = format!("{}/{workspace}/{agent}", owner.to_lowercase());
                (header(answer, "x-authd-agent-id").to_owned(), self.world.id(&agent).to_string())
            }
            _ => return,
        };
        wrong.unless_same(self.release(), &("where to", visit), &found, &expected);
    }

    /// The status of a visit through a registered proxy, as recorded in the log
    async fn issued(
        &self,
        wrong: &mut Wrong,
        visit: &Visit,
        mut envelope: Value,
        (browser, client): (&str, &str),
    ) -> u16 {
        envelope["user_agent"] = browser.into();
        envelope["client_ip"] = client.into();
        let answer = self.issue(&envelope).await;
        let (found, expected) = (answer.status.as_u16(), status(visit));
        let expected = if expected == 200 { 201 } else { expected };
        let release = self.release();
        wrong.unless_same(release, &("proxy", visit), &found, &expected);
        match (found, visit.target) {
            (303, Target::App { slug, workspace, owner, .. }) => {
                let agent = match envelope["app_request"]["agent_name_or_id"].as_str().unwrap() {
                    "" => String::new(),
                    agent => format!("{agent}--"),
                };
                let app = format!("{slug}--{agent}{workspace}--{owner}");
                let expected = format!("https://{app}.oslo.test/some/path?a=1");
                let found = query_of(&answer, "redirect_uri");
                wrong.unless_same(release, &("way back", visit), &found, &expected);
                303
            }
            (201, _) => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                let token = body["signed_token_str"].as_str().unwrap();
                assert_eq!(token.split('.').count(), 3, "{release}: {visit:?}");
                200
            }
            _ => found,
        }
    }

    /// Requests that the tables cannot answer, with their answers
    pub async fn unanswerable(&self) -> Vec<(&'static str, testkit::net::Answer)> {
        let alice = ("coder-session-token", self.world.token("alice"));
        let visit = Visit {
            key: Some("alice"),
            target: Target::App { slug: "closed", agent: "main", workspace: "dev", owner: "alice" },
            answer: Answer::Opens,
            reference: None,
        };
        let (_, host, uri) = places(&self.world, visit.target).remove(0);
        let terminal = Target::Terminal("alice/dev/main");
        let (_, dashboard, pty) = places(&self.world, terminal).remove(0);
        let envelope = envelope(&self.world, &visit).unwrap();
        vec![
            ("a visit", self.visit((&host, &uri), &[alice]).await),
            ("a stranger's visit", self.visit((&host, &uri), &[]).await),
            ("a terminal", self.visit((&dashboard, &pty), &[alice]).await),
            ("a proxy", self.issue(&envelope).await),
        ]
    }
}
