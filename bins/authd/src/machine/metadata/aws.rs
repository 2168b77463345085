use std::time::Duration;

use futures_util::future::join3;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value};

use super::{Fetched, LINK_LOCAL, Metadata, Miss, Timeouts, is_base64, is_message};
use crate::machine::patience::Patience;
use crate::machine::trouble::Trouble;
use crate::machine::url::BaseUrl;

/// What has been fetched so far; another attempt goes on from there
///
/// Session-oriented, which is the only kind of request that a careful site allows
/// (*EC2 User Guide*, "Use IMDSv2").
pub(super) struct Aws {
    /// The address that answers, and the session token it gave
    session: Option<(BaseUrl, String)>,
    document: Option<String>,
    signature: Option<String>,
    rsa2048: Option<Message>,
    /// How often `/rsa2048` failed
    failures: u32,
    /// How often a token request was swallowed by a service that answers others
    swallowed: u32,
    patience: Patience,
}

/// The answer of `/rsa2048`
enum Message {
    Fetched(String),
    /// Older services and stand-ins do not have it, or fail at it for good
    Absent,
}

impl Aws {
    pub(super) const fn new(patience: Patience) -> Self {
        Self {
            session: None,
            document: None,
            signature: None,
            rsa2048: None,
            failures: 0,
            swallowed: 0,
            patience,
        }
    }

    /// The body of a sign-in: the document, its signature by RSA-1024, and the message by
    /// RSA-2048 where there is one
    ///
    /// Both are sent, because a control plane may refuse either kind, or know no other.
    pub(super) async fn attempt(
        &mut self,
        metadata: &Metadata<'_>,
        timeouts: Timeouts,
    ) -> Result<Value, Trouble> {
        let (base, token) = match &self.session {
            Some(session) => session,
            None => self
                .session
                .insert(begin(metadata, timeouts, &mut self.swallowed, self.patience).await?),
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
        let mut misses = Vec::new();
        let mut keep =
            |field: &mut Option<String>, fetched, is_good: fn(&str) -> bool, what| match fetched {
                Some(Ok(fetched)) => match check(fetched, is_good, what) {
                    Ok(text) => *field = Some(text),
                    Err(trouble) => misses.push(Miss::from(trouble)),
                },
                Some(Err(miss)) => misses.push(miss),
                None => {}
            };
        keep(&mut self.document, document, is_document, "an instance identity document");
        keep(&mut self.signature, signature, is_signature, "a signature");
        if let Some(fetched) = rsa2048 {
            let message = fetched.and_then(|fetched| {
                check(fetched, is_message, "a PKCS#7 message").map_err(Miss::from)
            });
            match message {
                Ok(message) => self.rsa2048 = Some(Message::Fetched(message)),
                Err(miss) => {
                    self.failures += 1;
                    let has_ended = miss.status == Some(StatusCode::UNAUTHORIZED);
                    let lasts = miss.trouble.is_lasting() && !has_ended
                        || miss.status == Some(StatusCode::NOT_FOUND);
                    // Most control planes do without it, so it is not waited for to the end.
                    if lasts || self.failures >= MOST_FAILURES {
                        self.rsa2048 = Some(Message::Absent);
                    } else {
                        misses.push(miss);
                    }
                }
            }
        }
        self.proof(misses)
    }

    /// The body, if enough of it is there
    fn proof(&mut self, misses: Vec<Miss>) -> Result<Value, Trouble> {
        // A session that ended in between, or a service that has been restarted.
        if misses.iter().any(|miss| miss.status == Some(StatusCode::UNAUTHORIZED)) {
            self.session = None;
            return Err(first(misses, Some(StatusCode::UNAUTHORIZED)));
        }
        let (Some(document), Some(signature)) = (&self.document, &self.signature) else {
            return Err(first(misses, None));
        };
        let mut body = Map::new();
        match &self.rsa2048 {
            Some(Message::Fetched(message)) => {
                body.insert("pkcs7".to_owned(), message.clone().into());
            }
            Some(Message::Absent) => {}
            None if self.patience == Patience::Once => {}
            None => return Err(first(misses, None)),
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
    swallowed: &mut u32,
    patience: Patience,
) -> Result<(BaseUrl, String), Trouble> {
    let headers = [(TTL, "21600")];
    let quick = Timeouts { answer: timeouts.answer.min(LONGEST_BEGIN), ..timeouts };
    let mut unreached: Option<Trouble> = None;
    for base in metadata.addresses(&ADDRESSES)? {
        let asked = (&Method::PUT, &base, "/latest/api/token");
        match metadata.fetch(asked, &headers, quick).await {
            Ok(token) => return Ok((base, check(token, is_token, "a session token")?)),
            Err(miss) if miss.unreached => {
                unreached = Some(match unreached {
                    Some(first) => first.and(&miss.trouble),
                    None => miss.trouble,
                });
            }
            Err(miss) if miss.silent => {
                let others = (&Method::GET, &base, "/latest/meta-data/");
                let answers = match metadata.fetch(others, &[], quick).await {
                    Ok(_) => true,
                    Err(miss) => miss.status.is_some(),
                };
                *swallowed += u32::from(answers);
                let sure = *swallowed >= MOST_SWALLOWED && patience != Patience::Unlimited;
                return Err(hop_limit(miss.trouble, answers, sure));
            }
            Err(miss) => {
                let hint = match miss.status {
                    Some(StatusCode::FORBIDDEN) => {
                        "; instance metadata may be turned off (HttpEndpoint)"
                    }
                    _ => "",
                };
                return Err(miss.trouble.with(hint));
            }
        }
    }
    Err(unreached.unwrap_or_else(|| Trouble::lasting("an address to ask is missing")))
}

/// A token request that was taken and not answered
///
/// The answer to it alone travels no further than the instance's hop limit, one by
/// default (*EC2 User Guide*, `HttpPutResponseHopLimit`): in a container with a network
/// of its own it never arrives.
fn hop_limit(trouble: Trouble, answers_others: bool, is_sure: bool) -> Trouble {
    let others = if answers_others { ", while it answers other requests" } else { "" };
    let trouble = trouble.with(&format!(
        "{others}; in a container the hop limit of the instance's metadata options has to be 2 or \
         more (HttpPutResponseHopLimit)"
    ));
    if is_sure { Trouble::lasting(trouble.what) } else { trouble }
}

/// The text of an answer that has the right form
fn check(fetched: Fetched, is_good: fn(&str) -> bool, what: &str) -> Result<String, Trouble> {
    if is_good(&fetched.text) { Ok(fetched.text) } else { Err(fetched.is_not(what)) }
}

/// The trouble to show: the one with `status`, or one that waiting does not cure, or any
fn first(misses: Vec<Miss>, status: Option<StatusCode>) -> Trouble {
    let rank =
        |miss: &Miss| (status.is_none() || miss.status != status, !miss.trouble.is_lasting());
    let first = misses.into_iter().min_by_key(rank).map(|miss| miss.trouble);
    match first {
        // The session is begun anew.
        Some(trouble) if status.is_some() => Trouble::passing(trouble.what),
        Some(trouble) => trouble,
        None => Trouble::passing("the proof is not complete"),
    }
}

/// A JSON object with the id of an instance
fn is_document(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|document| document["instanceId"].as_str().is_some_and(|id| !id.is_empty()))
}

/// As long as one by RSA-1024, or longer
fn is_signature(text: &str) -> bool {
    is_base64(text, 128)
}

/// Opaque, but fit to be sent back in a header, and no page
fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_.~:".contains(&b);
    matches!(text.len(), 1..=4096) && text.bytes().all(plain)
}

/// The second where IPv4 has no route (*EC2 User Guide*, "Instance metadata and user data")
const ADDRESSES: [&str; 2] = [LINK_LOCAL, "http://[fd00:ec2::254]"];

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// Attempts at `/rsa2048` while document and signature are there
const MOST_FAILURES: u32 = 3;

/// A session is begun without a question to anything behind the service
const LONGEST_BEGIN: Duration = Duration::from_secs(3);

/// As often as this a request is not lost by accident
const MOST_SWALLOWED: u32 = 3;
