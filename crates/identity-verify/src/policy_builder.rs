use std::{borrow::Borrow, collections::BTreeSet};

use crate::{Audience, Policy, azure::Environment};

/// Each of these returns the policy with one field replaced; the field says what it means
impl Policy {
    /// Sets [`leeway_seconds`](field@Self::leeway_seconds)
    #[must_use]
    pub fn leeway_seconds(self, seconds: u64) -> Self {
        Self { leeway_seconds: seconds, ..self }
    }

    /// Sets [`aws_max_document_age_seconds`](field@Self::aws_max_document_age_seconds)
    #[must_use]
    pub fn aws_max_document_age_seconds(self, seconds: impl Into<Option<u64>>) -> Self {
        Self { aws_max_document_age_seconds: seconds.into(), ..self }
    }

    /// Sets [`aws_allowed_accounts`](field@Self::aws_allowed_accounts)
    #[must_use]
    pub fn aws_allowed_accounts<I>(self, accounts: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self { aws_allowed_accounts: list(accounts), ..self }
    }

    /// Sets [`aws_allowed_regions`](field@Self::aws_allowed_regions)
    #[must_use]
    pub fn aws_allowed_regions<I>(self, regions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self { aws_allowed_regions: list(regions), ..self }
    }

    /// Sets [`aws_allow_rsa1024`](field@Self::aws_allow_rsa1024)
    #[must_use]
    pub fn aws_allow_rsa1024(self, allow: bool) -> Self {
        Self { aws_allow_rsa1024: allow, ..self }
    }

    /// Sets [`aws_allow_dsa_sha1`](field@Self::aws_allow_dsa_sha1)
    #[must_use]
    pub fn aws_allow_dsa_sha1(self, allow: bool) -> Self {
        Self { aws_allow_dsa_sha1: allow, ..self }
    }

    /// Sets [`azure_enforce_expires_on`](field@Self::azure_enforce_expires_on)
    #[must_use]
    pub fn azure_enforce_expires_on(self, enforce: bool) -> Self {
        Self { azure_enforce_expires_on: enforce, ..self }
    }

    /// Sets [`azure_expected_nonce`](field@Self::azure_expected_nonce)
    #[must_use]
    pub fn azure_expected_nonce(self, nonce: impl Into<String>) -> Self {
        Self { azure_expected_nonce: Some(nonce.into()), ..self }
    }

    /// Sets [`azure_allowed_subscriptions`](field@Self::azure_allowed_subscriptions)
    #[must_use]
    pub fn azure_allowed_subscriptions<I>(self, subscriptions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self { azure_allowed_subscriptions: list(subscriptions), ..self }
    }

    /// Sets [`azure_clouds`](field@Self::azure_clouds)
    #[must_use]
    pub fn azure_clouds<I>(self, clouds: I) -> Self
    where
        I: IntoIterator<Item: Borrow<Environment>>,
    {
        let clouds = clouds.into_iter().map(|cloud| *cloud.borrow()).collect();
        Self { azure_clouds: Some(clouds), ..self }
    }

    /// Sets [`google_audience`](field@Self::google_audience) to exactly `audience`
    #[must_use]
    pub fn google_audience(self, audience: impl Into<String>) -> Self {
        Self { google_audience: Audience::Is(audience.into()), ..self }
    }

    /// Sets [`google_audience`](field@Self::google_audience) to [`Audience::Any`]
    #[must_use]
    pub fn any_google_audience(self) -> Self {
        Self { google_audience: Audience::Any, ..self }
    }

    /// Sets [`google_allowed_projects`](field@Self::google_allowed_projects)
    #[must_use]
    pub fn google_allowed_projects<I>(self, projects: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self { google_allowed_projects: list(projects), ..self }
    }

    /// Sets [`google_allowed_service_accounts`](field@Self::google_allowed_service_accounts)
    #[must_use]
    pub fn google_allowed_service_accounts<I>(self, accounts: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self { google_allowed_service_accounts: list(accounts), ..self }
    }

    /// Sets [`google_max_instance_age_seconds`](field@Self::google_max_instance_age_seconds)
    #[must_use]
    pub fn google_max_instance_age_seconds(self, seconds: impl Into<Option<u64>>) -> Self {
        Self { google_max_instance_age_seconds: seconds.into(), ..self }
    }

    /// Sets [`google_max_lifetime_seconds`](field@Self::google_max_lifetime_seconds)
    #[must_use]
    pub fn google_max_lifetime_seconds(self, seconds: impl Into<Option<u64>>) -> Self {
        Self { google_max_lifetime_seconds: seconds.into(), ..self }
    }
}

fn list<I>(texts: I) -> Option<BTreeSet<String>>
where
    I: IntoIterator<Item: Into<String>>,
{
    Some(texts.into_iter().map(Into::into).collect())
}
