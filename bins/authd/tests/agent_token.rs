//! `authd agent-token`: a machine fetches its proof and signs in

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::process::Output;

use authd::Identity;
use common::{ACCOUNT, REGION, Setup};
use identity_verify::test_util::server::Server;
use identity_verify::test_util::{at, aws, azure, google};
use identity_verify::{Policy, azure as azure_identity, google as google_identity};
use store::MemoryStore;
use store::fleet::{Fleet, Transition};
use tokio::process::Command;

const INSTANCE: &str = "i-0123456789abcdef0";
const VM: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const GOOGLE_INSTANCE: &str = "8087716956832600000";

async fn authd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("agent-token").args(args);
    command.env_remove("CODER_AGENT_NAME").env_remove("AUTHD_URL").output().await.unwrap()
}

fn token_of(said: &Output) -> String {
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout.clone()).unwrap()
}

#[tokio::test]
async fn machines_of_all_clouds_receive_their_tokens() {
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let mut tokens = Vec::new();
    for id in [INSTANCE, VM, GOOGLE_INSTANCE] {
        let workspace = rows.workspace(owner, id);
        let build = rows.build(workspace, Transition::Start);
        for name in ["main", "other"] {
            tokens.push(format!("{}\n", rows.agent(build.resource, name, id).auth_token.0));
        }
    }
    let store = MemoryStore::default();
    store.load(&rows);

    let (aws, azure, google) =
        (aws::Cloud::generate(REGION), azure::Cloud::generate(), google::Cloud::generate());
    let identity = Identity::builtin()
        .aws(identity_verify::aws::Verifier::new(aws.keys(), Policy::default()))
        .azure(azure_identity::Verifier::new(azure.trust(), Policy::default()))
        .google(google_identity::Verifier::default(), google.jwks());
    let server = Setup::with(identity).start(store).await;
    let url = server.url("/");

    let document = aws::Document::new(INSTANCE, REGION, ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    let on_aws = Server::start();
    on_aws.serve_aws(&aws, &aws, &document);
    let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let on_azure = Server::start();
    on_azure.serve_azure(&azure.leaf, &azure::Document::new(VM, subscription, from, to));
    let issued = at("2026-11-20T23:59:00Z");
    let on_google = Server::start();
    on_google.serve_google(&google, &google::Claims::new(GOOGLE_INSTANCE, "project", "", issued));

    let clouds = [("aws", &on_aws), ("azure", &on_azure), ("google", &on_google)];
    for ((cloud, metadata), tokens) in clouds.into_iter().zip(tokens.chunks(2)) {
        let metadata = metadata.url("");
        let with = ["--url", &url, "--metadata-url", &metadata];
        for choice in [cloud, "auto"] {
            let args = [&with[..], &["--cloud", choice, "--agent-name", "main"]].concat();
            assert_eq!(token_of(&authd(&args).await), tokens[0], "{cloud} by {choice}");
        }
        let args = [&with[..], &["--agent-name", "other"]].concat();
        assert_eq!(token_of(&authd(&args).await), tokens[1]);

        let ambiguous = authd(&[&with[..], &["--cloud", cloud]].concat()).await;
        assert_eq!(ambiguous.status.code(), Some(1));
        let complaint = String::from_utf8(ambiguous.stderr).unwrap();
        assert!(complaint.contains("409") && complaint.contains("main, other"), "{complaint}");
        assert!(ambiguous.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_machine_of_no_cloud_is_told_so() {
    let nobody = Server::start();
    let metadata = nobody.url("");
    let said = authd(&["--url", "http://127.0.0.1:9", "--metadata-url", &metadata]).await;
    assert_eq!(said.status.code(), Some(1));
    let complaint = String::from_utf8(said.stderr).unwrap();
    assert!(complaint.contains("no metadata service"), "{complaint}");
    assert!(said.stdout.is_empty());
}
