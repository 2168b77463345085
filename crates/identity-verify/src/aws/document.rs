use std::{borrow::Cow, time::SystemTime};

use serde::Deserialize;

use crate::{
    Claimed, Cloud, Denied, Error, InstanceId, Policy, VerifiedInstance, json, policy,
    rejection::INSTANCE_ID, time,
};

/// What AWS signed about an instance, besides its id
///
/// The fields of an instance identity document of version 2017-09-30 (*EC2 User
/// Guide*, "Retrieve the instance identity document"). Those that older versions
/// lack, or that are `null`, are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// The account that owns the instance, twelve digits
    pub account_id: Option<String>,
    /// The region, for which the key that signed is trusted
    pub region: String,
    /// The availability zone
    pub availability_zone: Option<String>,
    /// The last start of the instance, if given as RFC 3339
    ///
    /// Stopping and starting an instance renews it.
    pub pending_time: Option<SystemTime>,
    /// The image that the instance was started from
    pub image_id: Option<String>,
    /// The instance type, such as `t2.micro`
    pub instance_type: Option<String>,
    /// The instance's architecture, such as `x86_64`
    pub architecture: Option<String>,
    /// The instance's private IPv4 address, as text
    pub private_ip: Option<String>,
}

/// A document whose signature has been verified
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    account_id: Option<String>,
    architecture: Option<String>,
    availability_zone: Option<String>,
    image_id: Option<String>,
    #[serde(default)]
    instance_id: Option<Cow<'a, str>>,
    instance_type: Option<String>,
    pending_time: Option<Cow<'a, str>>,
    private_ip: Option<String>,
    #[serde(default, borrow)]
    region: Cow<'a, str>,
}

impl<'a> Document<'a> {
    /// Parses the exact bytes that were signed
    pub(crate) fn parse(signed: &'a [u8]) -> Result<Self, Error> {
        json::object(signed)
            .ok_or(Error::malformed("the signed bytes are not an instance identity document"))
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// What it says of its machine
    pub(super) fn claimed(&self) -> Claimed {
        Claimed::default()
            .with(INSTANCE_ID, self.instance_id.as_deref())
            .with("account_id", self.account_id.as_deref())
            .with("region", Some(&self.region))
    }

    /// The setting that is the cause of `error`, and the value it refuses
    pub(super) fn denied(&self, error: &Error) -> Option<Denied> {
        Some(match error {
            Error::AccountNotAllowed => {
                Denied::new("aws_allowed_accounts", self.account_id.as_deref())
            }
            Error::RegionNotAllowed => Denied::new("aws_allowed_regions", Some(&self.region)),
            // Without a bound on the age the time is not looked at.
            Error::Expired { .. } | Error::NotYetValid { .. } | Error::MalformedProof { .. } => {
                Denied::new("aws_max_document_age_seconds", self.pending_time.as_deref())
            }
            _ => return None,
        })
    }

    /// Applies the policy and, last, demands an instance id
    ///
    /// The id comes last, so that a caller who distinguishes "no such instance" from
    /// "refused" does so for allowed proofs only.
    pub(crate) fn check(self, policy: &Policy, now: SystemTime) -> Result<VerifiedInstance, Error> {
        if !policy::allows(policy.aws_allowed_accounts.as_ref(), self.account_id.as_deref()) {
            return Err(Error::AccountNotAllowed);
        }
        if !policy::allows(policy.aws_allowed_regions.as_ref(), Some(&self.region)) {
            return Err(Error::RegionNotAllowed);
        }
        let pending_time = self.pending_time.as_deref().and_then(time::rfc3339);
        if let Some(max_seconds) = policy.aws_max_document_age_seconds {
            let pending =
                pending_time.ok_or(Error::malformed("pendingTime is not an RFC 3339 date"))?;
            policy.check_begun("the document", pending, now)?;
            policy.check_age("the document", pending, max_seconds, now)?;
        }
        let id = InstanceId::parse(Cloud::Aws, self.instance_id.as_deref().unwrap_or_default())?;
        let claims = Claims {
            account_id: self.account_id,
            region: self.region.into_owned(),
            availability_zone: self.availability_zone,
            pending_time,
            image_id: self.image_id,
            instance_type: self.instance_type,
            architecture: self.architecture,
            private_ip: self.private_ip,
        };
        Ok(VerifiedInstance::new(id, crate::Claims::Aws(claims)))
    }
}

/// The region that unverified bytes seem to claim
///
/// It determines which keys are tried, and accepts nothing: wrong or absent, no key that signed
/// is found. The region that counts is parsed from the bytes once they are verified.
pub(crate) fn region_hint(unverified: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"region\"";
    // From the end, where every version of the document has it.
    let at = unverified.windows(KEY.len()).rposition(|window| window == KEY)?;
    let after_key = unverified.get(at + KEY.len()..)?.trim_ascii_start();
    let value = after_key.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = value.iter().take(64).position(|&b| b == b'"')?;
    std::str::from_utf8(value.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_the_text_after_the_last_key() {
        assert_eq!(region_hint(br#"{"region" : "eu-west-1"}"#), Some("eu-west-1"));
        assert_eq!(region_hint(b"{\"a\":1,\n\"region\":\"x\",\"region\":\"y\"}"), Some("y"));
        for none in ["", "{}", r#""region""#, r#""region":"#, r#""region":7"#, r#""region":"x"#] {
            assert_eq!(region_hint(none.as_bytes()), None, "{none}");
        }
    }
}
