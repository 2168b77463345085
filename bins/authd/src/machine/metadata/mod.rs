//! The metadata services of the clouds, as a machine sees its own
//!
//! Never asked through a proxy: a proxy would answer with its own identity, or not at all.

mod aws;
mod azure;
mod google;

use std::fmt;

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, select_ok};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use identity_verify::Cloud;
use serde_json::Value;
use tokio::time::Instant;

use self::aws::Aws;
use super::attempts::Attempts;
use super::connect::Connector;
use super::http::{Question, Timeouts, is_passing, unwanted};
use super::trouble::Trouble;
use super::url::BaseUrl;
use crate::client::Answer;
use identity_fetch::Clock;

/// How to reach metadata services, and what to ask them for
pub(super) struct Metadata<'a> {
    /// In place of the clouds' own addresses
    pub(super) url: Option<&'a BaseUrl>,
    /// The audience of Google's tokens
    pub(super) audience: &'a str,
    pub(super) timeouts: Timeouts,
    pub(super) clock: &'a Clock,
}

/// The body of a sign-in, without the name of an agent
///
/// `Debug` names the cloud only: a proof is a bearer document.
pub(super) struct Proof {
    pub(super) cloud: Cloud,
    pub(super) body: Value,
    pub(super) fetched: Instant,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.cloud)
    }
}

impl Metadata<'_> {
    /// The proof of a machine of `cloud`, or of whichever cloud answers first
    ///
    /// Where the cloud is not known all are asked at once, each with attempts and pauses
    /// of its own. The first complete proof counts, and the others are dropped: a service
    /// that is silent costs nothing while another answers.
    ///
    /// # Errors
    ///
    /// The last trouble of one cloud; the attempts' progress has that of each.
    pub(super) async fn proof(
        &self,
        cloud: Option<Cloud>,
        attempts: Attempts<'_>,
    ) -> Result<Proof, Trouble> {
        match cloud {
            Some(cloud) => self.of(cloud, Form::Lenient, attempts).await,
            None => {
                let all = [Cloud::Aws, Cloud::Azure, Cloud::Google];
                let proofs = all.map(|cloud| self.of(cloud, Form::Strict, attempts));
                select_ok(proofs).await.map(|(proof, _)| proof)
            }
        }
    }

    fn of<'a>(
        &'a self,
        cloud: Cloud,
        form: Form,
        attempts: Attempts<'a>,
    ) -> LocalBoxFuture<'a, Result<Proof, Trouble>> {
        async move {
            let service = match cloud {
                Cloud::Aws => "the metadata service of aws",
                Cloud::Azure => "the metadata service of azure",
                Cloud::Google => "the metadata service of google",
            };
            let mut aws = Aws::new(attempts.patience);
            let body = attempts
                .at(service, self.timeouts, async |timeouts| match cloud {
                    Cloud::Aws => aws.attempt(self, timeouts).await,
                    Cloud::Azure => self.azure(timeouts).await,
                    Cloud::Google => self.google(form, timeouts).await,
                })
                .await?;
            Ok(Proof { cloud, body, fetched: Instant::now() })
        }
        .boxed_local()
    }

    /// Where `own` is the cloud's own addresses, those to ask, the best first
    fn addresses(&self, own: &[&str]) -> Result<Vec<BaseUrl>, Trouble> {
        let parse =
            |text: &&str| BaseUrl::parse(text).map_err(|error| Trouble::lasting(error.to_string()));
        match self.url {
            Some(url) => Ok(vec![url.clone()]),
            None => own.iter().map(parse).collect(),
        }
    }

    /// Asks for `path`, and takes no other answer than text with status 200
    async fn fetch(
        &self,
        (method, base, path): (&Method, &BaseUrl, &str),
        headers: &[(HeaderName, &str)],
        timeouts: Timeouts,
    ) -> Result<Fetched, Miss> {
        let question = Question { method, base, path, headers, body: &Bytes::new() };
        let url = question.url();
        let now = || (self.clock)();
        let answer = question.ask(&Connector::default(), timeouts).await.map_err(|error| Miss {
            unreached: error.is_unreached(),
            silent: error.is_silent(),
            status: None,
            trouble: error.into_trouble(&url, now()),
        })?;
        if answer.status != StatusCode::OK {
            // Before a machine's data is there, services answer 404 to what they will know.
            let passing = is_passing(answer.status) || answer.status == StatusCode::NOT_FOUND;
            return Err(Miss {
                status: Some(answer.status),
                ..Miss::from(unwanted(&answer, &url, passing, now()))
            });
        }
        match String::from_utf8(answer.body.to_vec()) {
            Ok(text) => Ok(Fetched { text, url, answer }),
            Err(_) => {
                Err(Miss::from(Trouble::passing(format!("`{url}` did not answer with text"))))
            }
        }
    }
}

/// How much an answer has to look like its cloud's
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Any proof of that cloud's kind will do: the operator says which cloud it is
    Lenient,
    /// The answer has to say itself that it is the cloud's
    Strict,
}

/// What a metadata service answered with status 200
struct Fetched {
    text: String,
    url: String,
    answer: Answer,
}

impl Fetched {
    /// Trouble with an answer that does not have the form of the cloud's
    ///
    /// A page of a captive network may be gone in a moment, and so may half a document.
    fn is_not(&self, what: &str) -> Trouble {
        let media_type = self.answer.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let page = media_type
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/html"))
            || self.text.trim_start().starts_with('<');
        let kind = match page {
            true => "a page of HTML",
            false if self.text.is_empty() => "nothing",
            false => "something else",
        };
        Trouble::passing(format!("`{}` answered with {kind} in place of {what}", self.url))
    }
}

/// Why an answer cannot be used
struct Miss {
    trouble: Trouble,
    /// Nothing listens at this address
    unreached: bool,
    /// The request was taken, and nothing came back
    silent: bool,
    status: Option<StatusCode>,
}

impl From<Trouble> for Miss {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, unreached: false, silent: false, status: None }
    }
}

/// Whether `text` is base64 of at least `least` bytes, in lines or not
fn is_base64(text: &str, least: usize) -> bool {
    decode(text).is_some_and(|bytes| bytes.len() >= least)
}

/// Whether `text` is base64 of an ASN.1 SEQUENCE, which every PKCS#7 message is
fn is_message(text: &str) -> bool {
    decode(text).is_some_and(|bytes| bytes.len() > 64 && bytes.first() == Some(&0x30))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let digits: String = text.split(['\r', '\n']).collect();
    base64::engine::general_purpose::STANDARD.decode(digits).ok()
}

/// The address at which AWS and Azure serve metadata, and Google by number
const LINK_LOCAL: &str = "http://169.254.169.254";
