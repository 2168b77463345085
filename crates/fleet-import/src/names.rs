use std::collections::{BTreeSet, HashMap, HashSet};

use store::import::{Name, Named};
use uuid::Uuid;

use super::document_error::DocumentError;

/// The kinds of entries that have names
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Agent,
    App,
    Build,
    Group,
    Job,
    Organization,
    Proxy,
    Resource,
    Role,
    Template,
    User,
    Workspace,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::App => "app",
            Self::Build => "build",
            Self::Group => "group",
            Self::Job => "job",
            Self::Organization => "organization",
            Self::Proxy => "proxy",
            Self::Resource => "resource",
            Self::Role => "role",
            Self::Template => "template",
            Self::User => "user",
            Self::Workspace => "workspace",
        }
    }

    /// The kind as the store finds it, if it does
    pub(crate) const fn named(self) -> Option<Named> {
        match self {
            Self::Group => Some(Named::Group),
            Self::Organization => Some(Named::Organization),
            Self::Template => Some(Named::Template),
            Self::User => Some(Named::User),
            _ => None,
        }
    }
}

/// A name: unique within its parent, among entries of a kind
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    pub(crate) kind: Kind,
    pub(crate) parent: Option<Uuid>,
    pub(crate) name: &'a str,
}

/// The ids of names, of a document and of the database
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: HashMap<(Kind, Name), Known>,
    ids: HashSet<(Kind, Uuid)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    id: Uuid,
    /// Whether the document has an entry of the name
    in_document: bool,
}

/// Names that are not known yet
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    /// Names, and whether also a deleted entry is meant
    pub(crate) names: BTreeSet<(Kind, bool, Name)>,
}

impl Names {
    /// Gives an entry of the document its id: its own, or that of the entry of the name in the
    /// database, or one that is derived from the name
    pub(crate) fn define(
        &mut self,
        path: &str,
        of: Path<'_>,
        id: Option<Uuid>,
    ) -> Result<Uuid, DocumentError> {
        let own = of.name;
        if own.is_empty() || own.contains('\0') {
            return Err(DocumentError::new(path, "a name must not be empty or hold a NUL"));
        }
        let kind = of.kind.name();
        let known = self.by_name.get(&of.key()).copied();
        if known.is_some_and(|known| known.in_document) {
            return Err(DocumentError::new(
                path,
                format_args!("there is another {kind} `{own}` here"),
            ));
        }
        let id = id.or_else(|| known.map(|known| known.id)).unwrap_or_else(|| of.derived());
        self.by_name.insert(of.key(), Known { id, in_document: true });
        if !self.ids.insert((of.kind, id)) {
            return Err(DocumentError::new(path, format_args!("another {kind} has the id {id}")));
        }
        Ok(id)
    }

    /// Keeps an id that the database has for a name
    pub(crate) fn found(&mut self, kind: Kind, name: Name, id: Uuid) {
        self.by_name.entry((kind, name)).or_insert(Known { id, in_document: false });
    }

    /// The id of a name, or the id that is given in its place
    pub(crate) fn find(&self, path: &str, of: Path<'_>) -> Result<Uuid, DocumentError> {
        self.get(of).ok_or_else(|| {
            let (kind, own) = (of.kind.name(), of.name);
            let reason = format!("the {kind} `{own}` is in neither the document nor the database");
            DocumentError::new(path, reason)
        })
    }

    pub(crate) fn get(&self, of: Path<'_>) -> Option<Uuid> {
        let known = self.by_name.get(&of.key()).map(|known| known.id);
        known.or_else(|| Uuid::try_parse(of.name).ok())
    }

    /// Adds the name of an entry that is referred to, if it is not known
    pub(crate) fn ask(&self, of: Path<'_>, unknown: &mut Unknown) {
        if self.get(of).is_none() {
            let (kind, name) = of.key();
            unknown.names.insert((kind, false, name));
        }
    }

    /// Adds the name of an entry of the document that has no id
    pub(crate) fn ask_own(&self, of: Path<'_>, is_deleted: bool, unknown: &mut Unknown) {
        let (kind, name) = of.key();
        if !self.by_name.contains_key(&(kind, name.clone())) {
            unknown.names.insert((kind, is_deleted, name));
        }
    }
}

impl<'a> Path<'a> {
    pub(crate) const fn new(kind: Kind, parent: Option<Uuid>, name: &'a str) -> Self {
        Self { kind, parent, name }
    }

    fn key(self) -> (Kind, Name) {
        let parent = self.parent.unwrap_or_default();
        (self.kind, Name { parent, name: self.name.to_owned() })
    }

    /// The id that is derived from the name
    pub(crate) fn derived(self) -> Uuid {
        match self.parent {
            Some(parent) => derived(self.kind, &[&parent.to_string(), self.name]),
            None => derived(self.kind, &[self.name]),
        }
    }
}

/// Derives an id from a name: always the same for one name
///
/// The id can be guessed, so it must not serve as a secret. Tokens are never derived.
pub(crate) fn derived(kind: Kind, name: &[&str]) -> Uuid {
    let mut text = kind.name().to_owned();
    for part in name {
        text.push('\0');
        text.push_str(part);
    }
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

/// The UUID namespace of derived ids
const NAMESPACE: Uuid = Uuid::from_u128(0x3f0c_9d52_6a8e_4b71_9c35_d0e4_61f7_2ab8);
