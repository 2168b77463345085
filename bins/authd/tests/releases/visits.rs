//! Visitors of apps and terminals, through forward auth and by way of a proxy of its own

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};
use testkit::{Answer, Release, Target, Visit, World};

use crate::answers::Wrong;
use crate::clouds::Clouds;
use crate::deployment::{APPS, DASHBOARD, Deployment, header, now, query_of};

// scenario 113, and the others of app access, on every release
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_are_answered_as_each_release_answers_them() {
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
                let found = deployment.forward(visit, (&host, &uri), &browser).await;
                let question = (&*host, &*uri, visit);
                wrong.unless_same(*release, &question, &found.0, &browser_status(visit.answer));
                deployment.check_opened(&mut wrong, visit, found.1.as_deref());
                recorded.insert(browser, found.0);
            }
            if let Some(envelope) = envelope(&deployment.world, visit) {
                let browser = format!("proxy-{number}");
                let found = deployment.issued(&mut wrong, visit, envelope, &browser).await;
                recorded.insert(browser, found);
            }
        }
        // Each of them is in the log, once.
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
        // At first, connections are opened, proxies looked up, and what a first use of a
        // session changes is written.
        for round in ["first", "second"] {
            for (number, visit) in visits.iter().enumerate() {
                for (form, host, uri) in places(&deployment.world, visit.target) {
                    let browser = format!("{round}-{number}-{form}");
                    let place = (&*host, &*uri);
                    let visiting = deployment.forward(visit, place, &browser);
                    let ((status, _), statements) = deployment.counted(visiting).await;
                    if round == "second" {
                        let expected = (browser_status(visit.answer), 2);
                        wrong.unless_same(*release, visit, &(status, statements), &expected);
                    }
                }
                let envelope = envelope(&deployment.world, visit).unwrap();
                let browser = format!("{round}-{number}-proxy");
                let asking = deployment.issued(&mut wrong, visit, envelope, &browser);
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

/// Host and path of what is visited, in each form that the release reads, and the form's name
///
/// Since v2.27 the links of the dashboard name the agent in the hosts of ports alone.
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

/// Whether the release asks for the app without its agent, with the same answer
fn leaves_agent_out(world: &World, slug: &str, agent: &str) -> bool {
    let is_port = slug.starts_with(|first: char| first.is_ascii_digit());
    // Asked for on an agent that has no such app
    let is_elsewhere = slug == "aside" && agent == "main";
    world.release() >= Release::V2_27 && !is_port && !is_elsewhere
}

/// What a proxy of the release sends for the visit, unless the answer there is another
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
        "client_ip": "198.51.100.4",
    }))
}

const fn browser_status(answer: Answer) -> u16 {
    match answer {
        Answer::Opens => 200,
        Answer::SignIn => 303,
        Answer::NotFound => 404,
        Answer::Stopped => 400,
        Answer::Unreachable => 502,
        Answer::Inactive => 401,
    }
}

impl Deployment {
    /// Status of a visit through forward auth, and the agent it goes on to
    async fn forward(
        &self,
        visit: &Visit,
        place: (&str, &str),
        browser: &str,
    ) -> (u16, Option<String>) {
        let mut headers = vec![("user-agent", browser)];
        headers.extend(visit.key.map(|key| ("coder-session-token", self.world.token(key))));
        let answer = self.visit(place, &headers).await;
        // A terminal cannot be sent to sign in, and finds nothing.
        let is_terminal = matches!(visit.target, Target::Terminal(_));
        let status = match (answer.status.as_u16(), visit.answer) {
            (404, Answer::SignIn) if is_terminal => 303,
            (303, _) if is_terminal => 0,
            (303, _) => {
                // To come back to this very host
                let back = query_of(&answer, "redirect_uri");
                assert_eq!(back, format!("https://{}{}", place.0, place.1));
                303
            }
            (status, _) => status,
        };
        let agent = header(&answer, "x-authd-agent-id");
        (status, (status == 200).then(|| agent.to_owned()))
    }

    fn check_opened(&self, wrong: &mut Wrong, visit: &Visit, agent: Option<&str>) {
        let name = match visit.target {
            Target::Terminal(agent) => agent.to_owned(),
            Target::App { agent: "", .. } => return,
            Target::App { agent, workspace, owner, .. } => {
                format!("{}/{workspace}/{agent}", owner.to_lowercase())
            }
        };
        if let Some(agent) = agent {
            let expected = self.world.id(&name).to_string();
            wrong.unless_same(self.release(), &("agent of", visit), &agent, &&*expected);
        }
    }

    /// Status of a proxy's question, as a browser would have seen it
    async fn issued(
        &self,
        wrong: &mut Wrong,
        visit: &Visit,
        mut envelope: Value,
        browser: &str,
    ) -> u16 {
        envelope["user_agent"] = browser.into();
        let answer = self.issue(&envelope).await;
        let expected = match (visit.answer, visit.target) {
            (Answer::Opens, _) => 201,
            (Answer::SignIn, Target::Terminal(_)) => 404,
            (answer, _) => browser_status(answer),
        };
        let found = answer.status.as_u16();
        let release = self.release();
        wrong.unless_same(release, &("proxy", visit), &found, &expected);
        if let (303, Target::App { slug, workspace, owner, .. }) = (found, visit.target) {
            let agent = match envelope["app_request"]["agent_name_or_id"].as_str().unwrap() {
                "" => String::new(),
                agent => format!("{agent}--"),
            };
            let back =
                format!("https://{slug}--{agent}{workspace}--{owner}.oslo.test/some/path?a=1");
            let found = query_of(&answer, "redirect_uri");
            wrong.unless_same(release, &("way back", visit), &found, &back);
        }
        if answer.status == StatusCode::CREATED {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            let token = body["signed_token_str"].as_str().unwrap();
            assert_eq!(token.split('.').count(), 3, "{release}: {visit:?}");
        }
        found
    }

    /// What visitors, proxies and browsers ask and the tables cannot answer, with the answers
    pub async fn unanswerable(&self) -> Vec<(&'static str, authd::client::Answer)> {
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
            ("the sign-out", self.send("POST", "/api/v2/users/logout", &[alice], "").await),
        ]
    }
}
