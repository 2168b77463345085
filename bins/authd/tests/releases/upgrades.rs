//! Upgrades and downgrades of the control plane while authd serves requests

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use testkit::{Database, Release, Target, World};
use tokio::task::JoinHandle;

use crate::clouds::Clouds;
use crate::deployment::{Deployment, header, instance_id, now, text};
use crate::visits::places;

/// A request that is repeated without a pause
#[derive(Clone, Copy, Debug)]
enum Question {
    SignIn,
    /// A visit by the named user, and its status
    Visit(Option<&'static str>, u16),
    Terminal,
    Redirect,
}

impl Question {
    /// Whether it is about apps, and therefore unavailable before v2.24: a redirect is for an app that
    /// the visitor may open
    const fn is_of_apps(self) -> bool {
        matches!(self, Self::Visit(..) | Self::Terminal | Self::Redirect)
    }
}

const QUESTIONS: [Question; 6] = [
    Question::SignIn,
    Question::Visit(Some("alice"), 200),
    Question::Visit(Some("bob"), 404),
    Question::Visit(None, 303),
    Question::Terminal,
    Question::Redirect,
];

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// The number of correct answers to each question
    answers: [AtomicUsize; QUESTIONS.len()],
    refused: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_need_no_restart_and_cause_no_wrong_answer() {
    let mut database = Database::of_release(Release::OLDEST).await;
    let world = World::of(Release::OLDEST, now());
    world.load(&database).await;
    let deployment = Deployment::start(world, &database, true, &Clouds::generate()).await;
    let (deployment, load) = (Arc::new(deployment), Arc::<Load>::default());
    let tasks: Vec<_> = (0..QUESTIONS.len())
        .map(|number| tokio::spawn(ask(Arc::clone(&deployment), Arc::clone(&load), number)))
        .collect();

    goes_on(&load, &tasks, Release::OLDEST).await;
    let up = Release::ALL.iter().skip(1);
    let down = Release::ALL.iter().rev().skip(1);
    for release in up.chain(down) {
        // So that the next visit writes to a table that the upgrade changes.
        database.sql("UPDATE api_keys SET last_used = last_used - interval '2 hours'").await;
        database.upgrade(*release).await;
        // The next request notices the upgrade.
        let with_apps = *release >= Release::FIRST_WITH_APPS;
        let ready = deployment.get("/readyz", &[]).await;
        let expected = if with_apps { 200 } else { 503 };
        assert_eq!(ready.status, expected, "{release}: {}", text(&ready));
        for question in QUESTIONS {
            let asked = deployment.ask(question).await;
            let is_answered = with_apps || !question.is_of_apps();
            assert_eq!(asked, Ok(is_answered), "{release}: {question:?}");
        }
        goes_on(&load, &tasks, *release).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

async fn ask(deployment: Arc<Deployment>, load: Arc<Load>, number: usize) {
    while !load.stop.load(Ordering::Relaxed) {
        let counter = match deployment.ask(QUESTIONS[number]).await {
            Ok(true) => &load.answers[number],
            Ok(false) => &load.refused,
            Err(wrong) => panic!("{:?}: {wrong}", QUESTIONS[number]),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for some more answers to each question that the release answers
async fn goes_on(load: &Load, tasks: &[JoinHandle<()>], release: Release) {
    let with_apps = release >= Release::FIRST_WITH_APPS;
    for (question, counter) in QUESTIONS.iter().zip(&load.answers) {
        if question.is_of_apps() && !with_apps {
            continue;
        }
        let before = counter.load(Ordering::Relaxed);
        while counter.load(Ordering::Relaxed) < before + 3 {
            assert!(tasks.iter().all(|task| !task.is_finished()), "{release}: a wrong answer");
            tokio::task::yield_now().await;
        }
    }
}

impl Deployment {
    /// Returns whether the question was answered, or rightly postponed; errs with a wrong answer
    async fn ask(&self, question: Question) -> Result<bool, String> {
        let world = &self.world;
        let app = Target::App { slug: "closed", agent: "main", workspace: "dev", owner: "alice" };
        let alice = world.token("alice");
        let (answer, status) = match question {
            Question::SignIn => {
                let (path, body) = self.clouds.sign_in(&instance_id("i-dev"), None);
                let answer = self.post_json(&path, &body).await;
                let token = &self.agents[&world.id("alice/dev/main")];
                if answer.status == 200 && !text(&answer).contains(token.as_str()) {
                    return Err(text(&answer));
                }
                (answer, 200)
            }
            Question::Visit(key, status) => {
                let (_, host, uri) = places(world, app).remove(0);
                let session = key.map(|key| ("coder-session-token", world.token(key)));
                (self.visit((&host, &uri), session.as_slice()).await, status)
            }
            Question::Terminal => {
                let target = Target::Terminal("alice/dev/main");
                let (_, host, uri) = places(world, target).remove(0);
                (self.visit((&host, &uri), &[("coder-session-token", alice)]).await, 200)
            }
            Question::Redirect => {
                let uri = "/api/v2/applications/auth-redirect?redirect_uri=\
                           https://closed--dev--alice.apps.test/";
                (self.get(uri, &[("coder-session-token", alice)]).await, 303)
            }
        };
        match answer.status.as_u16() {
            found if found == status => Ok(true),
            503 if header(&answer, "retry-after") == "1" => Ok(false),
            found => Err(format!("{found} {:?} {}", answer.headers, text(&answer))),
        }
    }
}
