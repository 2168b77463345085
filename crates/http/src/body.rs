use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::context::{Body, Context};
use crate::error::{Error, NotJson};

/// Limits of a body
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In bytes
    pub(crate) size: usize,
    pub(crate) timeout: Duration,
}

/// Reads a JSON body within these limits
///
/// Exactly one JSON value: duplicate fields and bytes after it are rejected, since two parsers
/// would read them differently. Unknown fields are ignored. A body without a content type is
/// taken as JSON, one with another type is not.
pub(crate) async fn read_json<T: DeserializeOwned>(
    cx: &Context<'_>,
    body: Body,
    bounds: Bounds,
) -> Result<T, Error> {
    if cx.headers().get(CONTENT_TYPE).is_some_and(|value| !is_json(value.as_bytes())) {
        return Err(Error::UnsupportedMediaType);
    }
    let bytes = read(body, bounds).await?;
    serde_json::from_slice(&bytes)
        .map(|Object(value)| value)
        .map_err(|error| Error::NotJson(NotJson::explain::<Object<T>>(&bytes, &error)))
}

/// Reads a body of any type within these limits
pub(crate) async fn read(body: Body, bounds: Bounds) -> Result<Bytes, Error> {
    let Bounds { size: limit, timeout } = bounds;
    let declared = body.size_hint().lower();
    if usize::try_from(declared).is_ok_and(|length| length > limit) {
        return Err(Error::BodyTooLarge { limit });
    }
    let body = pin!(Limited::new(body, limit).collect());
    match tokio::time::timeout(timeout, body).await {
        Err(_) => Err(Error::BodyTimeout),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge { limit }),
        Ok(Err(error)) => Err(Error::BodyUnreadable(error)),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// Reads a field that may be null, which means the same as leaving it out
///
/// For fields of structs with `#[serde(default)]`.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A value that must be written as a JSON object
///
/// A derived `Deserialize` would take an array's elements as the fields in order.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Whether it is `application/json` or any `+json` type; parameters are ignored (RFC 6839, 3.1)
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_types() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in ["", "text/plain", "application/jsonp", "+json", "json", "x/y; z=+json"] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
    }
}
