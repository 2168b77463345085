//! Each kind of proof, compared with the bare cryptography on the same bytes
//!
//! The floors call ring and webpki with inputs that are already decoded, parsed and located: they
//! check the signature, and for Azure also the certificate's path. Ours also finds all that in
//! the proof that a machine sends, and checks the policy.

use std::hint::black_box;
use std::rc::Rc;
use std::time::SystemTime;

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

use crate::{Case, Duel, Goal, Row, Setting, Suite, repeat};

/// The verification of proofs, against the bare cryptography
pub static PROOFS: Suite = Suite {
    id: "proofs",
    title: "Proofs: against the bare cryptography on the same bytes",
    feature: None,
    rows: &[
        Row::new("AWS `/signature`, RSA-1024", "ring", Goal::AtMost(1.2)),
        Row::new("AWS `/rsa2048`, PKCS#7", "ring", Goal::AtMost(1.1)),
        Row::new("Azure attested data, path included", "ring and webpki", Goal::AtMost(1.1)),
        Row::new("Google identity token", "ring", Goal::AtMost(1.1)),
    ],
    prepare,
};

fn prepare(_: &Setting) -> Vec<Case> {
    let now = at("2026-11-21T00:00:00Z");
    let sides = [aws_signature(now), aws_pkcs7(now), azure_attested_data(now), google_token(now)];
    let case = |Sides { floor, ours }: Sides| {
        let once = Rc::clone(&ours);
        let duel = Duel::new(repeat(Box::new(move || floor())), repeat(Box::new(move || ours())));
        Case::Duel(duel.with_allocations(Box::new(move || once())))
    };
    sides.map(case).into()
}

/// The verification of a proof, and the minimum of cryptography
struct Sides {
    floor: Rc<dyn Fn()>,
    ours: Rc<dyn Fn()>,
}

fn aws_signature(now: SystemTime) -> Sides {
    let cloud = aws::Cloud::generate("eu-west-1");
    let document = document("eu-west-1");
    let text = cloud.sign(document.as_bytes());
    let signature = cloud.key().sign(document.as_bytes());
    let key = public_key(cloud.key(), &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY);
    let verifier = trusting(&[cloud]);
    Sides {
        floor: Rc::new({
            let document = document.clone();
            move || key.verify(black_box(document.as_bytes()), &signature).unwrap()
        }),
        ours: Rc::new(move || {
            let (document, signature) = (document.as_bytes(), text.as_bytes());
            let proof = aws_identity::SignedDocument { document, signature };
            black_box(verifier.verify(black_box(&proof), now).unwrap());
        }),
    }
}

fn aws_pkcs7(now: SystemTime) -> Sides {
    let cloud = aws::Cloud::generate_bits("eu-west-1", 2048);
    let document = document("eu-west-1");
    let text = cloud.sign_pkcs7(document.as_bytes());
    let attributes = cloud.message(document.as_bytes()).attributes(document.as_bytes());
    // What is signed is the attributes as a SET (RFC 5652, 5.4).
    let signed = tlv(0x31, &[&attributes]);
    let signature = cloud.key().sign(&signed);
    let key = public_key(cloud.key(), &RSA_PKCS1_2048_8192_SHA256);
    let verifier = trusting(&[cloud]);
    Sides {
        floor: Rc::new(move || {
            black_box(digest(&SHA256, black_box(document.as_bytes())));
            key.verify(black_box(&signed), &signature).unwrap();
        }),
        ours: Rc::new(move || {
            let proof = aws_identity::Pkcs7 { pkcs7: text.as_bytes(), document: None };
            black_box(verifier.verify_pkcs7(black_box(&proof), now).unwrap());
        }),
    }
}

fn azure_attested_data(now: SystemTime) -> Sides {
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
    Sides {
        floor: Rc::new(move || {
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
        ours: Rc::new(move || {
            let proof = azure_identity::AttestedData { signature: text.as_bytes() };
            black_box(verifier.verify(black_box(&proof), now).unwrap());
        }),
    }
}

fn google_token(now: SystemTime) -> Sides {
    let cloud = google::Cloud::generate();
    let claims = google::Claims::new("8087716956832600000", "project", "coder", now);
    let token = cloud.sign(&claims.to_json());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let signed = signed.to_owned();
    let signature = cloud.key().sign(signed.as_bytes());
    let key = public_key(cloud.key(), &RSA_PKCS1_2048_8192_SHA256);
    let (verifier, keys) = (google_identity::Verifier::default(), cloud.jwks());
    Sides {
        floor: Rc::new(move || key.verify(black_box(signed.as_bytes()), &signature).unwrap()),
        ours: Rc::new(move || {
            let proof = google_identity::IdentityToken { token: token.as_bytes() };
            black_box(verifier.verify(black_box(&proof), now, &keys).unwrap());
        }),
    }
}

pub(super) fn document(region: &str) -> String {
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
