//! What shells, editors and Windows change in a text on its way into a file

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// What a text may have been before it was changed
///
/// Not `Debug`: a proof is a bearer document.
#[derive(Clone)]
pub(crate) struct Variant {
    pub(crate) bytes: Vec<u8>,
    /// The changes that lead from the given text to this one, in their order; `{}` is the text
    changes: Vec<&'static str>,
}

impl Variant {
    const fn unchanged(bytes: Vec<u8>) -> Self {
        Self { bytes, changes: Vec::new() }
    }

    /// The changes in words, where the text is called `name`
    pub(crate) fn described(&self, name: &str) -> Vec<String> {
        self.changes.iter().map(|change| change.replace("{}", name)).collect()
    }

    /// This variant, and the one without the line breaks within it, if there are any
    ///
    /// A token is one line. A line break after it is not part of it, and needs no repair.
    pub(crate) fn and_without_line_breaks(self) -> Vec<Self> {
        let trimmed = self.bytes.trim_ascii();
        let joined = without_space(trimmed);
        match joined.len() == trimmed.len() {
            true => vec![self],
            false => vec![self.then(joined, "the line breaks in {} are removed"), self],
        }
    }

    fn then(&self, bytes: Vec<u8>, change: &'static str) -> Self {
        let mut changes = self.changes.clone();
        changes.push(change);
        Self { bytes, changes }
    }
}

/// Returns `given` and the documents that it may have been, the fewest changes first
pub(crate) fn of_document(given: &[u8]) -> Vec<Variant> {
    let of_body = |text: &[u8]| field(text, &["document"]);
    let stages = undone(
        given,
        &[
            (&without_utf16, "{} is written in UTF-8 instead of UTF-16"),
            (&without_mark, "the byte order mark of {} is removed"),
            (&of_body, "{} is taken out of the JSON around it, of which only one field is needed"),
            (&from_json_string, "{} is decoded from the JSON string around it"),
            (&from_base64, "{} is decoded from Base64"),
        ],
    );
    let mut found = Vec::new();
    for stage in stages {
        let unix = without_carriage_returns(&stage.bytes);
        let unix = unix.map(|text| stage.then(text, "the CRLF line ends of {} are replaced by LF"));
        for stage in [Some(stage), unix].into_iter().flatten() {
            let ending = stage.bytes.trim_ascii_end();
            if ending.len() < stage.bytes.len() {
                let trimmed = ending.to_vec();
                found.push(stage.then(trimmed, "the line break at the end of {} is removed"));
            } else {
                let ended = [ending, b"\n"].concat();
                found.push(stage.then(ended, "a line break is added at the end of {}"));
            }
            found.push(stage);
        }
    }
    // From the last variant: the others are the same JSON, or are not JSON.
    if let Some(last) = found.last().cloned() {
        for layout in as_aws_lays_it_out(&last.bytes) {
            found.push(
                last.then(
                    layout,
                    "the JSON of {} has the line breaks, spaces and order of AWS again",
                ),
            );
        }
    }
    found.sort_by_key(|variant| variant.changes.len());
    found
}

/// Returns `given` and the Base64 texts or tokens that it may have been, the fewest changes first
///
/// `fields` are the names that the text may have in JSON.
pub(crate) fn of_base64(given: &[u8], fields: &[&str]) -> Vec<Variant> {
    let of_answer = |text: &[u8]| field(text, fields);
    undone(
        given,
        &[
            (&without_utf16, "{} is written in ASCII instead of UTF-16"),
            (&without_mark, "the byte order mark of {} is removed"),
            (&from_binary, "{} is encoded in Base64"),
            (
                &of_answer,
                "{} is taken out of the JSON around it, of which only one field is needed",
            ),
            (&without_bearer, "the word before {} is removed"),
            (&without_quotes, "the quotes around {} are removed"),
            (&without_pem_lines, "the PEM lines around {} are removed"),
            (&without_escapes, "the escapes such as \\n in {} are decoded"),
            (&without_spaces, "the spaces in {} are removed"),
            (&in_standard_base64, "{} is in standard Base64 (+ and /, padded with =)"),
        ],
    )
}

/// Undoes a change if it was made, with the description of that
type Undo<'a> = (&'a dyn Fn(&[u8]) -> Option<Vec<u8>>, &'static str);

/// Undoes changes one after the other, and returns what was left after each
///
/// The change that was made last is undone first, so the earlier ones in the list are tried again
/// after each.
fn undone(given: &[u8], undo: &[Undo<'_>]) -> Vec<Variant> {
    let mut found = vec![Variant::unchanged(given.to_vec())];
    let next = |last: &Variant| {
        undo.iter().find_map(|(undo, change)| Some(last.then(undo(&last.bytes)?, change)))
    };
    for _ in 0..MOST_CHANGES {
        let Some(variant) = found.last().and_then(next) else { break };
        found.push(variant);
    }
    found
}

/// Returns whether `given` is Base64 of an ASN.1 SEQUENCE, which every PKCS#7 message is
///
/// The changes that this crate knows are undone first. Nothing is verified.
#[must_use]
pub fn is_pkcs7(given: &[u8]) -> bool {
    let last = of_base64(given, &[]).pop();
    let digits = last.map(|last| without_space(&last.bytes)).unwrap_or_default();
    lenient(&digits).is_some_and(|bytes| bytes.len() > 64 && bytes.first() == Some(&0x30))
}

/// Returns whether `given` is Base64 of an RSA signature of a usual size
pub(crate) fn is_bare_signature(given: &[u8]) -> bool {
    let digits = of_base64(given, &[]).pop().map(|last| without_space(&last.bytes));
    let size = digits.and_then(|digits| lenient(&digits)).map(|bytes| bytes.len());
    matches!(size, Some(128 | 256 | 384 | 512))
}

/// The text between `-----BEGIN …-----` and `-----END …-----` (RFC 7468)
pub(crate) fn without_pem_lines(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (_, body) = after.split_once("-----")?;
    let (body, _) = body.split_once("-----END ").unwrap_or((body, ""));
    Some(body.trim().as_bytes().to_vec())
}

fn without_utf16(text: &[u8]) -> Option<Vec<u8>> {
    let (body, read): (_, fn([u8; 2]) -> u16) = match text {
        [0xff, 0xfe, body @ ..] => (body, u16::from_le_bytes),
        [0xfe, 0xff, body @ ..] => (body, u16::from_be_bytes),
        // Without a byte order mark: every text here is ASCII.
        text if is_wide(text, 1) => (text, u16::from_le_bytes),
        text if is_wide(text, 0) => (text, u16::from_be_bytes),
        _ => return None,
    };
    let pairs = body.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
    let units: Vec<u16> = pairs.map(read).collect();
    String::from_utf16(&units).ok().map(String::into_bytes)
}

/// Whether `text` is pairs of a character and a zero, which is at this place of each
fn is_wide(text: &[u8], zero: usize) -> bool {
    let is_pair = |pair: &[u8]| pair.iter().enumerate().all(|(at, b)| (*b == 0) == (at == zero));
    text.len() >= 2 && text.chunks_exact(2).all(is_pair)
}

fn without_mark(text: &[u8]) -> Option<Vec<u8>> {
    text.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec)
}

fn without_carriage_returns(text: &[u8]) -> Option<Vec<u8>> {
    text.contains(&b'\r').then(|| text.iter().copied().filter(|b| *b != b'\r').collect())
}

/// The first of `fields` that a JSON object has
fn field(text: &[u8], fields: &[&str]) -> Option<Vec<u8>> {
    let object: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let value = fields.iter().find_map(|field| object.get(*field)?.as_str())?;
    Some(value.as_bytes().to_vec())
}

/// The text in a JSON string, or in one whose quotes are missing or single
fn from_json_string(text: &[u8]) -> Option<Vec<u8>> {
    let decoded = serde_json::from_slice::<String>(text).ok();
    decoded.map(String::into_bytes).or_else(|| {
        let inner = without_quotes(text);
        decoded_escapes(inner.as_deref().unwrap_or(text)).or(inner)
    })
}

/// The text, if it has escapes of JSON
fn decoded_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let quoted = [b"\"", text.trim_ascii(), b"\""].concat();
    let decoded = text.contains(&b'\\').then(|| serde_json::from_slice::<String>(&quoted).ok());
    decoded?.map(String::into_bytes)
}

/// A message or signature as bytes, which are practically never valid UTF-8
fn from_binary(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_text = std::str::from_utf8(bytes).is_ok();
    (!is_text).then(|| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes())
}

/// A document in Base64, which other services require
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    lenient(&without_space(text)).filter(|document| document.len() > 64)
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
    // With line breaks in it, it is not the content of a JSON string.
    decoded_escapes(text).or_else(|| {
        let text = std::str::from_utf8(text).ok()?;
        text.contains('\\').then(|| text.replace("\\r", "").replace("\\n", "\n").into_bytes())
    })
}

/// The verifiers accept line breaks in Base64, but no spaces
fn without_spaces(text: &[u8]) -> Option<Vec<u8>> {
    let has_any = text.iter().any(|b| matches!(b, b' ' | b'\t' | 0x0b | 0x0c));
    has_any.then(|| without_space(text))
}

fn without_space(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != 0x0b).collect()
}

fn in_standard_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = without_space(text);
    // A token is base64url, as it should be.
    if digits.contains(&b'.') {
        return None;
    }
    let standard = base64::engine::general_purpose::STANDARD.encode(lenient(&digits)?).into_bytes();
    (standard != digits).then_some(standard)
}

/// Decodes either alphabet, padded or not
fn lenient(digits: &[u8]) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const ENGINES: [GeneralPurpose; 2] =
        [GeneralPurpose::new(&STANDARD, CONFIG), GeneralPurpose::new(&URL_SAFE, CONFIG)];
    ENGINES.iter().find_map(|engine| engine.decode(digits).ok())
}

/// The document in the layout of AWS's metadata service, in the orders that it may have had
///
/// Version 2017-09-30 has the order of [`ORDER`], and earlier ones had any. A tool that writes JSON
/// again usually keeps the order or sorts it.
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

/// Product codes are written as `[ "a", "b" ]`
fn in_its_layout(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<_> = items.iter().map(Value::to_string).collect();
            format!("[ {} ]", items.join(", ")).into()
        }
        value => value.to_string().into(),
    }
}

/// The fields of an object in their order
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

/// More changes than one text goes through on its way into a file
const MOST_CHANGES: usize = 8;

/// The order in version 2017-09-30, as captured from real instances
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
