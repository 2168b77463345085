use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Reads one JSON object in UTF-8 and nothing after it (RFC 8259)
///
/// Fields that `T` does not use are ignored, fields it uses may not occur twice.
/// serde_json skips unknown values without recursion, so nesting costs no stack.
pub(crate) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    // One look at all of it is cheaper than serde_json's at each string.
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str(text).ok().map(|Object(value)| value)
}

/// A value that must be written as a JSON object
///
/// A derived `Deserialize` would also take the elements of an array as the fields in
/// order.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Point {
        x: i32,
        y: Option<i32>,
    }

    #[test]
    fn only_an_object_is_read() {
        let read = |text: &str| object::<Point>(text.as_bytes());
        assert_eq!(read(r#" {"x":1,"Y":2,"z":[[{}]]} "#), Some(Point { x: 1, y: None }));
        for refused in ["", "[1,2]", "1", "null", r#"{"x":1} {}"#, r#"{"x":1,"x":1}"#, r#"{"y":1}"#]
        {
            assert_eq!(read(refused), None, "{refused}");
        }
    }

    #[test]
    fn all_of_it_must_be_utf8() {
        assert_eq!(object::<Point>(b"{\"x\":1,\"z\":\"\xff\"}"), None);
    }

    #[test]
    fn a_nested_bomb_costs_no_stack() {
        let depth = 1 << 20;
        let bomb = format!(r#"{{"z":{}{},"x":1}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(object::<Point>(bomb.as_bytes()), Some(Point { x: 1, y: None }));
    }
}
