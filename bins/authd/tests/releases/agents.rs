//! Instances of three clouds that ask for the tokens of their agents

use serde_json::Value;
use testkit::{Release, SignIn, SignedIn, World};

use crate::answers::Wrong;
use crate::clouds::Clouds;
use crate::common::status_and_message;
use crate::deployment::{Deployment, header, instance_id, now};

// scenario 1, on every release
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_sign_in_beside_every_release() {
    let (clouds, mut wrong) = (Clouds::generate(), Wrong::default());
    for release in Release::ALL {
        let world = World::of(*release, now());
        let database = world.database().await;
        let deployment = Deployment::start(world, &database, false, &clouds).await;
        let ready = deployment.get("/readyz", &[]).await;
        wrong.unless_same(*release, &"/readyz", &ready.status.as_u16(), &200);
        deployment.sign_in_all(&mut wrong).await;
    }
    wrong.assert_none();
}

/// Before v2.24 the tables do not record which agents are deleted
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_app_access_instances_sign_in_and_visits_get_503() {
    let (clouds, mut wrong) = (Clouds::generate(), Wrong::default());
    let older = Release::ALL.iter().filter(|release| **release < Release::FIRST_WITH_APPS);
    for release in older {
        let world = World::of(*release, now());
        let database = world.database().await;
        let deployment = Deployment::start(world, &database, true, &clouds).await;
        let ready = deployment.get("/readyz", &[]).await;
        let body: Value = serde_json::from_slice(&ready.body).unwrap();
        let (message, detail) = (&body["message"], body["detail"].as_str().unwrap());
        assert_eq!(
            (ready.status.as_u16(), header(&ready, "retry-after"), message.as_str().unwrap()),
            (503, "1", "The tables do not fit.")
        );
        assert!(detail.contains("workspace_agents.deleted"), "{release}: {detail}");

        for (question, answer) in deployment.unanswerable().await {
            let found = (answer.status.as_u16(), header(&answer, "retry-after"));
            wrong.unless_same(*release, &question, &found, &(503, "1"));
        }
        deployment.sign_in_all(&mut wrong).await;
    }
    wrong.assert_none();
}

impl Deployment {
    /// Signs in as each instance of the world, by one statement each
    async fn sign_in_all(&self, wrong: &mut Wrong) {
        // Opens the connection and prepares the statement.
        self.sign_in("i-0123456789abcdef0", None).await;
        for question in self.world.sign_ins() {
            let id = instance_id(question.instance);
            let before = self.statements.get();
            let found = self.sign_in(&id, question.agent_name).await;
            let statements = self.statements.get() - before;
            let expected = self.expected(&question, &id);
            wrong.unless_same(self.release(), &question, &found, &expected);
            // An id that no instance can have is not found, without a query.
            // An unknown Azure id is looked up a second time, for the log only, and an unknown
            // instance of Google under its names: usually all of these in one statement.
            let is_unknown = matches!(question.answer, SignedIn::NotFound);
            let is_unknown_azure = is_unknown && uuid::Uuid::try_parse(&id).is_ok();
            let is_unknown_google = is_unknown && id.bytes().all(|byte| byte.is_ascii_digit());
            let statements = match statements {
                2..=4 if is_unknown_google => 2,
                other => other,
            };
            let expected = u64::from(question.instance != "I-DEV")
                + u64::from(is_unknown_azure || is_unknown_google);
            wrong.unless_same(self.release(), &("statements", question), &statements, &expected);
        }
    }

    async fn sign_in(&self, id: &str, agent_name: Option<&str>) -> (u16, String) {
        let (path, body) = self.clouds.sign_in(id, agent_name);
        status_and_message(&self.post_json(&path, &body).await)
    }

    fn expected(&self, question: &SignIn, id: &str) -> (u16, String) {
        match question.answer {
            SignedIn::Agent(name) => (200, self.agents[&self.world.id(name)].clone()),
            SignedIn::NotFound => (404, format!("Instance with id \"{id}\" not found.")),
            SignedIn::NoSuchName => {
                let name = question.agent_name.unwrap_or_default().trim();
                let message =
                    format!("No agent found with instance ID \"{id}\" and name \"{name}\".");
                (404, message)
            }
            SignedIn::Ambiguous(names) => {
                let message = format!(
                    "Multiple agents found with instance ID \"{id}\". Set CODER_AGENT_NAME to one \
                     of: {}",
                    names.join(", ")
                );
                (409, message)
            }
            SignedIn::Stale => {
                let message = format!(
                    "Resource found for id \"{id}\", but isn't registered on the latest history."
                );
                (400, message)
            }
            SignedIn::Shared => {
                let message =
                    format!("Instance with id \"{id}\" is claimed by more than one workspace.");
                (409, message)
            }
        }
    }
}
