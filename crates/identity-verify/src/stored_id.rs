use std::fmt;

use thiserror::Error;

use crate::{Cloud, InstanceId};

impl InstanceId {
    /// Takes an id that is stored for a machine, if some cloud could sign exactly that id
    ///
    /// Whether there is such an instance is not checked. A UUID may be stored in lower case or in
    /// upper case, as stores look up both, and is returned in lower case.
    ///
    /// # Errors
    ///
    /// [`ImpossibleId`] if no proof of any cloud can ever be for the id.
    pub fn stored(text: &str) -> Result<Self, ImpossibleId> {
        let clouds = [Cloud::Aws, Cloud::Azure, Cloud::Google];
        let id = clouds.into_iter().find_map(|cloud| Self::parse(cloud, text).ok());
        let id = id.ok_or_else(|| ImpossibleId::new(text))?;
        let is_possible = match id.cloud() {
            Cloud::Aws => true,
            Cloud::Azure => id.as_str() == text || id.as_str().to_ascii_uppercase() == text,
            // A number of 64 bits, which Google writes without leading zeros.
            Cloud::Google => text.parse::<u64>().is_ok_and(|number| number.to_string() == text),
        };
        if is_possible { Ok(id) } else { Err(ImpossibleId::new(text)) }
    }
}

/// A stored id that no cloud gives to an instance, with what it looks like instead
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no cloud gives this id to an instance: {0}")]
pub struct ImpossibleId(Form);

impl ImpossibleId {
    fn new(text: &str) -> Self {
        let prefix = |prefix: &str| text.get(..prefix.len()).is_some_and(|s| s == prefix);
        let starts_with = |list: &[&str]| list.iter().any(|start| prefix(start));
        Self(if text.is_empty() {
            Form::Empty
        } else if text.trim() != text {
            Form::Padded
        } else if prefix("sir-") {
            Form::SpotRequest
        } else if prefix("mi-") {
            Form::ManagedNode
        } else if prefix("arn:") {
            Form::Arn
        } else if starts_with(&["ami-", "eni-", "fleet-", "lt-", "r-", "sfr-", "vol-"]) {
            Form::OtherResource
        } else if text.get(..15).is_some_and(|s| s.eq_ignore_ascii_case("/subscriptions/")) {
            Form::AzureResource
        } else if starts_with(&["projects/", "https://", "//compute.googleapis.com/"]) {
            Form::GoogleResource
        } else if prefix("i-") || prefix("I-") {
            Form::NearAws
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Form::NearGoogle
        } else if text.bytes().filter(u8::is_ascii_hexdigit).count() == 32 {
            Form::NearAzure
        } else {
            Form::Other
        })
    }
}

/// What an impossible id looks like
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Empty,
    Padded,
    SpotRequest,
    ManagedNode,
    Arn,
    OtherResource,
    AzureResource,
    GoogleResource,
    NearAws,
    NearAzure,
    NearGoogle,
    Other,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Padded => "it has white space at an end",
            Self::SpotRequest => {
                "it is the id of an AWS Spot request; record the instance's, which begins with `i-`"
            }
            Self::ManagedNode => {
                "it is the id of a managed node of AWS; record the instance's, which begins with \
                 `i-`"
            }
            Self::Arn => "it is an ARN; record only the id in it, which begins with `i-`",
            Self::OtherResource => {
                "it is the id of another resource of AWS; record the instance's, which begins with \
                 `i-`"
            }
            Self::AzureResource => {
                "it is an Azure resource id; record the machine's `vmId`, which is a UUID"
            }
            Self::GoogleResource => {
                "it is the path of a Google instance; record its number (`instance_id`)"
            }
            Self::NearAws => "an id of AWS is `i-` and 8 or 17 hexadecimal digits, in lower case",
            Self::NearAzure => {
                "an id of Azure is a UUID with hyphens, all in lower case or all in upper case"
            }
            Self::NearGoogle => {
                "an id of Google is a number of 64 bits without leading zeros; other programs may \
                 have rounded it"
            }
            Self::Other => {
                "AWS gives `i-` and hexadecimal digits, Azure a UUID (`vmId`) and Google a number, \
                 not a name"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_cloud_signs_is_possible() {
        for (text, cloud) in [
            ("i-0123abcd", Cloud::Aws),
            ("i-0123456789abcdef0", Cloud::Aws),
            ("02aab8a4-74ef-476e-8182-f6d2ba4166a6", Cloud::Azure),
            ("02AAB8A4-74EF-476E-8182-F6D2BA4166A6", Cloud::Azure),
            ("7", Cloud::Google),
            ("18446744073709551615", Cloud::Google),
        ] {
            assert_eq!(InstanceId::stored(text).unwrap().cloud(), cloud, "{text}");
        }
    }

    #[test]
    fn an_id_that_no_cloud_signs_is_explained() {
        for (text, expected) in [
            ("", "empty"),
            ("i-0123456789abcdef0\n", "white space"),
            (" 7", "white space"),
            ("sir-08b93456", "Spot request"),
            ("mi-0123456789abcdef0", "managed node"),
            ("arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", "ARN"),
            ("eni-0123456789abcdef0", "another resource of AWS"),
            ("r-0123456789abcdef0", "another resource of AWS"),
            (
                "/subscriptions/1/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
                "Azure resource id",
            ),
            ("/SUBSCRIPTIONS/1/x", "Azure resource id"),
            ("projects/p/zones/z/instances/vm", "path of a Google instance"),
            ("https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/vm", "path of a"),
            ("i-0123456789ABCDEF0", "lower case"),
            ("i-123", "8 or 17"),
            ("02aab8a474ef476e8182f6d2ba4166a6", "hyphens"),
            ("{02aab8a4-74ef-476e-8182-f6d2ba4166a6}", "hyphens"),
            ("02AAB8A4-74ef-476e-8182-f6d2ba4166a6", "all in upper case"),
            ("007", "leading zeros"),
            ("18446744073709551616", "64 bits"),
            ("8.0877169568326e18", "not a name"),
            ("my-vm", "not a name"),
            ("\u{e9}i-0123abcd", "not a name"),
        ] {
            let error = InstanceId::stored(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
