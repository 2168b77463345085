//! The metadata services of the clouds
//!
//! They are never asked through a proxy: a proxy would return its own identity, or nothing.

mod aws;
mod azure;
mod ber;
mod google;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, select_ok};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use self::aws::Aws;
use crate::Clock;
use crate::challenge::Challenge;
use crate::cloud::Cloud;
use crate::connect::Connector;
use crate::failure::Failure;
use crate::http_error::is_transient;
use crate::request::{Request, Response, Timeouts, unexpected_status};
use crate::retry::{Retry, Step};
use crate::url::BaseUrl;

/// How to reach metadata services, and what to request
pub(crate) struct Metadata<'a> {
    /// Replaces the clouds' own addresses
    pub(crate) url: Option<&'a BaseUrl>,
    /// The audience of Google's tokens
    pub(crate) audience: &'a str,
    /// The nonce that proofs are to answer, if the control plane demands one
    pub(crate) challenge: Option<&'a Challenge>,
    pub(crate) timeouts: Timeouts,
    pub(crate) clock: &'a Clock,
}

/// The body of a sign-in, without the name of an agent
///
/// `Debug` prints only the cloud: a proof is a bearer document.
pub(crate) struct Proof {
    pub(crate) cloud: Cloud,
    pub(crate) body: Value,
    pub(crate) fetched: Instant,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.cloud)
    }
}

impl Metadata<'_> {
    /// Fetches the proof of a machine of `cloud`, or of the cloud that answers first
    ///
    /// If the cloud is not known, all are asked at once, each with its own attempts and pauses.
    /// The first complete proof is returned and the other requests are dropped, so a service
    /// that is silent does not delay the others.
    ///
    /// # Errors
    ///
    /// The last failure of one cloud; [`Retry::progress`] has the last failure of each.
    pub(crate) async fn proof(
        &self,
        cloud: Option<Cloud>,
        retry: Retry<'_>,
    ) -> Result<Proof, Failure> {
        match cloud {
            Some(cloud) => self.of(cloud, Form::Lenient, retry).await,
            None => {
                let all = [Cloud::Aws, Cloud::Azure, Cloud::Google];
                let proofs = all.map(|cloud| self.of(cloud, Form::Strict, retry));
                select_ok(proofs).await.map(|(proof, _)| proof)
            }
        }
    }

    fn of<'a>(
        &'a self,
        cloud: Cloud,
        form: Form,
        retry: Retry<'a>,
    ) -> BoxFuture<'a, Result<Proof, Failure>> {
        async move {
            let service = match cloud {
                Cloud::Aws => "the metadata service of aws",
                Cloud::Azure => "the metadata service of azure",
                Cloud::Google => "the metadata service of google",
            };
            let aws = Aws::new(retry.timeout);
            let fetch = Fetch { metadata: self, cloud, form, aws };
            let body = retry.run(service, self.timeouts, fetch).await?;
            Ok(Proof { cloud, body, fetched: Instant::now() })
        }
        .boxed()
    }

    /// The nonce for a proof of `cloud`
    fn nonce(&self, cloud: Cloud) -> Option<&str> {
        self.challenge.and_then(|challenge| challenge.nonce(cloud))
    }

    /// The addresses to ask, the best first, where `own` are the cloud's
    fn addresses(&self, own: &[&str]) -> Result<Vec<BaseUrl>, Failure> {
        let parse = |text: &&str| {
            BaseUrl::parse(text).map_err(|error| Failure::permanent(error.to_string()))
        };
        match self.url {
            Some(url) => Ok(vec![url.clone()]),
            None => own.iter().map(parse).collect(),
        }
    }

    /// Sends a request whose answer has to be a text with status 200
    async fn fetch(
        &self,
        (method, base, path): (&Method, &BaseUrl, &str),
        headers: &[(HeaderName, &str)],
        timeouts: Timeouts,
    ) -> Result<Fetched, FetchError> {
        let request = Request { method, base, path, headers, body: &Bytes::new() };
        let url = request.url();
        let now = || (self.clock)();
        let response = request.send(&Connector::default(), timeouts).await;
        let response = response.map_err(|error| FetchError {
            is_unreachable: error.is_unreachable(),
            is_silent: error.is_silent(),
            status: None,
            failure: error.into_failure(&url, now()),
        })?;
        let status = response.status;
        if status != StatusCode::OK {
            // Until the machine's data is available, services answer 404.
            let transient = is_transient(status) || status == StatusCode::NOT_FOUND;
            return Err(FetchError {
                status: Some(status),
                ..FetchError::from(unexpected_status(&response, &url, transient, now()))
            });
        }
        match String::from_utf8(response.body.to_vec()) {
            Ok(text) => Ok(Fetched { text, url, response }),
            Err(_) => {
                let message = format!("`{url}` did not answer with text");
                Err(FetchError::from(Failure::transient(message)))
            }
        }
    }
}

/// Fetches the proof of one cloud
struct Fetch<'a> {
    metadata: &'a Metadata<'a>,
    cloud: Cloud,
    form: Form,
    aws: Aws,
}

impl Step for Fetch<'_> {
    type Output = Value;

    async fn attempt(&mut self, timeouts: Timeouts) -> Result<Value, Failure> {
        match self.cloud {
            Cloud::Aws => self.aws.attempt(self.metadata, timeouts).await,
            Cloud::Azure => self.metadata.azure(timeouts).await,
            Cloud::Google => self.metadata.google(self.form, timeouts).await,
        }
    }
}

/// How closely an answer has to match what the cloud sends
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Any proof of the cloud's kind is accepted, because the operator named the cloud
    Lenient,
    /// The answer itself has to name the cloud
    Strict,
}

/// An answer of a metadata service with status 200
struct Fetched {
    text: String,
    url: String,
    response: Response,
}

impl Fetched {
    /// The failure for an answer that does not have the form of `expected`
    ///
    /// It is transient: the page of a captive network may disappear, and half a document may
    /// become complete.
    fn is_not(&self, expected: &str) -> Failure {
        let media_type = self.response.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let page = media_type
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/html"))
            || self.text.trim_start().starts_with('<');
        let kind = match page {
            true => "an HTML page",
            false if self.text.is_empty() => "nothing",
            false => "something else",
        };
        Failure::transient(format!("`{}` answered with {kind} instead of {expected}", self.url))
    }
}

/// Why a metadata service gave no usable answer
struct FetchError {
    failure: Failure,
    /// Nothing listens at this address
    is_unreachable: bool,
    /// The request was accepted and not answered
    is_silent: bool,
    status: Option<StatusCode>,
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        Self { failure, is_unreachable: false, is_silent: false, status: None }
    }
}

/// Whether `text` is Base64 of at least `least` bytes, on one line or several
fn is_base64(text: &str, least: usize) -> bool {
    decode(text).is_some_and(|bytes| bytes.len() >= least)
}

/// Whether `text` is Base64 of a complete ASN.1 SEQUENCE, which every PKCS#7 message is
///
/// An answer that ends with its connection may be cut off at any digit.
fn is_pkcs7(text: &str) -> bool {
    decode(text).is_some_and(|bytes| bytes.len() > 64 && ber::begins_with_sequence(&bytes))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split(['\r', '\n']).collect();
    STANDARD.decode(digits).ok()
}

/// The failure of a cloud without an address, which does not happen
fn no_address() -> Failure {
    Failure::permanent("the metadata service has no address")
}

/// Where AWS and Azure serve metadata, and Google beside its name
const LINK_LOCAL: &str = "http://169.254.169.254";
