use serde::{Deserialize, Serialize};

/// A separate Azure cloud
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Environment {
    /// `metadata.azure.com`
    Public,
    /// Azure Government, `metadata.azure.us`
    Government,
    /// Azure operated by 21Vianet, `metadata.azure.cn`
    China,
    /// Azure Germany, `metadata.microsoftazure.de`, closed in 2021
    Germany,
}

impl Environment {
    /// The cloud as stable text, as the policy spells it
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Government => "government",
            Self::China => "china",
            Self::Germany => "germany",
        }
    }

    /// The cloud whose metadata service `name` names, or a name below it
    ///
    /// Compared label by label and without regard to case. A wildcard is not a name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Public, Self::Government, Self::China, Self::Germany]
            .into_iter()
            .find(|environment| is_below(name, environment.service()))
    }

    const fn service(self) -> &'static str {
        match self {
            Self::Public => "metadata.azure.com",
            Self::Government => "metadata.azure.us",
            Self::China => "metadata.azure.cn",
            Self::Germany => "metadata.microsoftazure.de",
        }
    }
}

fn is_below(name: &str, service: &str) -> bool {
    let Some(at) = name.len().checked_sub(service.len()) else { return false };
    let Some((labels, end)) = name.split_at_checked(at) else { return false };
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    end.eq_ignore_ascii_case(service)
        && (labels.is_empty()
            || labels.strip_suffix('.').is_some_and(|labels| labels.split('.').all(is_label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_the_cloud_it_ends_with_label_by_label() {
        for (name, environment) in [
            ("metadata.azure.com", Environment::Public),
            ("EastUS.Metadata.Azure.COM", Environment::Public),
            ("a.b.metadata.azure.us", Environment::Government),
            ("metadata.azure.cn", Environment::China),
            ("metadata.microsoftazure.de", Environment::Germany),
        ] {
            assert_eq!(Environment::of_name(name), Some(environment), "{name}");
        }
        for name in [
            "",
            "azure.com",
            "xmetadata.azure.com",
            "metadata-azure.com",
            "metadata.azure.com.",
            ".metadata.azure.com",
            "a..metadata.azure.com",
            "*.metadata.azure.com",
            "a b.metadata.azure.com",
            "a\0.metadata.azure.com",
            "é.metadata.azure.com",
            "metadata.azure.com.example.org",
            "metadata.azure.de",
            "metadata.azure.org",
            "metadataxazure.com",
        ] {
            assert_eq!(Environment::of_name(name), None, "{name:?}");
        }
    }
}
