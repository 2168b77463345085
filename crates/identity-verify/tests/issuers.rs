//! Fetching the certificates that are missing on the path of an Azure signer

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::SystemTime,
};

use identity_verify::{
    Error, Policy, Reason, VerifiedInstance,
    azure::{AttestedData, DynFetchIssuer, FetchIssuer, IssuerUrl, Trust, Verifier},
    test_util::{
        Key, at,
        azure::{Authority, Document, Leaf, LeafOptions, encode},
    },
};

const NOW: &str = "2026-01-01T00:00:00Z";
const URL: &str = "http://www.microsoft.com/pkiops/certs/issuer.crt";
const OTHER_URL: &str = "http://caissuers.microsoft.com/pkiops/certs/issuer.crt";
const URL_1: &str = "http://cacerts.digicert.com/1.crt";
const URL_2: &str = "http://cacerts.digicert.com/2.crt";
const URL_3: &str = "https://cacerts.digicert.cn/3.crt";
const OUTSIDE: &str = "http://169.254.169.254/latest/meta-data";

static ROOT: LazyLock<Authority> = LazyLock::new(|| Authority::root("Root"));
static ISSUER: LazyLock<Authority> = LazyLock::new(|| ROOT.issue("Issuer", &[]));

/// Keys take long to make, so all leaves share this
static LEAF_KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(2048));

/// Serves certificates, and remembers what was asked
#[derive(Default)]
struct Fetcher {
    files: BTreeMap<&'static str, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Fetcher {
    fn of<const N: usize>(files: [(&'static str, Vec<u8>); N]) -> Self {
        Self { files: BTreeMap::from(files), ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl FetchIssuer for Fetcher {
    async fn fetch(&self, url: &IssuerUrl, _now: SystemTime) -> Option<Vec<u8>> {
        self.asked.lock().unwrap().push(url.as_str().to_owned());
        self.files.get(url.as_str()).cloned()
    }
}

fn options(urls: &[&str]) -> LeafOptions {
    LeafOptions {
        issuer_urls: urls.iter().map(|&url| url.to_owned()).collect(),
        key: Some(LEAF_KEY.clone()),
        ..LeafOptions::default()
    }
}

fn leaf_of(issuer: &Authority, urls: &[&str]) -> Leaf {
    issuer.issue_leaf(&options(urls))
}

fn document() -> String {
    let (created, expires) = ("01/01/26 00:00:00 -0000", "01/01/26 06:00:00 -0000");
    Document::new("11111111-2222-4333-8444-55555555555a", "", created, expires).to_json()
}

fn verifier() -> Verifier {
    let mut trust = Trust::none();
    trust.add_root_pem(ROOT.pem().as_bytes()).unwrap();
    Verifier::new(trust, Policy::default())
}

fn verify_proof(proof: &str, fetcher: &Fetcher) -> Result<VerifiedInstance, Error> {
    let proof = AttestedData { signature: proof.as_bytes() };
    block_on(verifier().verify_with(&proof, at(NOW), fetcher))
}

fn verify(leaf: &Leaf, fetcher: &Fetcher) -> Result<VerifiedInstance, Error> {
    verify_proof(&leaf.sign(document().as_bytes()), fetcher)
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn a_missing_issuer_is_fetched() {
    let leaf = leaf_of(&ISSUER, &[URL]);
    let fetcher = Fetcher::of([(URL, ISSUER.der())]);
    verify(&leaf, &fetcher).unwrap();
    assert_eq!(fetcher.asked(), [URL]);

    let proof = leaf.sign(document().as_bytes());
    let offline = verifier().verify(&AttestedData { signature: proof.as_bytes() }, at(NOW));
    assert_refused(offline, Reason::UntrustedSigner);
}

#[test]
fn a_source_may_be_a_reference_an_arc_or_a_trait_object() {
    let proof = leaf_of(&ISSUER, &[URL]).sign(document().as_bytes());
    let proof = AttestedData { signature: proof.as_bytes() };
    let source = || Fetcher::of([(URL, ISSUER.der())]);
    let shared: Arc<dyn DynFetchIssuer> = Arc::new(source());
    let (verifier, now) = (verifier(), at(NOW));
    for verified in [
        block_on(verifier.verify_with(&proof, now, &&source())),
        block_on(verifier.verify_with(&proof, now, &Arc::new(source()))),
        block_on(verifier.verify_with(&proof, now, &shared)),
        block_on(verifier.verify_with(&proof, now, &*shared)),
    ] {
        verified.unwrap();
    }
}

#[test]
fn nothing_is_fetched_for_a_path_that_is_complete() {
    let fetcher = Fetcher::default();
    verify(&leaf_of(&ROOT, &[URL]), &fetcher).unwrap();

    let leaf = leaf_of(&ISSUER, &[URL]);
    let mut message = leaf.message(document().as_bytes());
    message.certificates.push(ISSUER.der());
    verify_proof(&encode(&message.sign(leaf.key())), &fetcher).unwrap();
    assert!(fetcher.asked().is_empty());
}

#[test]
fn urls_that_are_not_listed_are_skipped_not_fatal() {
    let fetcher = Fetcher::of([(URL, ISSUER.der()), (OUTSIDE, ISSUER.der())]);
    verify(&leaf_of(&ISSUER, &[OUTSIDE, "ldap://x/y", URL]), &fetcher).unwrap();
    assert_eq!(fetcher.asked(), [URL]);

    let fetcher = Fetcher::of([(OUTSIDE, ISSUER.der())]);
    assert_refused(verify(&leaf_of(&ISSUER, &[OUTSIDE]), &fetcher), Reason::UntrustedSigner);
    assert!(fetcher.asked().is_empty());
}

#[test]
fn the_next_url_is_asked_if_one_does_not_answer_well() {
    let stranger = Authority::root("Issuer");
    for answer in
        [None, Some(Vec::new()), Some(b"<html>".to_vec()), Some(stranger.der()), Some(ROOT.der())]
    {
        let mut fetcher = Fetcher::of([(OTHER_URL, ISSUER.der())]);
        if let Some(answer) = answer {
            fetcher.files.insert(URL, answer);
        }
        verify(&leaf_of(&ISSUER, &[URL, OTHER_URL]), &fetcher).unwrap();
        assert_eq!(fetcher.asked(), [URL, OTHER_URL]);
    }
}

#[test]
fn only_a_few_urls_are_asked() {
    let fetcher = Fetcher::default();
    let leaf = leaf_of(&ISSUER, &[URL, OTHER_URL, URL_1, URL_2, URL_3]);
    assert_refused(verify(&leaf, &fetcher), Reason::UntrustedSigner);
    assert_eq!(fetcher.asked(), [URL, OTHER_URL, URL_1]);
}

#[test]
fn up_to_three_certificates_are_fetched_upwards() {
    let top = ROOT.issue("Top", &[]);
    let middle = top.issue("Middle", &[URL_2]);
    let bottom = middle.issue("Bottom", &[URL_1]);
    let leaf = leaf_of(&bottom, &[URL]);
    let fetcher = Fetcher::of([(URL, bottom.der()), (URL_1, middle.der()), (URL_2, top.der())]);
    verify(&leaf, &fetcher).unwrap();
    assert_eq!(fetcher.asked(), [URL, URL_1, URL_2]);

    let top = ROOT.issue("Top", &[]);
    let third = top.issue("Third", &[URL_3]);
    let second = third.issue("Second", &[URL_2]);
    let first = second.issue("First", &[URL_1]);
    let leaf = leaf_of(&first, &[URL]);
    let fetcher = Fetcher::of([
        (URL, first.der()),
        (URL_1, second.der()),
        (URL_2, third.der()),
        (URL_3, top.der()),
    ]);
    assert_refused(verify(&leaf, &fetcher), Reason::UntrustedSigner);
    assert_eq!(fetcher.asked(), [URL, URL_1, URL_2]);
}

#[test]
fn a_fetched_certificate_must_be_an_authority_that_issued_the_child() {
    // A leaf that claims to have issued another.
    let pretender = ISSUER.issue_leaf(&LeafOptions::named("Pretender", &["example.org"]));
    let below = pretender
        .as_authority()
        .issue_leaf(&LeafOptions { issuer_urls: vec![URL.to_owned()], ..LeafOptions::default() });
    let fetcher = Fetcher::of([(URL, pretender.der())]);
    assert_refused(verify(&below, &fetcher), Reason::UntrustedSigner);

    // One of the right name and another key, whose own URL is not followed.
    let other = ROOT.issue("Issuer", &[URL_1]);
    let fetcher = Fetcher::of([(URL, other.der()), (URL_1, ROOT.der())]);
    assert_refused(verify(&leaf_of(&ISSUER, &[URL]), &fetcher), Reason::UntrustedSigner);
    assert_eq!(fetcher.asked(), [URL]);
}

#[test]
fn a_fetched_root_is_not_trusted() {
    let own = Authority::root("Own Root");
    let fetcher = Fetcher::of([(URL, own.der())]);
    assert_refused(verify(&leaf_of(&own, &[URL]), &fetcher), Reason::UntrustedSigner);
}

#[test]
fn large_answers_are_dropped() {
    let mut padded = ISSUER.der();
    padded.resize(IssuerUrl::MAX_ANSWER + 1, 0);
    let fetcher = Fetcher::of([(URL, padded)]);
    assert_refused(verify(&leaf_of(&ISSUER, &[URL]), &fetcher), Reason::UntrustedSigner);
}

#[test]
fn nothing_is_fetched_before_signature_and_name_are_good() {
    let fetcher = Fetcher::of([(URL, ISSUER.der())]);
    let leaf = leaf_of(&ISSUER, &[URL]);
    let message = leaf.message(document().as_bytes());
    let forged = encode(&message.with_signature(None, &[0; 256]));
    assert_refused(verify_proof(&forged, &fetcher), Reason::BadSignature);

    let mut named = options(&[URL]);
    named.alternative_names = vec!["example.org".to_owned()];
    assert_refused(verify(&ISSUER.issue_leaf(&named), &fetcher), Reason::SignerNotAllowed);

    for (not_before, not_after) in [(0, 1_000_000_000), (2_000_000_000, 2_100_000_000)] {
        let dated = LeafOptions { not_before, not_after, ..options(&[URL]) };
        verify(&ISSUER.issue_leaf(&dated), &fetcher).unwrap_err();
    }
    assert!(fetcher.asked().is_empty());
}

/// Runs a future that never waits
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}
