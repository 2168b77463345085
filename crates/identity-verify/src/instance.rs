use std::error::Error as StdError;
use std::str::FromStr;
use std::{fmt, time::SystemTime};

use crate::{Claimed, Denied, Error, Rejection, aws, azure, error::cut, google, rejection::Failed};

/// A cloud that signs proofs of its instances
///
/// Exhaustive, unlike most enums here: code that handles each cloud should not compile
/// until it handles a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cloud {
    /// Amazon EC2
    Aws,
    /// Microsoft Azure
    Azure,
    /// Google Compute Engine
    Google,
}

impl Cloud {
    /// The cloud as stable lower-case text: `aws`, `azure` or `google`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Google => "google",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cloud {
    type Err = ParseCloudError;

    /// Parses `aws`, `azure` or `google`
    fn from_str(text: &str) -> Result<Self, ParseCloudError> {
        let clouds = [Self::Aws, Self::Azure, Self::Google];
        clouds.into_iter().find(|cloud| cloud.as_str() == text).ok_or(ParseCloudError)
    }
}

/// The text does not name a cloud
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCloudError;

impl fmt::Display for ParseCloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not `aws`, `azure` or `google`")
    }
}

impl StdError for ParseCloudError {}

/// An instance that proved which one it is
///
/// Only a verifier of this crate builds one, and only after the cloud's signature,
/// its age and the policy were checked. It proves what the cloud said when it signed. It
/// does not prove that the instance still runs, or that the presenter of the proof is that
/// instance: a proof is a bearer document.
///
/// ```compile_fail,E0451
/// # fn forge(id: identity_verify::InstanceId, claims: identity_verify::Claims) {
/// identity_verify::VerifiedInstance { id, claims };
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInstance {
    id: InstanceId,
    claims: Claims,
}

impl VerifiedInstance {
    pub(crate) const fn new(id: InstanceId, claims: Claims) -> Self {
        Self { id, claims }
    }

    /// The cloud that signed
    #[must_use]
    pub const fn cloud(&self) -> Cloud {
        self.id.cloud
    }

    /// Which instance it is
    #[must_use]
    pub const fn id(&self) -> &InstanceId {
        &self.id
    }

    /// What else the cloud said about it
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The nonce that the proof answers
    ///
    /// Azure signs one that the machine asked for. In a Google token it stands behind the audience,
    /// as [`Challenge::audience`](crate::Challenge::audience) writes it. `None` if the proof answers none,
    /// and always for AWS. The nonce proves nothing before
    /// [`Challenge::demand`](crate::Challenge::demand) has recognized it.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        match &self.claims {
            Claims::Aws(_) => None,
            Claims::Azure(claims) => claims.nonce.as_deref(),
            Claims::Google(claims) => claims.nonce.as_deref(),
        }
    }

    /// The moment that the cloud signed with it
    ///
    /// `pendingTime` of AWS, which is the last start of the instance; `createdOn` of
    /// Azure and `iat` of Google, which are when the proof was made. `None` where the
    /// proof has none that can be read.
    #[must_use]
    pub const fn signed_at(&self) -> Option<SystemTime> {
        match &self.claims {
            Claims::Aws(claims) => claims.pending_time,
            Claims::Azure(claims) => claims.created_on,
            Claims::Google(claims) => Some(claims.issued),
        }
    }

    /// The moment that the cloud signed, for those who pin it
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with [`Error::MissingClaim`] where the proof has none that can be read.
    pub fn require_moment(&self) -> Result<SystemTime, Rejection> {
        let claim = match &self.claims {
            Claims::Aws(_) => "pendingTime",
            Claims::Azure(_) => "createdOn",
            Claims::Google(_) => "iat",
        };
        self.signed_at().ok_or_else(|| {
            let failed = Failed::genuine(Error::MissingClaim { claim });
            let denied = Denied::new("identity_pins", None);
            Rejection::new(failed, Claimed::of(self), Some(denied))
        })
    }
}

/// What a cloud signed about an instance, besides its id
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claims {
    /// Fields of an AWS instance identity document
    Aws(aws::Claims),
    /// Fields of Azure's attested data
    Azure(azure::Claims),
    /// Claims of a Google identity token
    Google(google::Claims),
}

/// The id of an instance, in the one form its cloud has for it
///
/// - AWS: `i-` and 8 or 17 lower-case hexadecimal digits
/// - Azure: a UUID of 36 characters, kept in lower case, because Azure and its
///   tools disagree about case
/// - Google: 1 to 20 decimal digits
///
/// No text has two of these forms, so the ids of two clouds never collide in one
/// lookup. An id alone proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    cloud: Cloud,
    text: String,
}

impl InstanceId {
    /// Takes `text` if it has the form of an id of `cloud`
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInstanceId`] if it has not.
    pub fn parse(cloud: Cloud, text: &str) -> Result<Self, Error> {
        let valid = match cloud {
            Cloud::Aws => is_aws(text),
            Cloud::Azure => is_uuid(text),
            Cloud::Google => is_google(text),
        };
        if !valid {
            return Err(Error::InvalidInstanceId { cloud, id: cut(text, Error::MAX_ECHO) });
        }
        let mut text = text.to_owned();
        if cloud == Cloud::Azure {
            text.make_ascii_lowercase();
        }
        Ok(Self { cloud, text })
    }

    /// The cloud whose instance this is
    #[must_use]
    pub const fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// The id as text
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An Azure id as the machine's firmware shows it: the bytes of the first three groups
    /// stand in reverse (SMBIOS, 7.2.1)
    ///
    /// The metadata service writes it in the usual order, so a template that records what
    /// Linux has at `/sys/class/dmi/id/product_uuid` records another id. `None` for other
    /// clouds, whose ids are not UUIDs.
    #[must_use]
    pub fn in_firmware_order(&self) -> Option<Self> {
        if self.cloud != Cloud::Azure {
            return None;
        }
        let groups: Vec<String> =
            self.text.split('-').enumerate().map(reverse_first_groups).collect();
        Some(Self { cloud: self.cloud, text: groups.join("-") })
    }
}

fn reverse_first_groups((at, group): (usize, &str)) -> String {
    if at > 2 {
        return group.to_owned();
    }
    let bytes: Vec<&[u8]> = group.as_bytes().chunks(2).rev().collect();
    bytes.concat().into_iter().map(char::from).collect()
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_aws(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|hex| {
        matches!(hex.len(), 8 | 17) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_google(text: &str) -> bool {
    matches!(text.len(), 1..=20) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_their_cloud_and_of_no_other() {
        let ids = [
            (Cloud::Aws, "i-0123abcd"),
            (Cloud::Aws, "i-0123456789abcdef0"),
            (Cloud::Azure, "02aab8a4-74ef-476e-8182-f6d2ba4166a6"),
            (Cloud::Google, "7"),
            (Cloud::Google, "18446744073709551615"),
        ];
        for (own, text) in ids {
            for cloud in [Cloud::Aws, Cloud::Azure, Cloud::Google] {
                assert_eq!(InstanceId::parse(cloud, text).is_ok(), cloud == own, "{cloud} {text}");
            }
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for text in
            ["", "i-", "I-0123abcd", "i-0123ABCD", "i-0123abcd\n", "i-0123abcde", "i0123abcd"]
        {
            assert!(InstanceId::parse(Cloud::Aws, text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "02aab8a474ef476e8182f6d2ba4166a6",
            "{02aab8a4-74ef-476e-8182-f6d2ba4166a6}",
            "02aab8a4-74ef-476e-8182-f6d2ba4166ag",
            "02aab8a4-74ef-476e-8182f-6d2ba4166a6",
        ] {
            assert!(InstanceId::parse(Cloud::Azure, text).is_err(), "{text:?}");
        }
        for text in ["", "-1", "1.0", "1e3", "٣", "123456789012345678901"] {
            assert!(InstanceId::parse(Cloud::Google, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn azure_ids_are_kept_in_lower_case() {
        let upper =
            InstanceId::parse(Cloud::Azure, "02AAB8A4-74EF-476E-8182-F6D2BA4166A6").unwrap();
        assert_eq!(upper.as_str(), "02aab8a4-74ef-476e-8182-f6d2ba4166a6");
    }

    #[test]
    fn firmware_reverses_the_first_three_groups_and_twice_is_none() {
        let id = InstanceId::parse(Cloud::Azure, "02aab8a4-74ef-476e-8182-f6d2ba4166a6").unwrap();
        let firmware = id.in_firmware_order().unwrap();
        assert_eq!(firmware.as_str(), "a4b8aa02-ef74-6e47-8182-f6d2ba4166a6");
        assert_eq!(firmware.in_firmware_order(), Some(id));
        let other = InstanceId::parse(Cloud::Google, "7").unwrap();
        assert_eq!(other.in_firmware_order(), None);
    }

    #[test]
    fn an_invalid_id_is_echoed_up_to_a_bound() {
        let long = "é".repeat(1000);
        let error = InstanceId::parse(Cloud::Aws, &long).unwrap_err();
        let echo = error.instance_id().unwrap();
        assert_eq!(echo.len(), Error::MAX_ECHO);
        assert!(long.starts_with(echo));
    }
}
