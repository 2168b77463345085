use std::time::Duration;

use futures_util::future::join3;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value};

use super::{FetchError, Fetched, LINK_LOCAL, Metadata, Timeouts, is_base64, is_pkcs7, no_address};
use crate::failure::Failure;
use crate::retry_timeout::RetryTimeout;
use crate::url::BaseUrl;

/// What has been fetched so far; the next attempt continues from there
///
/// It uses session-oriented requests (IMDSv2), the only ones that a careful site allows
/// (*EC2 User Guide*, "Use IMDSv2").
pub(super) struct Aws {
    /// The address that answered, and its session token
    session: Option<(BaseUrl, String)>,
    document: Option<String>,
    signature: Option<String>,
    rsa2048: Option<Message>,
    /// How often `/rsa2048` failed
    failures: u32,
    /// How often a token request got no answer from a service that answers other requests
    unanswered: u32,
    retry_timeout: RetryTimeout,
}

/// The answer of `/rsa2048`
enum Message {
    Fetched(String),
    /// Older services and imitations do not have it, or always fail
    Absent,
}

impl Aws {
    pub(super) const fn new(retry_timeout: RetryTimeout) -> Self {
        Self {
            session: None,
            document: None,
            signature: None,
            rsa2048: None,
            failures: 0,
            unanswered: 0,
            retry_timeout,
        }
    }

    /// Fetches the body of a sign-in: the document, its RSA-1024 signature, and the PKCS#7
    /// message with the RSA-2048 signature if there is one
    ///
    /// Both signatures are sent, because a control plane may refuse or not support either.
    pub(super) async fn attempt(
        &mut self,
        metadata: &Metadata<'_>,
        timeouts: Timeouts,
    ) -> Result<Value, Failure> {
        let (base, token) = match &self.session {
            Some(session) => session,
            None => self
                .session
                .insert(begin(metadata, timeouts, &mut self.unanswered, self.retry_timeout).await?),
        };
        let session = [(TOKEN, token.as_str())];
        let get = async |name: &str, is_known: bool, timeouts| match is_known {
            true => None,
            false => {
                let path = format!("/latest/dynamic/instance-identity/{name}");
                Some(metadata.fetch((&Method::GET, base, &path), &session, timeouts).await)
            }
        };
        let (document, signature, rsa2048) = join3(
            get("document", self.document.is_some(), timeouts),
            get("signature", self.signature.is_some(), timeouts),
            get("rsa2048", self.rsa2048.is_some(), metadata.timeouts),
        )
        .await;
        let mut errors = Vec::new();
        let mut keep =
            |field: &mut Option<String>, fetched, is_good: fn(&str) -> bool, what| match fetched {
                Some(Ok(fetched)) => match check(fetched, is_good, what) {
                    Ok(text) => *field = Some(text),
                    Err(failure) => errors.push(FetchError::from(failure)),
                },
                Some(Err(error)) => errors.push(error),
                None => {}
            };
        keep(&mut self.document, document, is_document, "an instance identity document");
        keep(&mut self.signature, signature, is_signature, "a signature");
        if let Some(fetched) = rsa2048 {
            let message = fetched.and_then(|fetched| {
                check(fetched, is_pkcs7, "a PKCS#7 message").map_err(FetchError::from)
            });
            match message {
                Ok(message) => self.rsa2048 = Some(Message::Fetched(message)),
                Err(error) => {
                    self.failures += 1;
                    let has_ended = error.status == Some(StatusCode::UNAUTHORIZED);
                    let is_permanent = error.failure.is_permanent() && !has_ended
                        || error.status == Some(StatusCode::NOT_FOUND);
                    // Most control planes do not need it, so it is tried a few times only.
                    if is_permanent || self.failures >= MOST_FAILURES {
                        self.rsa2048 = Some(Message::Absent);
                    } else {
                        errors.push(error);
                    }
                }
            }
        }
        self.proof(errors)
    }

    /// The body, if enough of it has been fetched
    fn proof(&mut self, errors: Vec<FetchError>) -> Result<Value, Failure> {
        // The session has ended, or the service has been restarted.
        if errors.iter().any(|error| error.status == Some(StatusCode::UNAUTHORIZED)) {
            self.session = None;
            return Err(most_relevant(errors, Some(StatusCode::UNAUTHORIZED)));
        }
        let (Some(document), Some(signature)) = (&self.document, &self.signature) else {
            return Err(most_relevant(errors, None));
        };
        let mut body = Map::new();
        match &self.rsa2048 {
            Some(Message::Fetched(message)) => {
                body.insert("pkcs7".to_owned(), message.clone().into());
            }
            Some(Message::Absent) => {}
            None if self.retry_timeout == RetryTimeout::Once => {}
            None => return Err(most_relevant(errors, None)),
        }
        body.insert("document".to_owned(), document.clone().into());
        body.insert("signature".to_owned(), signature.clone().into());
        Ok(body.into())
    }
}

/// Begins a session at the first address that can be reached
async fn begin(
    metadata: &Metadata<'_>,
    timeouts: Timeouts,
    unanswered: &mut u32,
    retry_timeout: RetryTimeout,
) -> Result<(BaseUrl, String), Failure> {
    let headers = [(TTL, "21600")];
    let quick = Timeouts { answer: timeouts.answer.min(LONGEST_BEGIN), ..timeouts };
    let mut unreachable: Option<Failure> = None;
    for base in metadata.addresses(&ADDRESSES)? {
        let asked = (&Method::PUT, &base, "/latest/api/token");
        match metadata.fetch(asked, &headers, quick).await {
            Ok(token) => return Ok((base, check(token, is_token, "a session token")?)),
            Err(error) if error.is_unreachable => {
                unreachable = Some(match unreachable {
                    Some(first) => first.and(&error.failure),
                    None => error.failure,
                });
            }
            Err(error) if error.is_silent => {
                let others = (&Method::GET, &base, "/latest/meta-data/");
                let answers = match metadata.fetch(others, &[], quick).await {
                    Ok(_) => true,
                    Err(other) => other.status.is_some(),
                };
                *unanswered += u32::from(answers);
                let is_certain =
                    *unanswered >= MOST_UNANSWERED && retry_timeout != RetryTimeout::Unlimited;
                return Err(hop_limit(error.failure, answers, is_certain));
            }
            Err(error) => {
                let hint = match error.status {
                    Some(StatusCode::FORBIDDEN) => {
                        "; instance metadata may be turned off (HttpEndpoint)"
                    }
                    _ => "",
                };
                return Err(error.failure.with(hint));
            }
        }
    }
    Err(unreachable.unwrap_or_else(no_address))
}

/// Adds to the failure of a token request without an answer that the hop limit may be the reason
///
/// Only this answer travels no further than the instance's hop limit, which is one by default
/// (*EC2 User Guide*, `HttpPutResponseHopLimit`): it never arrives in a container with its own
/// network.
fn hop_limit(failure: Failure, answers_others: bool, is_certain: bool) -> Failure {
    let others = if answers_others { ", while it answers other requests" } else { "" };
    let failure = failure.with(&format!(
        "{others}; in a container the hop limit of the instance's metadata options has to be 2 or \
         more (HttpPutResponseHopLimit)"
    ));
    if is_certain { Failure::permanent(failure.message) } else { failure }
}

/// The text of the answer, if it has the right form
fn check(fetched: Fetched, is_good: fn(&str) -> bool, what: &str) -> Result<String, Failure> {
    if is_good(&fetched.text) { Ok(fetched.text) } else { Err(fetched.is_not(what)) }
}

/// The failure to report: the one with `status`, or else a permanent one, or else any
fn most_relevant(errors: Vec<FetchError>, status: Option<StatusCode>) -> Failure {
    let rank = |error: &FetchError| {
        (status.is_none() || error.status != status, !error.failure.is_permanent())
    };
    // All are answers of one service, which may ask for a pause in any of them.
    let asked = errors.iter().filter_map(|error| error.failure.asked()).max();
    let first = errors.into_iter().min_by_key(rank).map(|error| error.failure);
    match first {
        // The next attempt begins another session.
        Some(failure) if status.is_some() => Failure::transient(failure.message).retry_after(asked),
        Some(failure) => failure.retry_after(asked),
        None => Failure::transient("the proof is not complete"),
    }
}

/// Whether `text` is a JSON object with the id of an instance
fn is_document(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|document| document["instanceId"].as_str().is_some_and(|id| !id.is_empty()))
}

/// Whether `text` is as long as an RSA-1024 signature, or longer
fn is_signature(text: &str) -> bool {
    is_base64(text, 128)
}

/// Whether `text` can be sent back in a header; a session token is opaque
fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_.~:".contains(&b);
    matches!(text.len(), 1..=4096) && text.bytes().all(plain)
}

/// The second is for instances without IPv4 (*EC2 User Guide*, "Instance metadata and user data")
const ADDRESSES: [&str; 2] = [LINK_LOCAL, "http://[fd00:ec2::254]"];

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// Attempts to fetch `/rsa2048` when the document and its signature are there
const MOST_FAILURES: u32 = 3;

/// The service itself answers a token request, without asking another
const LONGEST_BEGIN: Duration = Duration::from_secs(3);

/// A request that got no answer as often as this was not lost by accident
const MOST_UNANSWERED: u32 = 3;
