use serde::Deserialize;

/// Reads one JSON object and nothing after it (RFC 8259)
///
/// Fields that `T` does not use are ignored, fields it uses may not occur twice.
/// serde_json skips unknown values without recursion, so nesting costs no stack.
/// An array is refused, although a derived `Deserialize` would take its elements as
/// the fields in order.
pub(crate) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(bytes).ok()
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
    fn a_nested_bomb_costs_no_stack() {
        let depth = 1 << 20;
        let bomb = format!(r#"{{"z":{}{},"x":1}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(object::<Point>(bomb.as_bytes()), Some(Point { x: 1, y: None }));
    }
}
