//! The test clouds' endpoints on loopback serve what verifies

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use identity_verify::{
    Policy,
    aws::{Keys, Pkcs7, SignedDocument},
    azure::AttestedData,
    google::{IdentityToken, Jwks},
    test_util::{
        at, aws, azure, google,
        server::{Answer, Server},
    },
};

const NOW: &str = "2026-01-01T00:00:00Z";

/// Status line and headers, and the body
fn request(server: &Server, method: &str, target: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn aws_asks_for_a_session_token_first() {
    let (small, large) =
        (aws::Cloud::generate("eu-test-1"), aws::Cloud::generate_bits("eu-test-1", 2048));
    let server = Server::start();
    let id = "i-0123456789abcdef0";
    let document = aws::Document::new(id, "eu-test-1", "123456789012", NOW).to_json();
    server.serve_aws(&small, &large, &document);

    let folder = "/latest/dynamic/instance-identity";
    let (head, _) = request(&server, "GET", &format!("{folder}/document"), "A: b");
    assert!(head.starts_with("HTTP/1.1 401 "));
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 21600";
    let (_, token) = request(&server, "PUT", "/latest/api/token", ttl);
    let header = format!("X-aws-ec2-metadata-token: {token}");
    let get = |name: &str| request(&server, "GET", &format!("{folder}/{name}"), &header).1;

    let mut keys = Keys::none();
    for cloud in [&small, &large] {
        keys.add_pem("eu-test-1", cloud.public_key_pem().as_bytes()).unwrap();
    }
    let verifier = identity_verify::aws::Verifier::new(keys, Policy::default());
    let (document, signature) = (get("document"), get("signature"));
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    assert_eq!(verifier.verify(&proof, at(NOW)).unwrap().id().as_str(), id);
    let pkcs7 = get("rsa2048");
    let proof = Pkcs7 { pkcs7: pkcs7.as_bytes(), document: Some(document.as_bytes()) };
    assert_eq!(verifier.verify_pkcs7(&proof, at(NOW)).unwrap().id().as_str(), id);
}

#[test]
fn azure_answers_a_nonce() {
    let cloud = azure::Cloud::generate();
    let server = Server::start();
    let id = "11111111-2222-4333-8444-55555555555a";
    let (created, expires) = ("01/01/26 00:00:00 -0000", "01/01/26 06:00:00 -0000");
    server.serve_azure(&cloud.leaf, &azure::Document::new(id, "", created, expires));

    let target = "/metadata/attested/document?api-version=2020-09-01&nonce=abc123";
    assert!(request(&server, "GET", target, "A: b").0.starts_with("HTTP/1.1 400 "));
    let (_, body) = request(&server, "GET", target, "Metadata: true");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let signature = body["signature"].as_str().unwrap().as_bytes();
    let mut policy = Policy::default();
    policy.azure_expected_nonce = Some("abc123".to_owned());
    let verifier = identity_verify::azure::Verifier::new(cloud.trust(), policy);
    assert_eq!(verifier.verify(&AttestedData { signature }, at(NOW)).unwrap().id().as_str(), id);
}

#[test]
fn google_signs_for_the_audience_and_publishes_its_keys() {
    let cloud = google::Cloud::generate();
    let server = Server::start();
    server.serve_google(&cloud, &google::Claims::new("7", "p", "", at(NOW)));
    server.serve_jwks("/oauth2/v3/certs", &cloud, 19_000);

    let (head, jwks) = request(&server, "GET", "/oauth2/v3/certs", "A: b");
    assert!(head.contains("max-age=19000"));
    let jwks = Jwks::parse(jwks.as_bytes()).unwrap();
    let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
    let target = format!("{path}?audience=https%3A%2F%2Fauthd.example&format=full");
    assert!(request(&server, "GET", &target, "A: b").0.starts_with("HTTP/1.1 403 "));
    let (_, token) = request(&server, "GET", &target, "Metadata-Flavor: Google");
    let policy = serde_json::from_str(r#"{"google_audience":"https://authd.example"}"#).unwrap();
    let verifier = identity_verify::google::Verifier::new(policy);
    let proof = IdentityToken { token: token.as_bytes() };
    assert_eq!(verifier.verify(&proof, at(NOW), &jwks).unwrap().id().as_str(), "7");
}

#[test]
fn answers_can_be_of_any_kind_and_requests_are_counted() {
    let server = Server::start();
    assert!(request(&server, "GET", "/a?b=c", "X-Y: z").0.starts_with("HTTP/1.1 404 "));
    let moved = Answer::status(302).with_header("Location", "http://10.0.0.1/");
    server.serve("/a", moved.after(Duration::from_millis(1)));
    assert!(request(&server, "GET", "/a", "").0.contains("Location: http://10.0.0.1/"));
    assert!(server.url("/a").starts_with("http://127.0.0.1:"));

    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/a"));
    assert_eq!(requests[0].header("x-y"), Some("z"));
    assert_eq!(requests[0].query("b").as_deref(), Some("c"));
}
