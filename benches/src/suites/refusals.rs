//! What a proof that is refused costs, compared with a good one of its kind
//!
//! A stranger can send proofs without end. If the worst of them costs no more than a good one, the
//! server can afford it. Both are examined as the server does: the reason for the refusal is
//! made for the log too. Of each kind, the forgery that took longest in a few short rounds is
//! measured.

use std::rc::Rc;
use std::time::SystemTime;

use identity_verify::test_util::azure::{Authority, LeafOptions};
use identity_verify::test_util::{Key, at, aws, azure, google};
use identity_verify::{
    Policy, aws as aws_identity, azure as azure_identity, google as google_identity,
};

use super::proofs::document;
use crate::{Case, Contest, Duel, Goal, Measurement, Row, Setting, Side, Suite, repeat};

/// Forged proofs, against good ones
pub static REFUSALS: Suite = Suite {
    id: "refusals",
    title: "Forged proofs: against a good proof of the same kind",
    feature: None,
    rows: &[
        Row::new("AWS document, the costliest forgery", "a good one", Goal::AtMost(1.5)),
        Row::new("AWS message, the costliest forgery", "a good one", Goal::AtMost(1.5)),
        Row::new("Azure attested data, the costliest forgery", "a good one", Goal::AtMost(1.5)),
        Row::new("Google identity token, the costliest forgery", "a good one", Goal::AtMost(1.5)),
    ],
    prepare,
};

fn prepare(_: &Setting) -> Vec<Case> {
    let now = at("2026-11-21T00:00:00Z");
    let kinds: [fn(SystemTime) -> Kind; 4] =
        [aws_document, aws_message, azure_attested_data, google_token];
    kinds.map(|kind| Case::Figure(Box::new(move |setting| kind(now).measure(setting)))).into()
}

/// A kind of proof: a good one, and bad ones that are meant to be dear
struct Kind {
    good: Examine,
    refused: Vec<(&'static str, Examine)>,
}

/// Examines a proof, and panics if the outcome is not the expected one
type Examine = Rc<dyn Fn()>;

impl Kind {
    fn measure(&self, setting: &Setting) -> Measurement {
        let side = |examine: &Examine| -> Side {
            let examine = Rc::clone(examine);
            repeat(Box::new(move || examine()))
        };
        let scouting = Contest::scouting(setting.effort);
        let time = |examine| {
            let rounds = scouting.run([&mut *side(examine)]);
            rounds.iter().map(|[time]| *time).fold(f64::INFINITY, f64::min)
        };
        let times = self.refused.iter().map(|(what, refused)| (time(refused), what, refused));
        let (_, what, refused) = times.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let mut duel = Duel::new(side(&self.good), side(refused));
        let note = format!("of {} forgeries, the one {what}", self.refused.len());
        duel.measure(setting).with_note(note)
    }
}

/// The built-in keys, and one of each size for the region of the test
fn aws_verifier(clouds: &[&aws::Cloud]) -> aws_identity::Verifier {
    let mut keys = aws_identity::Keys::builtin();
    for cloud in clouds {
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
    }
    aws_identity::Verifier::new(keys, Policy::default())
}

fn aws_document(now: SystemTime) -> Kind {
    let cloud = aws::Cloud::generate("test-1");
    let verifier = aws_verifier(&[&cloud]);
    let good = document("test-1");
    let proof = |document: String, signature: String, is_good: bool| -> Examine {
        let verifier = verifier.clone();
        Rc::new(move || {
            let (document, signature) = (document.as_bytes(), signature.as_bytes());
            let proof = aws_identity::SignedDocument { document, signature };
            assert_eq!(verifier.examine(&proof, now).is_ok(), is_good);
        })
    };
    let other = cloud.sign(b"another document");
    let refused = |name, document: String| (name, proof(document, other.clone(), false));
    Kind {
        good: proof(good.clone(), cloud.sign(good.as_bytes()), true),
        refused: vec![
            refused("altered", good.replace("t2.micro", "t3.micro")),
            refused("of another region", document("us-east-1")),
            refused("of an unknown region", document("nowhere-1")),
            refused("without a region", document("")),
            refused("of 4 KiB", padded(&good, &"x".repeat(3_500))),
            refused("of 4 KiB without a region", padded("123456789012", &"x".repeat(4_000))),
            refused("of 1 KiB of fields", padded(&good, &r#"","a":""#.repeat(70))),
            refused("of 1 KiB of escapes", padded(&good, &r"\u0041".repeat(80))),
            refused("of 1 KiB of arrays", good.replacen('{', &nested(240), 1)),
        ],
    }
}

fn aws_message(now: SystemTime) -> Kind {
    let cloud = aws::Cloud::generate_bits("test-1", 2048);
    let verifier = aws_verifier(&[&cloud]);
    let good = document("test-1");
    let proof = |message: String, is_good: bool| -> Examine {
        let verifier = verifier.clone();
        Rc::new(move || {
            let proof = aws_identity::Pkcs7 { pkcs7: message.as_bytes(), document: None };
            assert_eq!(verifier.examine_pkcs7(&proof, now).is_ok(), is_good);
        })
    };
    let stranger = aws::Cloud::generate_bits("test-1", 2048);
    let refused =
        |name, document: String| (name, proof(stranger.sign_pkcs7(document.as_bytes()), false));
    Kind {
        good: proof(cloud.sign_pkcs7(good.as_bytes()), true),
        refused: vec![
            refused("by a stranger", good.clone()),
            refused("of an unknown region", document("nowhere-1")),
            refused("of 6 KiB", padded(&good, &"x".repeat(3_000))),
            refused("of fields", padded(&good, &r#"","a":""#.repeat(70))),
        ],
    }
}

/// Authorities of the sizes that Microsoft's have: a root of 2048 bits and an issuer of 4096
///
/// Forged certificates have the largest keys that are allowed, and lead as far as they can.
fn azure_attested_data(now: SystemTime) -> Kind {
    let large = Key::generate(4096);
    let authority = |above: &Authority, name: &str, key: &Key| {
        let options = LeafOptions { key: Some(key.clone()), ..LeafOptions::named(name, &[]) };
        above.issue_leaf(&LeafOptions { authority: true, ..options }).as_authority()
    };
    let leaf = |above: &Authority, key: &Key| {
        let key = Some(key.clone());
        above.issue_leaf(&LeafOptions { key, ..LeafOptions::default() })
    };
    let (root, other_root) = (Authority::root("Test Root"), Authority::root("Test Root 2"));
    let issuer = authority(&root, "Test Issuing CA", &large);
    let cross_signed = authority(&other_root, "Test Issuing CA", &large);

    let mut trust = azure_identity::Trust::builtin();
    for root in [&root, &other_root] {
        trust.add_root_pem(root.pem().as_bytes()).unwrap();
    }
    for issuer in [&issuer, &cross_signed] {
        trust.add_intermediate_pem(issuer.pem().as_bytes()).unwrap();
    }
    let verifier = azure_identity::Verifier::new(trust, Policy::default());
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let id = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
    let document = azure::Document::new(id, id, from, to).to_json();
    let proof = |message: String, is_good: bool| -> Examine {
        let verifier = verifier.clone();
        Rc::new(move || {
            let proof = azure_identity::AttestedData { signature: message.as_bytes() };
            assert_eq!(verifier.examine(&proof, now).is_ok(), is_good);
        })
    };

    let small = Key::generate(2048);
    let genuine = leaf(&issuer, &small);
    let altered = genuine.message(document.as_bytes()).sign(&Key::generate(2048));
    let long = format!("{document}{}", " ".repeat(9_000));
    let longer = genuine.message(long.as_bytes()).sign(&Key::generate(2048));
    let (stranger, stranger_root) = (Authority::root("Test Issuing CA"), Authority::root("Other"));
    let forged = leaf(&stranger, &large);
    // Each certificate could be above the others, and above the leaf.
    let theirs = Key::generate(4096);
    let strangers = [(); 3].map(|()| authority(&stranger_root, "Test Issuing CA", &theirs));
    let mut circle = leaf(&strangers[0], &large).message(document.as_bytes());
    circle.certificates.extend(strangers.iter().map(Authority::der));
    let named_root = Authority::root("Test Root");
    let below = authority(&named_root, "Between", &large);
    let mut between = leaf(&below, &large).message(document.as_bytes());
    between.certificates.push(below.der());
    Kind {
        good: proof(genuine.sign(document.as_bytes()), true),
        refused: vec![
            ("altered", proof(azure::encode(&altered), false)),
            ("9 KiB longer", proof(azure::encode(&longer), false)),
            ("of a known authority", proof(forged.sign(document.as_bytes()), false)),
            ("of an unknown one", proof(leaf(&stranger_root, &large).sign(long.as_bytes()), false)),
            ("below a known root", proof(azure::encode(&between.sign(&large)), false)),
            ("with authorities in a circle", proof(azure::encode(&circle.sign(&large)), false)),
        ],
    }
}

fn google_token(now: SystemTime) -> Kind {
    let cloud = google::Cloud::generate();
    let claims = google::Claims::new("8087716956832600000", "project", "coder", now).to_json();
    let keys = cloud.jwks();
    let verifier = google_identity::Verifier::default();
    let proof = |token: String, is_good: bool| -> Examine {
        let (verifier, keys) = (verifier.clone(), keys.clone());
        Rc::new(move || {
            let proof = google_identity::IdentityToken { token: token.as_bytes() };
            assert_eq!(verifier.examine(&proof, now, &keys).is_ok(), is_good);
        })
    };
    let stranger = google::Cloud::generate();
    let unknown = google::Cloud::generate_bits("unknown", 2048);
    let large =
        |length: usize| claims.replacen('{', &format!("{{{}", r#""a":0,"#.repeat(length / 6)), 1);
    Kind {
        good: proof(cloud.sign(&claims), true),
        refused: vec![
            ("by a stranger", proof(stranger.sign(&claims), false)),
            ("of an unknown key", proof(unknown.sign(&claims), false)),
            ("of 8 KiB", proof(stranger.sign(&large(4_800)), false)),
            ("of 1 KiB of fields", proof(stranger.sign(&large(400)), false)),
        ],
    }
}

/// A document with `padding` in the text of its first field
fn padded(document: &str, padding: &str) -> String {
    document.replacen("123456789012", &format!("123456789012{padding}"), 1)
}

/// The beginning of an object with arrays in arrays
fn nested(depth: usize) -> String {
    format!(r#"{{"x":{}{},"#, "[".repeat(depth), "]".repeat(depth))
}
