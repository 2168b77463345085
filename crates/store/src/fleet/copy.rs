//! Rows in the text format of `COPY`
//!
//! Source: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2>

use std::fmt::{Display, Write as _};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Digest, Hidden, KeyScope, Token};

/// A value in the text format of `COPY`
pub(crate) trait CopyValue {
    /// Writes the value, without a tab around it
    fn write(&self, out: &mut String);
}

/// A row in the text format of `COPY`
pub(crate) trait CopyRow {
    /// Writes a tab before each column
    fn write(&self, out: &mut String);
}

impl<T: CopyValue> CopyValue for Option<T> {
    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("\\N"),
        }
    }
}

impl CopyValue for String {
    fn write(&self, out: &mut String) {
        escape(self, out);
    }
}

impl CopyValue for bool {
    fn write(&self, out: &mut String) {
        out.push(if *self { 't' } else { 'f' });
    }
}

impl CopyValue for i32 {
    fn write(&self, out: &mut String) {
        print(self, out);
    }
}

impl CopyValue for i64 {
    fn write(&self, out: &mut String) {
        print(self, out);
    }
}

impl CopyValue for Uuid {
    fn write(&self, out: &mut String) {
        out.push_str(self.hyphenated().encode_lower(&mut Self::encode_buffer()));
    }
}

impl CopyValue for DateTime<Utc> {
    fn write(&self, out: &mut String) {
        print(&self.format("%Y-%m-%dT%H:%M:%S%.9fZ"), out);
    }
}

impl CopyValue for Value {
    fn write(&self, out: &mut String) {
        escape(&self.to_string(), out);
    }
}

impl CopyValue for Token {
    fn write(&self, out: &mut String) {
        self.0.write(out);
    }
}

impl CopyValue for Hidden {
    fn write(&self, out: &mut String) {
        self.0.write(out);
    }
}

impl CopyValue for KeyScope {
    fn write(&self, out: &mut String) {
        self.0.write(out);
    }
}

impl CopyValue for Digest {
    fn write(&self, out: &mut String) {
        out.push_str("\\\\x");
        self.0.iter().for_each(|byte| print(&format_args!("{byte:02x}"), out));
    }
}

impl CopyValue for Vec<String> {
    fn write(&self, out: &mut String) {
        array(self.iter().map(String::as_str), out);
    }
}

impl CopyValue for Vec<KeyScope> {
    fn write(&self, out: &mut String) {
        array(self.iter().map(|scope| &*scope.0), out);
    }
}

/// Writes an array, whose elements are quoted as in an SQL literal of an array
fn array<'a>(elements: impl Iterator<Item = &'a str>, out: &mut String) {
    let mut literal = String::from("{");
    for element in elements {
        if literal.len() > 1 {
            literal.push(',');
        }
        literal.push('"');
        for c in element.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    escape(&literal, out);
}

fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\n', '\r', '\t']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        out.push_str(match after.as_bytes().first() {
            Some(b'\n') => "\\n",
            Some(b'\r') => "\\r",
            Some(b'\t') => "\\t",
            _ => "\\\\",
        });
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// Writes a value whose text needs no escapes
fn print(value: &impl Display, out: &mut String) {
    // Writing to a `String` never fails.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_for_copy() {
        fn copied(value: &impl CopyValue) -> String {
            let mut out = String::new();
            value.write(&mut out);
            out
        }
        assert_eq!(copied(&"a\tb\nc\rd\\e\\N".to_owned()), r"a\tb\nc\rd\\e\\N");
        assert_eq!(copied(&None::<String>), r"\N");
        assert_eq!(copied(&Some(r"\N".to_owned())), r"\\N");
        let list = ["", "a b", "\"q\"", r"b\c", "NULL"].map(str::to_owned).to_vec();
        assert_eq!(copied(&list), r#"{"","a b","\\"q\\"","b\\\\c","NULL"}"#);
        assert_eq!(copied(&Vec::<String>::new()), "{}");
        assert_eq!(copied(&Digest(vec![0, 255])), r"\\x00ff");
        assert_eq!(copied(&serde_json::json!({"a": "x\ny"})), r#"{"a":"x\\ny"}"#);
        assert_eq!(copied(&DateTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000000Z");
    }
}
