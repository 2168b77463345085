use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};

use crate::client::{Client, ClientSecret};
use crate::error::MetadataError;
use crate::fetch::Request;
use crate::flow::Flow;
use crate::json;
use crate::metadata::{Authentication, Metadata};

/// What a provider has exchanged a code for; not verified
///
/// `Debug` does not print the tokens.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// The ID token
    pub id_token: String,
    /// The access token, for the userinfo endpoint
    pub access_token: Option<String>,
}

impl Tokens {
    /// Reads the answer of a token endpoint (OpenID Connect Core 1.0, section 3.1.3.3)
    ///
    /// `None` if it is not a JSON object with an ID token, or the access token is of another type
    /// than `Bearer`, for which the userinfo endpoint would need more.
    #[must_use]
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let fields = json::object(answer)?;
        let kind = json::text(&fields, "token_type").unwrap_or("Bearer");
        if !kind.eq_ignore_ascii_case("Bearer") {
            return None;
        }
        let text = |name| json::text(&fields, name).filter(|text| !text.is_empty());
        Some(Self {
            id_token: text("id_token")?.to_owned(),
            access_token: text("access_token").map(str::to_owned),
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

/// The request that exchanges a code (RFC 6749, section 4.1.3; RFC 7636, section 4.5)
pub(crate) fn request(
    client: &Client,
    metadata: &Metadata,
    flow: &Flow,
    code: &str,
) -> Result<Request, MetadataError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &client.redirect_uri)
        .append_pair("code_verifier", flow.verifier());
    let known = (&*client.id, client.secret.as_ref());
    authenticated(&metadata.token_endpoint, metadata.authentication, known, form)
}

/// A form for a token endpoint, with the client's id and secret (RFC 6749, section 2.3.1)
pub(crate) fn authenticated(
    url: &str,
    authentication: Authentication,
    (id, secret): (&str, Option<&ClientSecret>),
    mut form: Serializer<'_, String>,
) -> Result<Request, MetadataError> {
    let mut basic = None;
    match (secret, authentication) {
        (Some(secret), Authentication::Basic) => {
            // Both are encoded as in a form first.
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(id), encoded(secret.reveal()));
            basic = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        (Some(secret), Authentication::Post) => {
            form.append_pair("client_id", id);
            form.append_pair("client_secret", secret.reveal());
        }
        (Some(_), Authentication::Unknown) => return Err(MetadataError::NoAuthentication),
        (None, _) => {
            form.append_pair("client_id", id);
        }
    }
    let request = Request::post(url, form.finish());
    Ok(match basic {
        Some(value) => request.authorization(value),
        None => request,
    })
}
