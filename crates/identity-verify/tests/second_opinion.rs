//! OpenSSL's opinion of the same messages and paths
//!
//! What we accept it must accept. What it refuses we must refuse. Where it accepts
//! and we refuse, the reason must be one that it does not look at.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Proof, captured, json, text, vectors};
use identity_verify::Reason;
use openssl::{
    pkcs7::{Pkcs7, Pkcs7Flags},
    stack::Stack,
    x509::{
        X509, X509PurposeId, X509StoreContext,
        store::X509StoreBuilder,
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

#[test]
fn openssl_agrees_about_attested_data() {
    let production = Certificates {
        roots: stack(include_bytes!("../data/azure/roots.pem")),
        intermediates: stack(include_bytes!("../data/azure/intermediates.pem")),
    };
    let minted = Certificates {
        roots: stack(include_bytes!("vectors/identity/azure-minted/root.pem")),
        intermediates: stack(include_bytes!("vectors/identity/azure-minted/intermediate.pem")),
    };
    let mut accepted_by_both = 0;
    for vector in vectors() {
        let Proof::Azure { signature } = &vector.proof else { continue };
        let certificates = if vector.id.contains("minted") { &minted } else { &production };
        let theirs = azure(certificates, signature, vector.now).is_some();
        let ours = vector.verifier()(&vector.proof, vector.now);
        let ours_of_them = ours.as_ref().map_err(|error| error.reason());
        match (ours_of_them, theirs) {
            (Ok(_), true) => accepted_by_both += 1,
            (Err(reason), true) => {
                let unknown_to_them = [
                    Reason::SignerNotAllowed,
                    Reason::NonceMismatch,
                    Reason::Expired,
                    Reason::MissingClaim,
                    Reason::InvalidInstanceId,
                    Reason::MalformedProof,
                    Reason::AlgorithmNotAllowed,
                ];
                assert!(unknown_to_them.contains(&reason), "{}: {reason}", vector.id);
            }
            (Ok(instance), false) => panic!("{}: only we accept {instance:?}", vector.id),
            (Err(_), false) => {}
        }
    }
    let at_least = if captured().is_some() { 20 } else { 7 };
    assert!(accepted_by_both >= at_least, "{accepted_by_both}");
}

#[test]
fn openssl_agrees_about_messages_of_aws() {
    let Some(folder) = captured() else { return };
    let regions = json(&folder.join("aws/regions.json"));
    let mut accepted_by_both = 0;
    for vector in vectors() {
        let Proof::AwsPkcs7 { pkcs7, .. } = &vector.proof else { continue };
        if vector.id.contains("dsa") {
            continue;
        }
        let regions = regions.as_object().unwrap().values();
        let theirs = regions.into_iter().any(|region| {
            let pem = fs::read(folder.join(text(&region["rsa2048"]))).unwrap();
            aws(&X509::from_pem(&pem).unwrap(), pkcs7).is_some()
        });
        match (vector.verifier()(&vector.proof, vector.now), theirs) {
            (Ok(_), true) => accepted_by_both += 1,
            (Err(error), true) => assert_eq!(error.reason(), Reason::DocumentMismatch),
            (Ok(instance), false) => panic!("{}: only we accept {instance:?}", vector.id),
            (Err(_), false) => {}
        }
    }
    assert_eq!(accepted_by_both, 2);
}

#[test]
fn every_built_in_intermediate_leads_to_a_built_in_root() {
    let intermediates = stack(include_bytes!("../data/azure/intermediates.pem"));
    let mut store = X509StoreBuilder::new().unwrap();
    for root in stack(include_bytes!("../data/azure/roots.pem")) {
        store.add_cert(root).unwrap();
    }
    // Dates aside: it is about signatures, and some have expired.
    store.set_flags(X509VerifyFlags::NO_CHECK_TIME).unwrap();
    let store = store.build();
    let mut untrusted = Stack::new().unwrap();
    for intermediate in &intermediates {
        untrusted.push(intermediate.clone()).unwrap();
    }
    for intermediate in &intermediates {
        let mut context = X509StoreContext::new().unwrap();
        let verified = context.init(&store, intermediate, &untrusted, |path| path.verify_cert());
        assert!(verified.unwrap(), "{:?}", intermediate.subject_name());
    }
}

struct Certificates {
    roots: Vec<X509>,
    intermediates: Vec<X509>,
}

fn stack(pem: &[u8]) -> Vec<X509> {
    X509::stack_from_pem(pem).unwrap()
}

/// `Some` if OpenSSL verifies message and path
fn azure(certificates: &Certificates, text: &[u8], now: SystemTime) -> Option<()> {
    let text: Vec<u8> = text.iter().filter(|b| !b"\r\n".contains(b)).copied().collect();
    let der = STANDARD.decode(text).ok()?;
    let message = Pkcs7::from_der(&der).ok()?;
    // OpenSSL's reader stops at the end of the message.
    (message.to_der().ok()?.len() == der.len()).then_some(())?;
    let none = Stack::new().unwrap();
    let empty_store = X509StoreBuilder::new().unwrap().build();
    let mut content = Vec::new();
    message.verify(&none, &empty_store, None, Some(&mut content), Pkcs7Flags::NOVERIFY).ok()?;

    let signers = message.signers(&none, Pkcs7Flags::empty()).ok()?;
    let [signer] = signers.iter().collect::<Vec<_>>()[..] else { return None };
    let mut store = X509StoreBuilder::new().unwrap();
    for root in &certificates.roots {
        store.add_cert(root.clone()).unwrap();
    }
    let mut parameters = X509VerifyParam::new().unwrap();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    parameters.set_time(i64::try_from(seconds).unwrap());
    parameters.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
    store.set_param(&parameters).unwrap();
    let mut untrusted = Stack::new().unwrap();
    for intermediate in &certificates.intermediates {
        untrusted.push(intermediate.clone()).unwrap();
    }
    let mut context = X509StoreContext::new().unwrap();
    let verified = context.init(&store.build(), signer, &untrusted, |path| path.verify_cert());
    verified.unwrap().then_some(())
}

/// `Some` if OpenSSL verifies the message with the key of `certificate`
fn aws(certificate: &X509, text: &[u8]) -> Option<()> {
    let text: Vec<u8> = text.iter().filter(|b| !b"\r\n".contains(b)).copied().collect();
    let message = Pkcs7::from_der(&STANDARD.decode(text).ok()?).ok()?;
    let mut certificates = Stack::new().unwrap();
    certificates.push(certificate.clone()).unwrap();
    let empty_store = X509StoreBuilder::new().unwrap().build();
    let flags = Pkcs7Flags::NOVERIFY | Pkcs7Flags::NOINTERN;
    message.verify(&certificates, &empty_store, None, Some(&mut Vec::new()), flags).ok()
}
