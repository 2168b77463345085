use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Reads one JSON object in UTF-8 and nothing after it (RFC 8259)
///
/// A name that occurs twice in any object is refused: two readers may take different ones
/// (RFC 8725, section 2.4). serde_json limits the depth to 128.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).ok()?;
    match serde_json::from_str(text) {
        Ok(Strict(Value::Object(map))) => Some(map),
        _ => None,
    }
}

/// A text field; `None` if it is missing or not a text
pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// A value without duplicate names
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictVisitor.deserialize(deserializer).map(Self)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate names")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_without_duplicate_names_is_read() {
        let read = |text: &str| object(text.as_bytes());
        let map = read(r#" {"a":"b","c":[1,-2,1.5,null,true,{"d":{}}]} "#).unwrap();
        assert_eq!(text(&map, "a"), Some("b"));
        assert_eq!(map["c"].to_string(), r#"[1,-2,1.5,null,true,{"d":{}}]"#);
        for refused in ["", "[]", "1", "null", r#"{"a":1} x"#, r#"{"a":1,"a":1}"#] {
            assert!(read(refused).is_none(), "{refused}");
        }
        assert!(read(r#"{"x":[{"a":1,"\u0061":2}]}"#).is_none(), "in an inner object");
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        assert!(read(&format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500))).is_none());
    }
}
