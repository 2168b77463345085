use std::fmt;
use std::str::FromStr;

use super::permission::Pattern;
use super::{Object, ObjectId, ResourceType};
use crate::Error;
use crate::id::parse_uuid;

/// The objects that a credential may touch
///
/// An empty list, which is the default, permits no object: a key without a limit has
/// [`everything`](Self::everything).
///
/// Kept in normal form: `*:*` replaces all other entries, `TYPE:*` replaces every `TYPE:ID`,
/// and the rest is sorted by type and id without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<AllowEntry>,
}

impl AllowList {
    /// The list that permits every object
    #[must_use]
    pub fn everything() -> Self {
        Self { entries: vec![AllowEntry::EVERYTHING] }
    }

    /// Whether the list permits every object
    pub(crate) fn is_everything(&self) -> bool {
        self.entries == [AllowEntry::EVERYTHING]
    }

    /// Parses a stored or requested list
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAllowEntry`] with the first entry that does not parse, and
    /// [`Error::TooManyAllowEntries`] for more than [`MAX_ALLOW_ENTRIES`].
    pub fn parse(entries: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, Error> {
        let mut parsed = Vec::new();
        for entry in entries {
            if parsed.len() == MAX_ALLOW_ENTRIES {
                return Err(Error::TooManyAllowEntries);
            }
            parsed.push(entry.as_ref().parse()?);
        }
        Ok(parsed.into_iter().collect())
    }

    /// Whether the list permits the object
    ///
    /// Types are compared literally: `workspace:*` does not permit a dormant workspace.
    #[must_use]
    pub fn fits(&self, object: &Object<'_>) -> bool {
        self.entry_for(object).is_some()
    }

    /// The entries, in normal form
    pub fn iter(&self) -> impl Iterator<Item = &AllowEntry> {
        self.entries.iter()
    }

    /// The list of the objects that either list permits
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// The list of the objects that both lists permit
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let with = |entry: &AllowEntry| {
            let entry = entry.clone();
            other.iter().filter_map(move |other| entry.narrowed(other))
        };
        self.iter().flat_map(with).collect()
    }

    pub(super) fn entry_for(&self, object: &Object<'_>) -> Option<&AllowEntry> {
        self.entries.iter().find(|entry| entry.fits(object))
    }
}

impl FromIterator<AllowEntry> for AllowList {
    fn from_iter<I: IntoIterator<Item = AllowEntry>>(entries: I) -> Self {
        let all: Vec<AllowEntry> = entries.into_iter().collect();
        if all.contains(&AllowEntry::EVERYTHING) {
            return Self::everything();
        }
        let is_covered = |entry: &AllowEntry| {
            entry.id != Pattern::Any
                && all.iter().any(|wide| wide.id == Pattern::Any && wide.kind == entry.kind)
        };
        let mut entries: Vec<AllowEntry> =
            all.iter().filter(|entry| !is_covered(entry)).cloned().collect();
        entries.sort_by_cached_key(|entry| (entry.kind.to_string(), entry.id_text()));
        entries.dedup();
        Self { entries }
    }
}

/// One entry of an allow list, written `TYPE:ID`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    kind: Pattern<ResourceType>,
    /// `Only(None)` stands for objects that do not exist yet, written `TYPE:`
    id: Pattern<Option<ObjectId>>,
}

impl AllowEntry {
    const EVERYTHING: Self = Self { kind: Pattern::Any, id: Pattern::Any };

    /// The entry for all objects of the type, or of any type
    #[must_use]
    pub fn all(kind: impl Into<Pattern<ResourceType>>) -> Self {
        Self { kind: kind.into(), id: Pattern::Any }
    }

    /// The entry for the object of that type with that id
    #[must_use]
    pub fn object(kind: impl Into<Pattern<ResourceType>>, id: impl Into<ObjectId>) -> Self {
        Self { kind: kind.into(), id: Pattern::Only(Some(id.into())) }
    }

    /// The entry for objects of the type that do not have an id yet
    #[must_use]
    pub fn without_id(kind: impl Into<Pattern<ResourceType>>) -> Self {
        Self { kind: kind.into(), id: Pattern::Only(None) }
    }

    pub(super) const fn kind(&self) -> &Pattern<ResourceType> {
        &self.kind
    }

    pub(super) const fn id(&self) -> &Pattern<Option<ObjectId>> {
        &self.id
    }

    fn fits(&self, object: &Object<'_>) -> bool {
        self.kind.matches(&object.kind) && self.id.matches(&object.id)
    }

    /// The entry for the objects that both entries permit, if there are any
    fn narrowed(&self, other: &Self) -> Option<Self> {
        Some(Self { kind: self.kind.narrowed(&other.kind)?, id: self.id.narrowed(&other.id)? })
    }

    fn id_text(&self) -> String {
        match &self.id {
            Pattern::Any => "*".to_owned(),
            Pattern::Only(Some(id)) => id.to_string(),
            Pattern::Only(None) => String::new(),
        }
    }
}

impl FromStr for AllowEntry {
    type Err = Error;

    /// Parses `TYPE:ID`: a listed type or `*`, and a UUID or `*`
    ///
    /// Case and surrounding white space are ignored.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidAllowEntry(text.to_owned());
        let lower = text.trim().to_lowercase();
        let (kind, id) = lower.split_once(':').ok_or_else(invalid)?;
        let kind = match Pattern::read(kind) {
            Pattern::Only(ResourceType::Other(_)) => return Err(invalid()),
            kind => kind,
        };
        let id = match id {
            "*" => Pattern::Any,
            id => Pattern::Only(Some(parse_uuid(id).ok_or_else(invalid)?.into())),
        };
        Ok(Self { kind, id })
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id_text())
    }
}

/// The maximum number of entries that an allow list is parsed from
pub const MAX_ALLOW_ENTRIES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::parse(entries).unwrap()
    }

    fn texts(list: &AllowList) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";

    #[test]
    fn entries_are_trimmed_lower_cased_and_known() {
        let upper = format!("  Workspace:{} ", A.to_uppercase());
        assert_eq!(texts(&list(&[&upper])), [format!("workspace:{A}")]);
        assert_eq!(texts(&list(&[&format!("*:{A}")])), [format!("*:{A}")]);
        for bad in ["", "workspace", "workspace:", "workspaces:*", "workspace:me", ":*", "*:a:b"] {
            let refused = Err(Error::InvalidAllowEntry(bad.to_owned()));
            assert_eq!(AllowList::parse([bad]), refused, "{bad}");
        }
    }

    #[test]
    fn a_list_has_a_limit() {
        assert!(AllowList::parse(vec!["workspace:*"; 128]).is_ok());
        assert_eq!(AllowList::parse(vec!["workspace:*"; 129]), Err(Error::TooManyAllowEntries));
    }

    #[test]
    fn the_normal_form_is_short_and_sorted() {
        let (a, b) = (format!("workspace:{A}"), format!("workspace:{B}"));
        let any = format!("*:{A}");
        assert_eq!(texts(&list(&[&b, &a, &b])), [a.clone(), b.clone()]);
        assert_eq!(texts(&list(&[&b, "workspace:*", &a, &any])), [&any, "workspace:*"]);
        assert_eq!(texts(&list(&[&b, "*:*", "template:*"])), ["*:*"]);
        assert_eq!(texts(&list(&[])), [""; 0]);
    }

    #[test]
    fn an_intersection_has_the_narrower_entries() {
        let (a, any) = (format!("workspace:{A}"), format!("*:{A}"));
        let both = |x: &[&str], y: &[&str]| texts(&list(x).intersection(&list(y)));
        assert_eq!(both(&["*:*"], &[&a]), [&*a]);
        assert_eq!(both(&["workspace:*"], &[&any]), [&*a]);
        assert_eq!(both(&["workspace:*", "template:*"], &["template:*"]), ["template:*"]);
        assert_eq!(both(&["workspace:*"], &["template:*"]), [""; 0]);
        assert_eq!(both(&[&a], &[]), [""; 0]);
    }

    #[test]
    fn a_union_has_the_objects_of_either_list() {
        let (a, b) = (format!("workspace:{A}"), format!("workspace:{B}"));
        let either = |x: &[&str], y: &[&str]| texts(&list(x).union(&list(y)));
        assert_eq!(either(&[&b], &[&a, &b]), [&*a, &*b]);
        assert_eq!(either(&[&a], &["workspace:*"]), ["workspace:*"]);
        assert_eq!(either(&[&a], &["*:*"]), ["*:*"]);
        assert_eq!(either(&[], &[]), [""; 0]);
    }
}
