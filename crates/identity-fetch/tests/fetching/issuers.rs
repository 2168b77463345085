use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::join_all;
use identity_fetch::rustls::crypto::ring;
use identity_fetch::rustls::version::TLS13;
use identity_fetch::rustls::{ClientConfig, RootCertStore};
use identity_fetch::{IssuerCounts, IssuerFetcher};
use identity_verify::azure::{AttestedData, FetchIssuer, IssuerUrl, Trust, Verifier};
use identity_verify::test_util::at;
use identity_verify::test_util::azure::{Authority, Document, LeafOptions};
use identity_verify::{Error, Policy};
use tokio::time::{Instant, sleep};

use crate::world::{Reply, World};

const NOW: &str = "2026-11-21T00:00:00Z";
const MICROSOFT: &str = "www.microsoft.com";
const DIGICERT: &str = "cacerts.digicert.com";

/// The smallest answer that could be a certificate
const DER: [u8; 4] = [0x30, 2, 5, 0];

fn fetcher(world: &World) -> IssuerFetcher {
    IssuerFetcher::new(world.network())
}

/// A world in which DigiCert's host answers all requests with `answer`
fn digicert(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (World, IssuerFetcher) {
    let world = World::default();
    world.host(DIGICERT, "1.1.1.1", answer);
    let fetcher = fetcher(&world);
    (world, fetcher)
}

fn url(path: &str) -> IssuerUrl {
    IssuerUrl::parse(&format!("http://{DIGICERT}/{path}")).unwrap()
}

async fn fetch(fetcher: &IssuerFetcher, path: &str) -> Option<Vec<u8>> {
    fetcher.fetch(&url(path), SystemTime::UNIX_EPOCH).await
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// A root that is trusted, and an authority below it that has to be fetched
struct Azure {
    verifier: Verifier,
    intermediate: Authority,
}

impl Azure {
    fn new() -> Self {
        let root = Authority::root("Test Azure Root");
        let mut trust = Trust::none();
        trust.add_root_pem(root.pem().as_bytes()).unwrap();
        let intermediate = root.issue("Test Azure Issuing CA 01", &[]);
        Self { verifier: Verifier::new(trust, Policy::default()), intermediate }
    }

    /// Attested data, signed by a leaf whose issuer is at `urls`
    fn proof(&self, urls: &[&str]) -> String {
        let issuer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        let options = LeafOptions { issuer_urls, ..LeafOptions::default() };
        let document = Document::new(
            "6b8ea0b8-1c3f-4a4b-9b7e-2b0c1d2e3f40",
            "11111111-2222-3333-4444-555555555555",
            "11/20/26 22:00:00 -0000",
            "11/21/26 04:00:00 -0000",
        );
        self.intermediate.issue_leaf(&options).sign(document.to_json().as_bytes())
    }

    async fn verify(&self, proof: &str, source: &impl FetchIssuer) -> Result<(), Error> {
        let proof = AttestedData { signature: proof.as_bytes() };
        self.verifier.verify_with(&proof, at(NOW), source).await.map(drop)
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_url_does_not_hide_the_next() {
    let azure = Azure::new();
    let world = World::default();
    // The host name resolves to a private address.
    world.host(MICROSOFT, "10.0.0.1", |_| Reply::ok("secret"));
    let der = azure.intermediate.der();
    world.host(DIGICERT, "1.1.1.1", move |_| Reply::ok(&der));
    world.host("evil.example", "1.0.0.1", |_| Reply::ok("evil"));
    let fetcher = fetcher(&world);
    let proof = azure.proof(&[
        "http://evil.example/ca.crt",
        "http://www.microsoft.com/pkiops/certs/ca.crt",
        "http://cacerts.digicert.com/ca.crt",
    ]);
    for _ in 0..3 {
        azure.verify(&proof, &fetcher).await.unwrap();
    }
    assert_eq!(world.connected(), ["1.1.1.1:80".parse().unwrap()]);
    let IssuerCounts { fetched, failed, remembered, over_budget, .. } = fetcher.counts();
    assert_eq!([fetched, failed, remembered, over_budget], [1, 1, 4, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_proof_whose_issuer_cannot_be_fetched_is_refused() {
    let azure = Azure::new();
    let (_, fetcher) = digicert(|_| Reply::status("404 Not Found"));
    let proof = azure.proof(&["http://cacerts.digicert.com/ca.crt"]);
    let error = azure.verify(&proof, &fetcher).await.unwrap_err();
    assert!(matches!(error, Error::UnknownIssuer { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_resolves_differently_the_second_time_does_not_reach_the_private_network() {
    let world = World::default();
    world.name(DIGICERT, &[&["192.168.0.1"], &["1.1.1.1"], &["127.0.0.1", "169.254.169.254"]]);
    for address in ["192.168.0.1", "1.1.1.1", "127.0.0.1", "169.254.169.254"] {
        world.serve(address, |_| Reply::ok(DER));
    }
    let fetcher = fetcher(&world);
    assert_eq!(fetch(&fetcher, "a").await, None);
    assert_eq!(fetch(&fetcher, "b").await, Some(DER.to_vec()));
    assert_eq!(fetch(&fetcher, "c").await, None);
    assert_eq!(world.connected(), ["1.1.1.1:80".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_fetcher_with_the_callers_tls_reaches_public_addresses_only() {
    let world = World::default();
    world.name(DIGICERT, &[&["10.0.0.1"], &["1.1.1.1"]]);
    for address in ["10.0.0.1", "1.1.1.1"] {
        world.serve(address, |_| Reply::ok(DER));
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let fetcher = IssuerFetcher::with_tls(world.network(), Arc::new(tls));
    assert_eq!(fetch(&fetcher, "a").await, None);
    assert_eq!(fetch(&fetcher, "b").await, Some(DER.to_vec()));
    assert_eq!(world.connected(), ["1.1.1.1:80".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn only_a_small_certificate_from_exactly_that_url_is_accepted() {
    let large = [&[0x30, 0x83, 1, 0, 0][..], &vec![0; 1 << 16]].concat();
    for answer in [
        Reply::status("500 Internal"),
        Reply::with("302 Found", "location: http://127.0.0.1/\r\n", DER),
        Reply::ok("<html></html>"),
        Reply::ok([&DER[..], b"more"].concat()),
        Reply::ok(large),
        Reply::ok(""),
        Reply::Endless,
        Reply::Silence,
        Reply::Slow(DER.to_vec()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n0".to_vec()),
    ] {
        let (world, fetcher) = digicert(move |_| answer.clone());
        let started = Instant::now();
        assert_eq!(fetch(&fetcher, "a").await, None);
        assert!(started.elapsed() <= Duration::from_secs(6));
        assert_eq!(world.connected().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stampede_for_one_url_makes_one_fetch() {
    let (world, fetcher) = digicert(|_| Reply::ok(DER));
    let answers = join_all((0..1_000).map(|_| fetch(&fetcher, "a"))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some(&DER)));
    assert_eq!(world.requests().len(), 1);

    let (world, fetcher) = digicert(|_| Reply::Silence);
    let answers = join_all((0..1_000).map(|_| fetch(&fetcher, "a"))).await;
    assert!(answers.iter().all(Option::is_none));
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stampede_from_several_threads_makes_one_fetch() {
    let (world, fetcher) = digicert(|_| Reply::ok(DER));
    let fetcher = Arc::new(fetcher);
    let tasks = (0..1_000).map(|_| {
        let fetcher = Arc::clone(&fetcher);
        tokio::spawn(async move { fetch(&fetcher, "a").await })
    });
    for answer in join_all(tasks).await {
        assert_eq!(answer.unwrap(), Some(DER.to_vec()));
    }
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn certificates_are_kept_for_a_day_and_failures_for_five_minutes() {
    let (world, fetcher) = digicert(|path| match path {
        "/good" => Reply::ok(DER),
        _ => Reply::status("404 Not Found"),
    });
    let both = async || (fetch(&fetcher, "good").await.is_some(), fetch(&fetcher, "bad").await);
    assert_eq!(both().await, (true, None));
    seconds(299).await;
    assert_eq!(both().await, (true, None));
    assert_eq!(world.requests().len(), 2);
    seconds(2).await;
    assert_eq!(both().await, (true, None));
    assert_eq!(world.requests().len(), 3);
    seconds(24 * 3_600).await;
    assert_eq!(both().await, (true, None));
    assert_eq!(world.requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_kept_after_its_site_is_gone() {
    let (world, fetcher) = digicert(|_| Reply::ok(DER));
    assert!(fetch(&fetcher, "a").await.is_some());
    world.serve("1.1.1.1", |_| Reply::status("500 Internal"));
    for day in 1..=30 {
        seconds(24 * 3_600).await;
        assert!(fetch(&fetcher, "a").await.is_some(), "on day {day}");
    }
    assert_eq!(fetcher.counts().failed, 30);
    assert_eq!(fetch(&fetcher, "b").await, None);
}

#[tokio::test(start_paused = true)]
async fn at_most_twenty_fetches_begin_in_a_minute_across_all_urls() {
    let (world, fetcher) = digicert(|_| Reply::ok(DER));
    for second in 0..300 {
        for n in 0..5 {
            let answer = fetch(&fetcher, &format!("{second}/{n}")).await;
            assert_eq!(answer.is_some(), second % 60 < 4, "in second {second}");
        }
        seconds(1).await;
    }
    assert_eq!(world.requests().len(), 100);
    assert_eq!(fetcher.counts().over_budget, 1_400);
    // The last fetch was in second 243: a remembered answer does not need the budget.
    assert!(fetch(&fetcher, "243/4").await.is_some());
    assert_eq!(world.requests().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_failures_are_removed_first() {
    let (world, fetcher) = digicert(|path| match path {
        path if path.starts_with("/good") => Reply::ok(DER),
        _ => Reply::status("404 Not Found"),
    });
    for n in 0..10 {
        fetch(&fetcher, &format!("good{n}")).await;
    }
    // An hour of failing URLs, each of which is remembered for minutes.
    for n in 0..1_200 {
        fetch(&fetcher, &format!("bad{n}")).await;
        seconds(3).await;
    }
    let requests = world.requests().len();
    for n in 0..10 {
        assert!(fetch(&fetcher, &format!("good{n}")).await.is_some());
    }
    assert_eq!(world.requests().len(), requests);

    // As many certificates replace the ones that are not used.
    for n in 10..150 {
        fetch(&fetcher, &format!("good{n}")).await;
        fetch(&fetcher, "good0").await;
        seconds(4).await;
    }
    let requests = requests + 140;
    assert_eq!(world.requests().len(), requests);
    for path in ["good0", "good149", "good30"] {
        assert!(fetch(&fetcher, path).await.is_some());
    }
    assert_eq!(world.requests().len(), requests);
    assert!(fetch(&fetcher, "good1").await.is_some());
    assert_eq!(world.requests().len(), requests + 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_continues_when_its_proof_is_abandoned() {
    let (world, fetcher) = digicert(|_| Reply::ok(DER));
    // Polled once, which begins the fetch but does not wait for the answer.
    let mut impatient = Box::pin(fetch(&fetcher, "a"));
    assert!((&mut impatient).now_or_never().is_none());
    drop(impatient);
    assert_eq!(fetch(&fetcher, "a").await, Some(DER.to_vec()));
    assert_eq!(world.requests().len(), 1);
}
