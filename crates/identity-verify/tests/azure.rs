//! Attested data of a test Azure, through the public API

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use identity_verify::{
    Claims, Cloud as CloudName, Error, Policy, Reason, VerifiedInstance,
    azure::{AttestedData, Environment, Trust, Verifier},
    test_util::{
        Hash, Key, at,
        azure::{Authority, Cloud, Document, Leaf, LeafOptions, encode},
        cms::{self, Message},
    },
};
use proptest::prelude::*;

const ID: &str = "11111111-2222-4333-8444-55555555555a";
const SUBSCRIPTION: &str = "99999999-0000-4000-8000-000000000000";
const CREATED: &str = "2026-01-01T00:00:00Z";
const EXPIRES: &str = "2026-01-01T06:00:00Z";

/// Keys take long to make, so most tests share these
static CLOUD: LazyLock<Cloud> = LazyLock::new(Cloud::generate);
static OTHER_CLOUD: LazyLock<Cloud> = LazyLock::new(Cloud::generate);

/// A leaf of the trusted cloud
fn leaf(options: LeafOptions) -> Leaf {
    let key = options.key.clone().unwrap_or_else(|| CLOUD.leaf.key().clone());
    CLOUD.intermediate.issue_leaf(&LeafOptions { key: Some(key), ..options })
}

fn verifier() -> Verifier {
    Verifier::new(CLOUD.trust(), Policy::default())
}

fn document() -> Document {
    Document::new(ID, SUBSCRIPTION, "01/01/26 00:00:00 -0000", "01/01/26 06:00:00 -0000")
}

fn verify_at(verifier: &Verifier, proof: &str, now: SystemTime) -> Result<VerifiedInstance, Error> {
    verifier.verify(&AttestedData { signature: proof.as_bytes() }, now)
}

/// Verifies with the default policy what `leaf` signed
fn verify_leaf(trust: &Trust, leaf: &Leaf) -> Result<VerifiedInstance, Error> {
    let proof = leaf.sign(document().to_json().as_bytes());
    verify_at(&Verifier::new(trust.clone(), Policy::default()), &proof, at(CREATED))
}

/// Verifies a document that a trusted cloud signed
fn verify_document(policy: Policy, json: &str) -> Result<VerifiedInstance, Error> {
    let cloud = &*CLOUD;
    verify_at(&Verifier::new(cloud.trust(), policy), &cloud.sign(json.as_bytes()), at(CREATED))
}

/// Verifies a message that was changed before the trusted cloud signed it
fn verify_message(change: impl FnOnce(&mut Message, &Cloud)) -> Result<VerifiedInstance, Error> {
    let cloud = &*CLOUD;
    let mut message = cloud.leaf.message(document().to_json().as_bytes());
    change(&mut message, cloud);
    let proof = encode(&message.sign(cloud.leaf.key()));
    verify_at(&Verifier::new(cloud.trust(), Policy::default()), &proof, at(CREATED))
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn genuine_attested_data_names_its_machine() {
    let instance = verify_document(Policy::default(), &document().to_json()).unwrap();
    assert_eq!(instance.cloud(), CloudName::Azure);
    assert_eq!(instance.id().as_str(), ID);
    let Claims::Azure(claims) = instance.claims() else { panic!("{instance:?}") };
    assert_eq!(claims.subscription_id.as_deref(), Some(SUBSCRIPTION));
    assert_eq!(claims.created_on, Some(at(CREATED)));
    assert_eq!(claims.expires_on, Some(at(EXPIRES)));
    assert_eq!(claims.environment, Environment::Public);
}

#[test]
fn ids_are_returned_in_lower_case() {
    let mut document = document();
    document.vm_id = "ABCDEF00-2222-4333-8444-55555555555A".to_owned();
    let instance = verify_document(Policy::default(), &document.to_json()).unwrap();
    assert_eq!(instance.id().as_str(), "abcdef00-2222-4333-8444-55555555555a");
}

#[test]
fn standard_messages_are_accepted_like_azures_own() {
    for (hash, digest, signature) in [
        (Hash::Sha256, cms::SHA256, cms::RSA_ENCRYPTION),
        (Hash::Sha256, cms::SHA256, cms::SHA256_WITH_RSA),
        (Hash::Sha256, cms::SHA256_WITH_RSA, cms::SHA256_WITH_RSA),
        (Hash::Sha384, cms::SHA384_WITH_RSA, cms::RSA_ENCRYPTION),
        (Hash::Sha512, cms::SHA512, cms::RSA_ENCRYPTION),
    ] {
        for signed_attributes in [false, true] {
            verify_message(|message, _| {
                message.hash = hash;
                message.digest_algorithm = digest.to_owned();
                message.signature_algorithm = signature.to_owned();
                message.signed_attributes = signed_attributes;
            })
            .unwrap();
        }
    }
}

#[test]
fn other_algorithms_are_refused() {
    for (hash, digest, signature) in [
        (Hash::Sha1, cms::SHA1, cms::RSA_ENCRYPTION),
        (Hash::Sha1, cms::SHA1_WITH_RSA, cms::SHA1_WITH_RSA),
        (Hash::Sha256, cms::MD5, cms::RSA_ENCRYPTION),
        (Hash::Sha256, cms::SHA256, cms::RSA_PSS),
        (Hash::Sha256, cms::SHA256, cms::SHA384_WITH_RSA),
        // DSA with SHA-1, which AWS may use if allowed
        (Hash::Sha1, cms::SHA1, &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03]),
    ] {
        let result = verify_message(|message, _| {
            message.hash = hash;
            message.digest_algorithm = digest.to_owned();
            message.signature_algorithm = signature.to_owned();
        });
        assert_refused(result, Reason::AlgorithmNotAllowed);
    }
    let cloud = &*CLOUD;
    let json = document().to_json();
    let message = cloud.leaf.message(json.as_bytes());
    let pss = cloud.leaf.key().sign_pss(json.as_bytes());
    let verifier = Verifier::new(cloud.trust(), Policy::default());
    let proof = encode(&message.with_signature(None, &pss));
    assert_refused(verify_at(&verifier, &proof, at(CREATED)), Reason::BadSignature);
}

#[test]
fn the_signers_digest_must_be_listed_under_either_of_its_names() {
    let verify = |listed: &[&[u8]], digest: &[u8]| {
        verify_message(|message, _| {
            message.listed_digests = Some(listed.iter().map(|&id| id.to_owned()).collect());
            message.digest_algorithm = digest.to_owned();
        })
    };
    for (listed, digest) in [
        (&[cms::SHA256_WITH_RSA][..], cms::SHA256),
        (&[cms::SHA256], cms::SHA256_WITH_RSA),
        (&[cms::SHA1, cms::SHA256], cms::SHA256),
    ] {
        verify(listed, digest).unwrap();
    }
    for listed in [&[][..], &[cms::SHA1], &[cms::SHA384, cms::SHA384_WITH_RSA]] {
        assert_refused(verify(listed, cms::SHA256), Reason::MalformedProof);
    }
}

#[test]
fn ber_is_not_azures() {
    assert_refused(verify_message(|message, _| message.ber = true), Reason::MalformedProof);
}

#[test]
fn exactly_one_signer_with_attached_content_is_demanded() {
    assert_refused(verify_message(|m, _| m.signers = 0), Reason::MalformedProof);
    assert_refused(verify_message(|m, _| m.signers = 2), Reason::MalformedProof);
    assert_refused(verify_message(|m, _| m.content = None), Reason::MalformedProof);
}

#[test]
fn exactly_one_certificate_must_be_the_signers() {
    assert_refused(verify_message(|m, _| m.certificates.clear()), Reason::MalformedProof);
    assert_refused(
        verify_message(|m, cloud| m.certificates.push(cloud.leaf.der())),
        Reason::MalformedProof,
    );
    assert_refused(verify_message(|m, _| m.serial.push(1)), Reason::MalformedProof);
    assert_refused(verify_message(|m, _| m.issuer = vec![0x30, 0]), Reason::MalformedProof);
    assert_refused(
        verify_message(|m, _| m.certificates.push(vec![0x30, 0])),
        Reason::MalformedProof,
    );
}

#[test]
fn the_order_of_certificates_does_not_matter_but_their_number_does() {
    verify_message(|m, cloud| m.certificates.push(cloud.intermediate.der())).unwrap();
    verify_message(|m, cloud| m.certificates.insert(0, cloud.intermediate.der())).unwrap();
    let others: Vec<_> = (0..8).map(|n| Authority::root(&format!("Other {n}")).der()).collect();
    verify_message(|m, _| m.certificates.extend(others[..7].iter().cloned())).unwrap();
    let result = verify_message(|m, _| m.certificates.extend(others));
    assert_refused(result, Reason::MalformedProof);
}

#[test]
fn name_signature_and_path_are_those_of_one_certificate() {
    let cloud = &*CLOUD;
    let attacker = &*OTHER_CLOUD;
    let json = document().to_json();
    let verifier = Verifier::new(cloud.trust(), Policy::default());

    // The genuine certificate comes along, but another key signs.
    let mut message = cloud.leaf.message(json.as_bytes());
    let proof = encode(&message.sign(attacker.leaf.key()));
    assert_refused(verify_at(&verifier, &proof, at(CREATED)), Reason::BadSignature);

    // The attacker signs as himself and lets the genuine certificate come along.
    let mut own = attacker.leaf.message(json.as_bytes());
    own.certificates.insert(0, cloud.leaf.der());
    let proof = encode(&own.sign(attacker.leaf.key()));
    assert_refused(verify_at(&verifier, &proof, at(CREATED)), Reason::UntrustedSigner);

    // The genuine signer is named, the attacker's certificate stands alone.
    message.certificates = vec![attacker.leaf.der()];
    let proof = encode(&message.sign(attacker.leaf.key()));
    assert_refused(verify_at(&verifier, &proof, at(CREATED)), Reason::MalformedProof);
}

#[test]
fn certificates_that_come_along_may_lead_to_a_root_but_not_be_one() {
    let cloud = &*CLOUD;
    let mut trust = Trust::none();
    trust.add_root_pem(cloud.root.pem().as_bytes()).unwrap();
    assert_refused(verify_leaf(&trust, &cloud.leaf), Reason::UntrustedSigner);

    let json = document().to_json();
    let mut message = cloud.leaf.message(json.as_bytes());
    message.certificates.push(cloud.intermediate.der());
    let proof = encode(&message.sign(cloud.leaf.key()));
    let verifier = Verifier::new(trust, Policy::default());
    verify_at(&verifier, &proof, at(CREATED)).unwrap();

    message.certificates.push(cloud.root.der());
    let proof = encode(&message.sign(cloud.leaf.key()));
    let elsewhere = Verifier::new(OTHER_CLOUD.trust(), Policy::default());
    assert_refused(verify_at(&elsewhere, &proof, at(CREATED)), Reason::UntrustedSigner);
}

#[test]
fn certificates_that_name_one_another_in_a_circle_lead_nowhere() {
    let circle: Vec<_> = (0..7).map(|_| Authority::root("Circle")).collect();
    let leaf = circle[0]
        .issue_leaf(&LeafOptions { key: Some(CLOUD.leaf.key().clone()), ..LeafOptions::default() });
    let mut message = leaf.message(document().to_json().as_bytes());
    message.certificates.extend(circle.iter().map(Authority::der));
    let proof = encode(&message.sign(leaf.key()));
    assert_refused(verify_at(&verifier(), &proof, at(CREATED)), Reason::UntrustedSigner);
}

#[test]
fn a_leaf_must_be_named_in_an_azure_cloud() {
    let cloud = &*CLOUD;
    let trust = cloud.trust();
    let verify = |cn: &str, sans: &[&str]| verify_leaf(&trust, &leaf(LeafOptions::named(cn, sans)));
    let com = "metadata.azure.com";
    for (cn, sans) in [
        (com, &["westeurope.metadata.azure.com", com][..]),
        ("a.b.metadata.azure.us", &["a.b.metadata.azure.us"]),
        ("METADATA.azure.cn", &["metadata.AZURE.cn"]),
        // A wildcard is not a host's name, but it does not name a foreign host either.
        (com, &[com, "*.metadata.azure.com"]),
    ] {
        verify(cn, sans).unwrap();
    }
    for (cn, sans) in [
        (com, &[][..]),
        (com, &["other.example"]),
        (com, &["metadata.azure.us"]),
        (com, &["*.metadata.azure.com"]),
        (com, &["metadata.azure.com.example.org"]),
        ("other.example", &[com]),
        ("metadata.azure.us", &[com]),
        ("xmetadata.azure.com", &["xmetadata.azure.com"]),
        ("metadata-azure.com", &["metadata-azure.com"]),
        (com, &["other.example", com]),
        (com, &[com, "other.example"]),
        (com, &[com, "metadata.azure.com.example.org"]),
        (com, &[com, "*.azure.com"]),
        (com, &[com, "*.example.org"]),
        (com, &[com, "under_score.example.org"]),
        // Not the name of a host, although OpenSSL accepts it
        (com, &[com, "*"]),
    ] {
        assert_refused(verify(cn, sans), Reason::SignerNotAllowed);
    }
}

#[test]
fn a_leaf_that_is_also_for_an_address_is_refused() {
    let alternative_addresses = vec!["10.0.0.1".to_owned()];
    let leaf = leaf(LeafOptions { alternative_addresses, ..LeafOptions::default() });
    assert_refused(verify_leaf(&CLOUD.trust(), &leaf), Reason::SignerNotAllowed);
}

#[test]
fn every_name_of_a_leaf_must_lie_in_a_cloud_that_is_accepted() {
    let (com, us, cn, de) = (
        "metadata.azure.com",
        "metadata.azure.us",
        "metadata.azure.cn",
        "metadata.microsoftazure.de",
    );
    for (names, clouds, accepted) in [
        (&[com, us][..], None, true),
        (&[com, us], Some(&["public", "government"][..]), true),
        (&[com, us], Some(&["public"]), false),
        (&[us, com], Some(&["government"]), false),
        (&[com, "*.metadata.azure.us"], Some(&["public"]), false),
        (&[com, de], Some(&["public", "government", "china"]), false),
        (&[cn, com], Some(&["china", "public"]), true),
    ] {
        let leaf = leaf(LeafOptions::named(names[0], names));
        let proof = leaf.sign(document().to_json().as_bytes());
        let policy = clouds.map_or_else(Policy::default, |clouds| {
            serde_json::from_value(serde_json::json!({ "azure_clouds": clouds })).unwrap()
        });
        let verifier = Verifier::new(CLOUD.trust(), policy);
        match verify_at(&verifier, &proof, at(CREATED)) {
            Ok(instance) => {
                assert!(accepted, "{names:?}");
                let Claims::Azure(claims) = instance.claims() else { panic!("{names:?}") };
                // That of the common name.
                assert_eq!(claims.environment.as_str() == "public", names[0] == com);
            }
            Err(error) => {
                assert!(!accepted, "{names:?}: {error}");
                assert_eq!(error.reason(), Reason::SignerNotAllowed);
            }
        }
    }
}

#[test]
fn an_issuer_that_is_missing_is_named_with_where_it_can_be_had() {
    let cloud = &*CLOUD;
    let url = "http://www.microsoft.com/pkiops/certs/Missing.crt";
    let issuer = cloud.root.issue("Test Issuing CA 09", &[]);
    let options = LeafOptions { issuer_urls: vec![url.to_owned()], ..LeafOptions::default() };
    let missing = issuer.issue_leaf(&options);
    let error = verify_leaf(&cloud.trust(), &missing).unwrap_err();
    assert_eq!(error.reason(), Reason::UntrustedSigner);
    let said = error.to_string();
    assert!(said.contains("`Test Issuing CA 09`") && said.contains(url), "{said}");

    // The issuer is there, and the root above it is not.
    let elsewhere = Authority::root("Test Root 09");
    let issuer = elsewhere.issue("Test Issuing CA 10", &[]);
    let mut trust = cloud.trust();
    trust.add_intermediate_pem(issuer.pem().as_bytes()).unwrap();
    let said =
        verify_leaf(&trust, &issuer.issue_leaf(&LeafOptions::default())).unwrap_err().to_string();
    assert!(said.contains("`Test Root 09`") && said.contains("does not say where"), "{said}");

    // Everything is there, and the certificate is not what its issuer signed.
    let twin = Authority::root("Test Root 09");
    trust.add_root_pem(twin.pem().as_bytes()).unwrap();
    let error = verify_leaf(&trust, &issuer.issue_leaf(&LeafOptions::default())).unwrap_err();
    assert_eq!(error.reason(), Reason::UntrustedSigner);
    assert!(!error.to_string().contains("missing"), "{error}");
}

#[test]
fn a_leaf_does_not_need_a_common_name() {
    let cloud = &*CLOUD;
    let options = LeafOptions { common_name: None, ..LeafOptions::default() };
    verify_leaf(&cloud.trust(), &leaf(options)).unwrap();
}

#[test]
fn clouds_can_be_chosen() {
    let cloud = &*CLOUD;
    let names = [
        ("metadata.azure.com", Environment::Public),
        ("metadata.azure.us", Environment::Government),
        ("metadata.azure.cn", Environment::China),
        ("metadata.microsoftazure.de", Environment::Germany),
    ];
    for (name, own) in names {
        let leaf = leaf(LeafOptions::named(name, &[name]));
        // The root is an operator's, so even Germany counts.
        verify_leaf(&cloud.trust(), &leaf).unwrap();
        let proof = leaf.sign(document().to_json().as_bytes());
        for (_, allowed) in names {
            let text = format!(r#"{{"azure_clouds":["{}"]}}"#, allowed.as_str());
            let policy: Policy = serde_json::from_str(&text).unwrap();
            let result = verify_at(&Verifier::new(cloud.trust(), policy), &proof, at(CREATED));
            if allowed == own {
                result.unwrap();
            } else {
                assert_refused(result, Reason::SignerNotAllowed);
            }
        }
    }
    serde_json::from_str::<Policy>(r#"{"azure_clouds":["mars"]}"#).unwrap_err();
}

#[test]
fn keys_must_be_neither_small_nor_costly() {
    let cloud = &*CLOUD;
    for (bits, accepted) in [(1024, false), (2048, true), (4096, true), (4104, false)] {
        let key = Some(Key::generate(bits));
        let leaf = leaf(LeafOptions { key, ..LeafOptions::default() });
        let result = verify_leaf(&cloud.trust(), &leaf);
        if accepted {
            result.unwrap();
        } else {
            assert_refused(result, Reason::AlgorithmNotAllowed);
        }
    }
}

#[test]
fn usages_must_include_servers_if_there_are_any() {
    let cloud = &*CLOUD;
    for (usages, accepted) in [
        (&[][..], true),
        (&["serverAuth"], true),
        (&["clientAuth", "serverAuth"], true),
        (&["clientAuth"], false),
        (&["codeSigning"], false),
    ] {
        let usages = usages.iter().map(|&usage| usage.to_owned()).collect();
        let leaf = leaf(LeafOptions { usages, ..LeafOptions::default() });
        let result = verify_leaf(&cloud.trust(), &leaf);
        if accepted {
            result.unwrap();
        } else {
            assert_refused(result, Reason::UntrustedSigner);
        }
    }
}

#[test]
fn a_leaf_issues_nothing_and_an_authority_signs_nothing() {
    let cloud = &*CLOUD;
    let below = cloud.leaf.as_authority().issue_leaf(&LeafOptions::default());
    let mut message = below.message(document().to_json().as_bytes());
    message.certificates.push(cloud.leaf.der());
    let verifier = Verifier::new(cloud.trust(), Policy::default());
    let proof = encode(&message.sign(below.key()));
    assert_refused(verify_at(&verifier, &proof, at(CREATED)), Reason::UntrustedSigner);

    let options = LeafOptions { authority: true, ..LeafOptions::default() };
    let authority = leaf(options);
    assert_refused(verify_leaf(&cloud.trust(), &authority), Reason::UntrustedSigner);
}

#[test]
fn an_authoritys_key_must_be_for_certificates_if_it_says_what_it_is_for() {
    let cloud = &*CLOUD;
    for (usage, accepted) in [
        (None, true),
        (Some("critical,keyCertSign,cRLSign"), true),
        (Some("digitalSignature,keyCertSign"), true),
        (Some("critical,digitalSignature,cRLSign"), false),
        (Some("decipherOnly"), false),
    ] {
        let key_usage = usage.map(str::to_owned);
        let named = LeafOptions::named("Other Issuing CA", &[]);
        let options = LeafOptions { authority: true, key_usage, ..named };
        let authority = cloud.root.issue_leaf(&options).as_authority();
        let key = Some(cloud.leaf.key().clone());
        let leaf = authority.issue_leaf(&LeafOptions { key, ..LeafOptions::default() });

        let mut trust = cloud.trust();
        let built_in = trust.clone();
        trust.add_intermediate_pem(authority.pem().as_bytes()).unwrap();
        let mut message = leaf.message(document().to_json().as_bytes());
        message.certificates.push(authority.der());
        let sent = encode(&message.sign(leaf.key()));
        let sent = verify_at(&Verifier::new(built_in, Policy::default()), &sent, at(CREATED));
        for result in [verify_leaf(&trust, &leaf), sent] {
            if accepted {
                result.unwrap();
            } else {
                assert_refused(result, Reason::UntrustedSigner);
            }
        }
    }
}

#[test]
fn the_leafs_dates_hold_to_the_second() {
    let cloud = &*CLOUD;
    let options = LeafOptions {
        not_before: 1_767_225_600,
        not_after: 1_767_229_200,
        ..LeafOptions::default()
    };
    let leaf = leaf(options);
    let proof = leaf.sign(document().to_json().as_bytes());
    let mut policy = Policy::default();
    policy.azure_enforce_expires_on = false;
    let verifier = Verifier::new(cloud.trust(), policy);
    let verify = |time: &str| verify_at(&verifier, &proof, at(time));

    assert_refused(verify_at(&verifier, &proof, SystemTime::UNIX_EPOCH), Reason::NotYetValid);
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    verify_at(&verifier, &proof, before_1970).unwrap_err();
    assert_refused(verify("2025-12-31T23:59:59Z"), Reason::NotYetValid);
    verify("2026-01-01T00:00:00Z").unwrap();
    verify("2026-01-01T01:00:00Z").unwrap();
    assert_refused(verify("2026-01-01T01:00:01Z"), Reason::Expired);
}

#[test]
fn a_live_twin_of_an_expired_authority_is_found() {
    let (old_root, new_root) = (Authority::root("Old Root"), Authority::root("New Root"));
    let authority = old_root.issue("Test Azure Issuing CA 01", &[]);
    let twin = new_root.cross_sign("Test Azure Issuing CA 01", &authority);
    let leaf = authority.issue_leaf(&LeafOptions::default());
    for roots in [[&new_root].as_slice(), &[&old_root], &[&old_root, &new_root]] {
        for intermediates in [[&authority, &twin], [&twin, &authority]] {
            let mut trust = Trust::none();
            for root in roots {
                trust.add_root_pem(root.pem().as_bytes()).unwrap();
            }
            for intermediate in intermediates {
                trust.add_intermediate_pem(intermediate.pem().as_bytes()).unwrap();
            }
            verify_leaf(&trust, &leaf).unwrap();
        }
    }
}

#[test]
fn the_end_of_a_document_is_enforced_unless_the_policy_does_not() {
    let cloud = &*CLOUD;
    let proof = cloud.sign(document().to_json().as_bytes());
    let verify = |policy: &str, now| {
        let policy = serde_json::from_str(policy).unwrap();
        verify_at(&Verifier::new(cloud.trust(), policy), &proof, now)
    };
    let second = Duration::from_secs(1);
    verify("{}", at(EXPIRES)).unwrap();
    verify("{}", at(EXPIRES) + 60 * second).unwrap();
    assert_refused(verify("{}", at(EXPIRES) + 61 * second), Reason::Expired);
    verify(r#"{"leeway_seconds":0}"#, at(EXPIRES)).unwrap();
    let none = r#"{"leeway_seconds":0}"#;
    assert_refused(verify(none, at(EXPIRES) + second), Reason::Expired);
    let off = r#"{"azure_enforce_expires_on":false}"#;
    verify(off, at(EXPIRES) + 1_000_000 * second).unwrap();
}

#[test]
fn a_document_without_an_end_is_refused_while_ends_are_enforced() {
    let json = format!(r#"{{"vmId":"{ID}"}}"#);
    assert_refused(verify_document(Policy::default(), &json), Reason::MissingClaim);
    let mut policy = Policy::default();
    policy.azure_enforce_expires_on = false;
    verify_document(policy, &json).unwrap();
}

#[test]
fn dates_have_any_offset_and_an_unknown_form_is_not_a_missing_claim() {
    for text in [
        "01/01/26 06:00:00 -0000",
        "01/01/26 06:00:00 +0000",
        "01/01/26 06:00:00 +00:00",
        "01/01/26 06:00:00 Z",
        "01/01/26 06:00:00Z",
        "01/01/26 08:30:00 +0230",
        "12/31/25 22:00:00 -08:00",
        "01/01/26 06:00:00.0000000 +0000",
    ] {
        let mut of_offset = document();
        of_offset.expires_on = text.to_owned();
        of_offset.created_on = text.to_owned();
        let verified = verify_document(Policy::default(), &of_offset.to_json()).unwrap();
        let Claims::Azure(claims) = verified.claims() else { panic!("{verified:?}") };
        assert_eq!((claims.created_on, claims.expires_on), (Some(at(EXPIRES)), Some(at(EXPIRES))));
    }
    for text in ["2026-01-01T06:00:00Z", "01/01/2026 06:00:00 +0000", "tomorrow", ""] {
        let mut odd = document();
        odd.expires_on = text.to_owned();
        let error = verify_document(Policy::default(), &odd.to_json()).unwrap_err();
        assert_eq!(error.reason(), Reason::MalformedProof, "{text}");
        assert!(error.to_string().contains("`expiresOn`"), "{error}");
        let mut policy = Policy::default();
        policy.azure_enforce_expires_on = false;
        let verified = verify_document(policy, &odd.to_json()).unwrap();
        let Claims::Azure(claims) = verified.claims() else { panic!("{verified:?}") };
        assert_eq!(claims.expires_on, None, "{text}");
    }
}

#[test]
fn a_nonce_must_be_answered_exactly() {
    let verify = |expected: &str, nonce: &str| {
        let mut document = document();
        document.nonce = nonce.to_owned();
        let mut policy = Policy::default();
        policy.azure_expected_nonce = Some(expected.to_owned());
        verify_document(policy, &document.to_json())
    };
    verify("a1B2", "a1B2").unwrap();
    // 24 bytes in base64url, as other verifiers of attested data ask for.
    verify("-_8gVw3uTq0Zb2-1kYx9Lr4sHc7dNfAm", "-_8gVw3uTq0Zb2-1kYx9Lr4sHc7dNfAm").unwrap();
    verify("20260101-06000", "20260101-06000").unwrap();
    for (expected, nonce) in [
        ("a1B2", "a1b2"),
        ("a1B2", ""),
        ("a1B2", "a1B2a1B2"),
        ("", ""),
        // Azure's own filling answers nothing, even if that were asked for.
        ("20260101-060000", "20260101-060000"),
    ] {
        assert_refused(verify(expected, nonce), Reason::NonceMismatch);
    }
    let long = "a".repeat(33);
    assert_refused(verify(&long, &long), Reason::NonceMismatch);
}

#[test]
fn a_subscription_must_be_listed_if_any_is() {
    let verify = |list: &str, subscription: &str| {
        let mut document = document();
        document.subscription_id = subscription.to_owned();
        let policy = format!(r#"{{"azure_allowed_subscriptions":{list}}}"#);
        verify_document(serde_json::from_str(&policy).unwrap(), &document.to_json())
    };
    let (upper, lower) = (SUBSCRIPTION.replace('9', "A"), SUBSCRIPTION.replace('9', "a"));
    verify(&format!(r#"["{upper}"]"#), &lower).unwrap();
    verify(&format!(r#"["x","{lower}"]"#), &upper).unwrap();
    for list in ["[]", r#"["x"]"#] {
        assert_refused(verify(list, &lower), Reason::SubscriptionNotAllowed);
    }
    // Documents of 2018 name none, and no entry stands for that.
    let json = document().to_json().replace("subscriptionId", "other");
    let policy = serde_json::from_str(r#"{"azure_allowed_subscriptions":[""]}"#).unwrap();
    assert_refused(verify_document(policy, &json), Reason::SubscriptionNotAllowed);
}

#[test]
fn a_genuine_document_may_name_no_machine() {
    for id in ["", "7", "i-0123abcd", "11111111222243338444555555555555", "\"\u{0}"] {
        let mut document = document();
        document.vm_id = id.to_owned();
        let error = verify_document(Policy::default(), &document.to_json()).unwrap_err();
        assert_eq!(error.instance_id(), Some(id));
    }
}

#[test]
fn signed_bytes_that_are_not_attested_data_are_refused() {
    for json in [
        "",
        "hello",
        "[]",
        "null",
        r#"{"vmId":7}"#,
        r#"{"vmId":"a","vmId":"b"}"#,
        r#"{"vmId":"a","timeStamp":{"expiresOn":"a","expiresOn":"b"}}"#,
        r#"{"vmId":"a","timeStamp":["01/01/26 00:00:00 -0000","01/01/26 06:00:00 -0000"]}"#,
        r#"{"vmId":"a"}{}"#,
    ] {
        assert_refused(verify_document(Policy::default(), json), Reason::MalformedProof);
    }
}

#[test]
fn bytes_that_are_not_a_message_are_refused() {
    let verifier = Verifier::builtin();
    for text in ["", "AAAA", "MAA=", "-_-_", "AAA", "MIIB MIIB"] {
        assert_refused(verify_at(&verifier, text, at(CREATED)), Reason::MalformedProof);
    }
    let large = "A".repeat(70_000);
    assert_refused(verify_at(&verifier, &large, at(CREATED)), Reason::OversizedProof);
}

#[test]
fn files_without_a_certificate_are_refused_whole() {
    let cloud = &*CLOUD;
    let (good, key) = (cloud.root.pem(), cloud.leaf.key().public_key_pem());
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for pem in ["", "x", broken, &key, &format!("{good}{key}"), &format!("{good}{broken}")] {
        let mut trust = Trust::none();
        let errors =
            [trust.add_root_pem(pem.as_bytes()), trust.add_intermediate_pem(pem.as_bytes())];
        for error in errors {
            assert_eq!(error.unwrap_err().reason(), Reason::InvalidTrust, "{pem}");
        }
        assert_eq!(trust.certificates().count(), 0);
    }
}

#[test]
fn the_built_in_certificates_are_all_there() {
    let trust = Trust::builtin();
    assert_eq!(trust.certificates().count(), 7 + 31);
    let mut listed: Vec<&str> =
        [include_str!("../data/azure/roots.pem"), include_str!("../data/azure/intermediates.pem")]
            .iter()
            .flat_map(|file| file.lines())
            .filter_map(|line| line.strip_prefix("SHA-256: "))
            .collect();
    let mut ours: Vec<_> = trust.certificates().map(|c| c.fingerprint().to_string()).collect();
    listed.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, listed);
}

#[test]
fn debug_output_shows_nothing_of_a_proof() {
    let proof = AttestedData { signature: b"secret" };
    assert_eq!(format!("{proof:?}"), "AttestedData { signature: 6 }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_id_is_the_one_that_was_signed(
        id in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ) {
        let mut document = document();
        document.vm_id = id.clone();
        let instance = verify_document(Policy::default(), &document.to_json()).unwrap();
        prop_assert_eq!(instance.id().as_str(), id);
    }

    #[test]
    fn changed_content_is_refused(byte in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        assert_changed_content_is_refused(byte.index(document().to_json().len()), flip);
    }

    /// Not "is refused": some bytes are not signed, and can be written in another way
    #[test]
    fn a_changed_message_is_refused_or_says_the_same(
        byte in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        signed_attributes in any::<bool>(),
    ) {
        let mut message = CLOUD.leaf.message(document().to_json().as_bytes());
        message.signed_attributes = signed_attributes;
        let mut bytes = message.sign(CLOUD.leaf.key());
        let original = verify_at(&verifier(), &encode(&bytes), at(CREATED)).unwrap();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= flip;
        if let Ok(instance) = verify_at(&verifier(), &encode(&bytes), at(CREATED)) {
            prop_assert_eq!(instance, original);
        }
    }
}

#[test]
fn content_with_another_first_byte_is_refused() {
    // Among them 74, which makes a SET of the content: signed attributes begin with this
    // tag, and could otherwise pass as content.
    assert_eq!(b'{' ^ 74, SET);
    for flip in 1..=255 {
        assert_changed_content_is_refused(0, flip);
    }
}

#[track_caller]
fn assert_changed_content_is_refused(byte: usize, flip: u8) {
    let mut content = document().to_json().into_bytes();
    let signature = CLOUD.leaf.key().sign(&content);
    let mut message = CLOUD.leaf.message(&content);
    content[byte] ^= flip;
    let is_set = content[0] == SET;
    message.content = Some(content);
    let proof = encode(&message.with_signature(None, &signature));
    let reason = if is_set { Reason::MalformedProof } else { Reason::BadSignature };
    assert_refused(verify_at(&verifier(), &proof, at(CREATED)), reason);
}

/// The tag of a SET in ASN.1, which is that of signed attributes
const SET: u8 = 0x31;

#[test]
fn the_signature_algorithm_may_be_named_with_or_without_its_hash() {
    let mut bytes = CLOUD.leaf.message(document().to_json().as_bytes()).sign(CLOUD.leaf.key());
    let original = verify_at(&verifier(), &encode(&bytes), at(CREATED)).unwrap();
    // In the SignerInfo, which comes last. Its one byte makes rsaEncryption of
    // sha256WithRSAEncryption.
    let oid = cms::RSA_ENCRYPTION;
    let at_oid = bytes.windows(oid.len()).rposition(|window| window == oid).unwrap();
    bytes[at_oid..at_oid + oid.len()].copy_from_slice(cms::SHA256_WITH_RSA);
    let changed = verify_at(&verifier(), &encode(&bytes), at(CREATED)).unwrap();
    assert_eq!(changed, original);
}
