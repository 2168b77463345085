//! What shells, editors and Windows do to texts on their way into a file

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// A text with what was done to it undone
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) bytes: Vec<u8>,
    /// What to do to the text that was given, in the order to do it; `{}` is the text
    pub(super) changes: Vec<&'static str>,
}

impl Variant {
    pub(super) const fn unchanged(bytes: Vec<u8>) -> Self {
        Self { bytes, changes: Vec::new() }
    }

    fn then(&self, bytes: Vec<u8>, change: &'static str) -> Self {
        let mut changes = self.changes.clone();
        changes.push(change);
        Self { bytes, changes }
    }
}

/// `given` and what it may have been, with one more change undone each time
pub(super) fn of_document(given: &[u8]) -> Vec<Variant> {
    let mut found = vec![Variant::unchanged(given.to_vec())];
    add(&mut found, without_utf16, "{} is written in UTF-8 instead of UTF-16");
    add(&mut found, without_mark, "the byte order mark of {} is taken off");
    add(
        &mut found,
        |text| field(text, &["document"]),
        "{} is taken out of the JSON around it, of which one field is wanted",
    );
    add(&mut found, from_json_string, "{} is what the JSON string around it spells");
    add(&mut found, from_base64, "{} is decoded from base64");
    let stages = found.clone();
    let mut found = Vec::new();
    for stage in stages {
        let mut ends = vec![stage];
        add(&mut ends, without_carriage_returns, "the CRLF line ends of {} are LF again");
        for stage in ends {
            let ending = stage.bytes.trim_ascii_end();
            if ending.len() < stage.bytes.len() {
                let trimmed = ending.to_vec();
                found.push(stage.then(trimmed, "the line break at the end of {} is taken off"));
            } else {
                let ended = [ending, b"\n"].concat();
                found.push(stage.then(ended, "a line break is put at the end of {}"));
            }
            found.push(stage);
        }
    }
    // From its last form: the others are read as the same JSON, or not at all.
    if let Some(last) = found.last().cloned() {
        for layout in as_aws_lays_it_out(&last.bytes) {
            found.push(last.then(
                layout,
                "the JSON of {} has the line breaks, blanks and order again that AWS gave it",
            ));
        }
    }
    // The fewest changes first.
    found.sort_by_key(|variant| variant.changes.len());
    found
}

/// `given`, a text of base64 or a token, and what it may have been
pub(super) fn of_base64(given: &[u8], fields: &[&str]) -> Vec<Variant> {
    let mut found = vec![Variant::unchanged(given.to_vec())];
    add(&mut found, without_utf16, "{} is written in ASCII instead of UTF-16");
    add(&mut found, without_mark, "the byte order mark of {} is taken off");
    add(
        &mut found,
        |text| field(text, fields),
        "{} is taken out of the JSON around it, of which one field is wanted",
    );
    add(&mut found, without_bearer, "the word in front of {} is taken off");
    add(&mut found, without_quotes, "the quotes around {} are taken off");
    add(&mut found, without_escapes, "the \\n in {} are line breaks");
    add(&mut found, without_pem_lines, "the PEM lines around {} are taken off");
    add(&mut found, without_blanks, "the blanks in {} are line breaks or nothing, as in base64");
    add(&mut found, in_standard_base64, "{} is in standard base64 (+ and /, padded with =)");
    found
}

/// Adds what `undo` makes of the last one, if it makes anything of it
fn add(found: &mut Vec<Variant>, undo: impl Fn(&[u8]) -> Option<Vec<u8>>, change: &'static str) {
    let next = found.last().and_then(|last| Some(last.then(undo(&last.bytes)?, change)));
    found.extend(next);
}

/// Whether it is base64 of an ASN.1 SEQUENCE, which every PKCS#7 message is
pub(super) fn is_message(given: &[u8]) -> bool {
    let last = of_base64(given, &[]).pop();
    let digits = last.map(|last| without_space(&last.bytes)).unwrap_or_default();
    lenient(&digits).is_some_and(|bytes| bytes.len() > 64 && bytes.first() == Some(&0x30))
}

/// Whether it is base64 of a signature by RSA of a usual size, and nothing around it
pub(super) fn is_bare_signature(given: &[u8]) -> bool {
    let digits = of_base64(given, &[]).pop().map(|last| without_space(&last.bytes));
    let size = digits.and_then(|digits| lenient(&digits)).map(|bytes| bytes.len());
    matches!(size, Some(128 | 256 | 384 | 512))
}

/// The message between `-----BEGIN …-----` and `-----END …-----` (RFC 7468)
pub(super) fn without_pem_lines(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (_, body) = after.split_once("-----")?;
    let (body, _) = body.split_once("-----END ")?;
    Some(body.trim().as_bytes().to_vec())
}

fn without_utf16(text: &[u8]) -> Option<Vec<u8>> {
    let (body, read): (_, fn([u8; 2]) -> u16) = match text {
        [0xff, 0xfe, body @ ..] => (body, u16::from_le_bytes),
        [0xfe, 0xff, body @ ..] => (body, u16::from_be_bytes),
        // Without a mark: every text here begins with ASCII.
        [1..=0xff, 0, ..] => (text, u16::from_le_bytes),
        [0, 1..=0xff, ..] => (text, u16::from_be_bytes),
        _ => return None,
    };
    let (pairs, _) = body.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
    String::from_utf16(&units).ok().map(String::into_bytes)
}

fn without_mark(text: &[u8]) -> Option<Vec<u8>> {
    text.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec)
}

fn without_carriage_returns(text: &[u8]) -> Option<Vec<u8>> {
    text.contains(&b'\r').then(|| text.iter().copied().filter(|b| *b != b'\r').collect())
}

/// The first of `fields` in a JSON object, as metadata services and clients write them
fn field(text: &[u8], fields: &[&str]) -> Option<Vec<u8>> {
    let object: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let value = fields.iter().find_map(|field| object.get(*field)?.as_str())?;
    Some(value.as_bytes().to_vec())
}

fn from_json_string(text: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<String>(text).ok().map(String::into_bytes)
}

/// A document in base64, as other services want it
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    lenient(&without_space(text)).filter(|document| document.starts_with(b"{"))
}

fn without_bearer(text: &[u8]) -> Option<Vec<u8>> {
    let (word, rest) = text.trim_ascii().split_at_checked(7)?;
    word.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii().to_vec())
}

fn without_quotes(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let inside = |quote: u8| text.strip_prefix(&[quote])?.strip_suffix(&[quote]);
    inside(b'"').or_else(|| inside(b'\'')).map(<[u8]>::to_vec)
}

fn without_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.contains('\\').then(|| text.replace("\\r", "").replace("\\n", "\n").into_bytes())
}

/// Line breaks in base64 count for nothing; blanks are not allowed
fn without_blanks(text: &[u8]) -> Option<Vec<u8>> {
    let has_any = text.iter().any(|b| matches!(b, b' ' | b'\t' | 0x0b | 0x0c));
    has_any.then(|| without_space(text))
}

fn without_space(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != 0x0b).collect()
}

fn in_standard_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = without_space(text);
    // A token is base64url, and right so.
    if digits.contains(&b'.') {
        return None;
    }
    let standard = base64::engine::general_purpose::STANDARD.encode(lenient(&digits)?).into_bytes();
    (standard != digits).then_some(standard)
}

/// Either alphabet, padded or not
fn lenient(digits: &[u8]) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const ENGINES: [GeneralPurpose; 2] =
        [GeneralPurpose::new(&STANDARD, CONFIG), GeneralPurpose::new(&URL_SAFE, CONFIG)];
    ENGINES.iter().find_map(|engine| engine.decode(digits).ok())
}

/// A document in the layout of AWS's metadata service, in every order it is known to have
///
/// Version 2017-09-30 has the order of [`ORDER`]; before that it was any. What a tool
/// wrote anew mostly keeps the order or sorts it.
fn as_aws_lays_it_out(document: &[u8]) -> Vec<Vec<u8>> {
    let Ok(Ordered(fields)) = serde_json::from_slice(document) else { return Vec::new() };
    let known = ORDER.iter().filter_map(|name| fields.iter().find(|(own, _)| own == name));
    let known: Vec<_> = known.cloned().collect();
    let mut orders = Vec::new();
    if known.len() == fields.len() {
        orders.push(known);
    }
    orders.push(fields);
    let lay_out = |fields: Vec<(String, Value)>| {
        let lines = fields.iter().map(|(name, value)| {
            format!("  {} : {}", Value::from(name.as_str()), in_its_layout(value))
        });
        format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n")).into_bytes()
    };
    orders.into_iter().map(lay_out).collect()
}

/// Lists of product codes stand as `[ "a", "b" ]`
fn in_its_layout(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<_> = items.iter().map(Value::to_string).collect();
            format!("[ {} ]", items.join(", ")).into()
        }
        value => value.to_string().into(),
    }
}

/// The fields of an object in the order they stand
struct Ordered(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Of version 2017-09-30, as captured from real instances
const ORDER: [&str; 15] = [
    "accountId",
    "architecture",
    "availabilityZone",
    "billingProducts",
    "devpayProductCodes",
    "marketplaceProductCodes",
    "imageId",
    "instanceId",
    "instanceType",
    "kernelId",
    "pendingTime",
    "privateIp",
    "ramdiskId",
    "region",
    "version",
];
