use std::{borrow::Cow, time::SystemTime};

use serde::Deserialize;

use super::Environment;
use crate::{
    Claimed, Cloud, Denied, Error, InstanceId, Policy, VerifiedInstance,
    challenge::{is_nonce, is_same},
    json,
    json::Object,
    rejection::INSTANCE_ID,
    time,
};

/// What Azure signed about a virtual machine, besides its id
///
/// The fields of attested data ("Azure Instance Metadata Service", section
/// "Attested data"). Documents of 2018 and 2019 lack some.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// The subscription that owns the machine, a UUID
    pub subscription_id: Option<String>,
    /// The SKU of the machine's image
    pub sku: Option<String>,
    /// The nonce that the machine asked for; `None` if it asked for none
    ///
    /// The service may answer with the nonce of an earlier request.
    pub nonce: Option<String>,
    /// When the document was made
    pub created_on: Option<SystemTime>,
    /// When the document ends, six hours after it was made
    pub expires_on: Option<SystemTime>,
    /// The Azure cloud whose metadata service signed
    pub environment: Environment,
}

/// A document whose signature and signer have been verified
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    vm_id: Option<Cow<'a, str>>,
    subscription_id: Option<String>,
    sku: Option<String>,
    nonce: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time_stamp: Option<Object<TimeStamp<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeStamp<'a> {
    #[serde(borrow)]
    created_on: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires_on: Option<Cow<'a, str>>,
}

impl<'a> Document<'a> {
    /// Parses the exact bytes that were signed
    pub(crate) fn parse(signed: &'a [u8]) -> Result<Self, Error> {
        json::object(signed).ok_or(Error::malformed("the signed bytes are not attested data"))
    }

    /// What it says of its machine
    pub(super) fn claimed(&self) -> Claimed {
        Claimed::default()
            .with(INSTANCE_ID, self.vm_id.as_deref())
            .with("subscription_id", self.subscription_id.as_deref())
    }

    /// The setting that is the cause of `error`, and the value it refuses
    pub(super) fn denied(&self, error: &Error) -> Option<Denied> {
        Some(match error {
            Error::Expired { .. } | Error::MissingClaim { .. } | Error::MalformedProof { .. } => {
                let end = self.time_stamp.as_ref().and_then(|Object(t)| t.expires_on.as_deref());
                Denied::new("azure_enforce_expires_on", end)
            }
            Error::NonceMismatch => Denied::new("azure_expected_nonce", self.nonce.as_deref()),
            Error::SubscriptionNotAllowed => {
                Denied::new("azure_allowed_subscriptions", self.subscription_id.as_deref())
            }
            _ => return None,
        })
    }

    /// Applies the policy and, last, demands an instance id
    pub(super) fn check(
        self,
        environment: Environment,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        let times = self.time_stamp.as_ref().map(|Object(times)| times);
        let (created_on, end) = times.map_or((None, None), |times| {
            (times.created_on.as_deref(), times.expires_on.as_deref())
        });
        let (created_on, expires_on) =
            (created_on.and_then(time::azure), end.and_then(time::azure));
        if policy.azure_enforce_expires_on {
            end.ok_or(Error::missing("expiresOn"))?;
            let end = expires_on.ok_or(Error::malformed("the form of `expiresOn` is not known"))?;
            policy.check_not_ended("the attested data", end, now)?;
        }
        let nonce = self.nonce.filter(|nonce| is_nonce(nonce) && !is_filling(nonce));
        if let Some(expected) = &policy.azure_expected_nonce {
            // Where none was asked for Azure writes a time, which therefore answers nothing.
            if !nonce.as_deref().is_some_and(|nonce| is_same(nonce, expected)) {
                return Err(Error::NonceMismatch);
            }
        }
        if let Some(allowed) = &policy.azure_allowed_subscriptions {
            let is_listed = |ours: &str| allowed.iter().any(|id| id.eq_ignore_ascii_case(ours));
            if !self.subscription_id.as_deref().is_some_and(is_listed) {
                return Err(Error::SubscriptionNotAllowed);
            }
        }
        let id = InstanceId::parse(Cloud::Azure, self.vm_id.as_deref().unwrap_or_default())?;
        let claims = Claims {
            subscription_id: self.subscription_id,
            sku: self.sku,
            nonce: nonce.map(Cow::into_owned),
            created_on,
            expires_on,
            environment,
        };
        Ok(VerifiedInstance::new(id, crate::Claims::Azure(claims)))
    }
}

/// Whether it is what Azure writes without being asked, such as `20220419-072721`
fn is_filling(nonce: &str) -> bool {
    nonce.split_once('-').is_some_and(|(date, time)| {
        let digits =
            |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
        digits(date, 8) && digits(time, 6)
    })
}
