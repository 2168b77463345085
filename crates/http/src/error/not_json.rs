use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// A body that is not JSON of the expected shape
///
/// Errors of `serde_json` quote the offending value, which may be a signature, so only their kind
/// and place are kept.
#[derive(Debug)]
pub(crate) struct NotJson {
    kind: Kind,
    /// Such as `document`; empty if it is the body as a whole
    field: String,
    line: usize,
    column: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unreadable,
    NotWellFormed,
    WrongType,
    Twice,
    EndsEarly,
}

impl NotJson {
    /// Explains why `bytes` are not a `T`
    ///
    /// Parses them a second time and records the place, which would be too expensive for valid
    /// bodies.
    pub(crate) fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Self {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let explained = serde_path_to_error::deserialize::<_, T>(&mut deserializer);
        let path = explained.err().map(|error| key(error.path()));
        // Only known fields can be reported as duplicates, so the name is not the client's text.
        let text = error.to_string();
        let twice = text.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
        let kind = match error.classify() {
            Category::Io => Kind::Unreadable,
            Category::Syntax => Kind::NotWellFormed,
            Category::Data if twice.is_some() => Kind::Twice,
            Category::Data => Kind::WrongType,
            Category::Eof => Kind::EndsEarly,
        };
        // If the text is not JSON at all, its line and column say more than the field.
        let field = match kind {
            Kind::WrongType => path.unwrap_or_default(),
            Kind::Twice => twice.map(|(field, _)| field.to_owned()).unwrap_or_default(),
            Kind::Unreadable | Kind::NotWellFormed | Kind::EndsEarly => String::new(),
        };
        Self { kind, field, line: error.line(), column: error.column() }
    }

    pub(super) fn detail(&self) -> String {
        let Self { kind, field, line, column } = self;
        let what = match (kind, field.as_str()) {
            (Kind::Unreadable, _) => "unreadable".to_owned(),
            (Kind::NotWellFormed, _) => "not well-formed".to_owned(),
            (Kind::EndsEarly, _) => "ends too early".to_owned(),
            (Kind::WrongType, "") => "not a JSON object of the expected form".to_owned(),
            (Kind::WrongType, field) => format!("`{field}` has the wrong type"),
            (Kind::Twice, "") => "a field occurs twice".to_owned(),
            (Kind::Twice, field) => format!("`{field}` occurs twice"),
        };
        format!("{what}, at line {line} column {column}")
    }
}

/// The place as people write it, such as `users[0].name`; empty if it is the body as a whole
fn key(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        key if matches!(&*key, "." | "?") => String::new(),
        key => key,
    }
}
