//! Each kind of proof, compared with the bare cryptography on the same bytes
//!
//! `cargo bench -p authd-benches --bench identity`, with `-- --test` for a quick check
//! that it runs.
//!
//! The floors call ring and webpki with inputs that are already decoded, parsed and located: they
//! check the signature, and for Azure also the certificate's path. Ours also finds all that in
//! the proof that a machine sends, and checks the policy.
//!
//! The second table has proofs that are refused, each beside a good one of its kind.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "identity/refusals.rs"]
mod refusals;

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use authd_benches::{Contest, Effort, Report, Round};
use criterion::Criterion;
use identity_verify::test_util::cms::tlv;
use identity_verify::test_util::{Key, at, aws, azure, google};
use identity_verify::{
    Policy, aws as aws_identity, azure as azure_identity, google as google_identity,
};
use openssl::rsa::Rsa;
use ring::digest::{SHA256, digest};
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn main() {
    let now = at("2026-11-21T00:00:00Z");
    let sides = [aws_signature(now), aws_pkcs7(now), azure_attested_data(now), google_token(now)];
    let contest = Contest::new(Effort::from_args());
    let mut report = Report::default();
    for side in &sides {
        let result = contest.run(
            |time: Duration| Round::of(time, || (side.floor)()),
            |time: Duration| Round::of(time, || (side.ours)()),
        );
        report.at_most(side.name, result, side.goal);
    }
    println!("verification, one core, time for one proof\n\n{report}");

    let mut report = Report::default();
    let kinds = refusals::kinds(now);
    for kind in &kinds {
        for (what, refused) in &kind.refused {
            let result = contest.run(
                |time: Duration| Round::of(time, || (kind.good)()),
                |time: Duration| Round::of(time, refused),
            );
            report.at_most(format!("{}, {what}", kind.name), result, 1.5);
        }
    }
    println!("refusals, compared with a good proof of the same kind\n\n{report}");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("identity");
    for side in &sides {
        group.bench_function(format!("{}/ours", side.name), |b| b.iter(|| (side.ours)()));
        group.bench_function(format!("{}/floor", side.name), |b| b.iter(|| (side.floor)()));
    }
    for kind in &kinds {
        group.bench_function(format!("{}/good", kind.name), |b| b.iter(|| (kind.good)()));
        for (what, refused) in &kind.refused {
            group.bench_function(format!("{}/{what}", kind.name), |b| b.iter(refused));
        }
    }
    group.finish();
    criterion.final_summary();
}

/// A proof: its verification, and the minimum of cryptography
struct Side {
    name: &'static str,
    floor: Box<dyn Fn()>,
    ours: Box<dyn Fn()>,
    goal: f64,
}

fn aws_signature(now: SystemTime) -> Side {
    let cloud = aws::Cloud::generate("eu-west-1");
    let document = document("eu-west-1");
    let text = cloud.sign(document.as_bytes());
    let signature = cloud.key().sign(document.as_bytes());
    let key = public_key(cloud.key(), &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY);
    let verifier = trusting(&[cloud]);
    Side {
        name: "AWS /signature, RSA-1024",
        goal: 1.3,
        floor: Box::new({
            let document = document.clone();
            move || key.verify(black_box(document.as_bytes()), &signature).unwrap()
        }),
        ours: Box::new(move || {
            let (document, signature) = (document.as_bytes(), text.as_bytes());
            let proof = aws_identity::SignedDocument { document, signature };
            black_box(verifier.verify(black_box(&proof), now).unwrap());
        }),
    }
}

fn aws_pkcs7(now: SystemTime) -> Side {
    let cloud = aws::Cloud::generate_bits("eu-west-1", 2048);
    let document = document("eu-west-1");
    let text = cloud.sign_pkcs7(document.as_bytes());
    let attributes = cloud.message(document.as_bytes()).attributes(document.as_bytes());
    // What is signed is the attributes as a SET (RFC 5652, 5.4).
    let signed = tlv(0x31, &[&attributes]);
    let signature = cloud.key().sign(&signed);
    let key = public_key(cloud.key(), &RSA_PKCS1_2048_8192_SHA256);
    let verifier = trusting(&[cloud]);
    Side {
        name: "AWS /rsa2048, PKCS#7",
        goal: 1.25,
        floor: Box::new(move || {
            black_box(digest(&SHA256, black_box(document.as_bytes())));
            key.verify(black_box(&signed), &signature).unwrap();
        }),
        ours: Box::new(move || {
            let proof = aws_identity::Pkcs7 { pkcs7: text.as_bytes(), document: None };
            black_box(verifier.verify_pkcs7(black_box(&proof), now).unwrap());
        }),
    }
}

fn azure_attested_data(now: SystemTime) -> Side {
    let cloud = azure::Cloud::generate();
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let (vm, subscription) =
        ("02aab8a4-74ef-476e-8182-f6d2ba4166a6", "8d10da13-8125-4ba9-a717-bf7490507b3d");
    let document = azure::Document::new(vm, subscription, from, to).to_json();
    let text = cloud.sign(document.as_bytes());

    let signature = cloud.leaf.key().sign(document.as_bytes());
    let key = public_key(cloud.leaf.key(), &RSA_PKCS1_2048_8192_SHA256);
    let leaf = CertificateDer::from(cloud.leaf.der());
    let intermediates = [CertificateDer::from(cloud.intermediate.der())];
    let root = CertificateDer::from(cloud.root.der());
    let anchors = [anchor_from_trusted_cert(&root).unwrap().to_owned()];
    let unix = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());

    // In addition to the built-in certificates, as in production.
    let mut trust = azure_identity::Trust::builtin();
    trust.add_root_pem(cloud.root.pem().as_bytes()).unwrap();
    trust.add_intermediate_pem(cloud.intermediate.pem().as_bytes()).unwrap();
    let verifier = azure_identity::Verifier::new(trust, Policy::default());
    Side {
        name: "Azure attested data",
        goal: 1.25,
        floor: Box::new(move || {
            key.verify(black_box(document.as_bytes()), &signature).unwrap();
            let leaf = EndEntityCert::try_from(black_box(&leaf)).unwrap();
            leaf.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &intermediates,
                unix,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .unwrap();
        }),
        ours: Box::new(move || {
            let proof = azure_identity::AttestedData { signature: text.as_bytes() };
            black_box(verifier.verify(black_box(&proof), now).unwrap());
        }),
    }
}

fn google_token(now: SystemTime) -> Side {
    let cloud = google::Cloud::generate();
    let claims = google::Claims::new("8087716956832600000", "project", "coder", now);
    let token = cloud.sign(&claims.to_json());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let signed = signed.to_owned();
    let signature = cloud.key().sign(signed.as_bytes());
    let key = public_key(cloud.key(), &RSA_PKCS1_2048_8192_SHA256);
    let (verifier, keys) = (google_identity::Verifier::default(), cloud.jwks());
    Side {
        name: "Google identity token",
        goal: 1.15,
        floor: Box::new(move || key.verify(black_box(signed.as_bytes()), &signature).unwrap()),
        ours: Box::new(move || {
            let proof = google_identity::IdentityToken { token: token.as_bytes() };
            black_box(verifier.verify(black_box(&proof), now, &keys).unwrap());
        }),
    }
}

fn document(region: &str) -> String {
    aws::Document::new("i-0123456789abcdef0", region, "123456789012", "2026-11-20T00:00:00Z")
        .to_json()
}

fn trusting(clouds: &[aws::Cloud]) -> aws_identity::Verifier {
    let mut keys = aws_identity::Keys::none();
    for cloud in clouds {
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
    }
    aws_identity::Verifier::new(keys, Policy::default())
}

/// The key in ring's format: an RSAPublicKey (RFC 8017, A.1.1)
fn public_key(
    key: &Key,
    algorithm: &'static dyn VerificationAlgorithm,
) -> UnparsedPublicKey<Vec<u8>> {
    let key = Rsa::public_key_from_pem(key.public_key_pem().as_bytes()).unwrap();
    UnparsedPublicKey::new(algorithm, key.public_key_to_der_pkcs1().unwrap())
}
