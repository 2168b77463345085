use serde_json::{Map, Value};

use crate::error::MetadataError;
use crate::fetch::LIMIT;
use crate::json;
use crate::url::Issuer;

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3)
///
/// The URLs of endpoints are checked: they are `https`, or `http` on this machine if the issuer is
/// too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Where browsers are sent to sign in
    pub authorization_endpoint: String,
    /// Where a code is exchanged for tokens
    pub token_endpoint: String,
    /// Where the keys are
    pub jwks_uri: String,
    /// Where further claims are; `None` if the provider has no such endpoint
    pub userinfo_endpoint: Option<String>,
    /// Where browsers are sent to sign out; `None` if the provider has no such endpoint
    /// (OpenID Connect RP-Initiated Logout 1.0, section 2.1)
    pub end_session_endpoint: Option<String>,
    /// Whether answers name their issuer (RFC 9207)
    pub names_issuer: bool,
    pub(crate) authentication: Authentication,
}

/// How the token endpoint authenticates a client (OpenID Connect Core 1.0, section 9)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    Basic,
    Post,
    /// None that this client knows: good for a public client alone
    Unknown,
}

impl Metadata {
    /// Reads the discovery document of `issuer`
    ///
    /// # Errors
    ///
    /// [`MetadataError`]. The issuer of the document has to be `issuer` to the letter.
    pub fn parse(issuer: &Issuer, document: &[u8]) -> Result<Self, MetadataError> {
        if document.len() > LIMIT {
            return Err(MetadataError::Malformed);
        }
        let fields = json::object(document).ok_or(MetadataError::Malformed)?;
        let found = json::text(&fields, "issuer").ok_or(missing("issuer"))?;
        if found != issuer.as_str() {
            return Err(MetadataError::Issuer { found: found.chars().take(256).collect() });
        }
        let url = |endpoint: &'static str| match fields.get(endpoint) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(url)) => {
                let checked = issuer.check_endpoint(url);
                checked.map_err(|source| MetadataError::Endpoint { endpoint, source })?;
                Ok(Some(url.clone()))
            }
            Some(_) => Err(missing(endpoint)),
        };
        let needed = |endpoint| url(endpoint)?.ok_or_else(|| missing(endpoint));
        Ok(Self {
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            jwks_uri: needed("jwks_uri")?,
            userinfo_endpoint: url("userinfo_endpoint")?,
            end_session_endpoint: url("end_session_endpoint")?,
            names_issuer: fields.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            authentication: authentication(&fields),
        })
    }
}

/// The way that is preferred among those that the document names
fn authentication(fields: &Map<String, Value>) -> Authentication {
    // The default of a document without the field.
    let Some(methods) = fields.get("token_endpoint_auth_methods_supported") else {
        return Authentication::Basic;
    };
    let has = |method: &str| {
        methods.as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some(method)))
    };
    if has("client_secret_basic") {
        Authentication::Basic
    } else if has("client_secret_post") {
        Authentication::Post
    } else {
        Authentication::Unknown
    }
}

const fn missing(field: &'static str) -> MetadataError {
    MetadataError::Missing { field }
}
