use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::document::DocumentError;

/// The kinds of entries that have names
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// The ids of the names in a document; a name is unique within its parent
#[derive(Default)]
pub(crate) struct Names {
    by_name: BTreeMap<(Kind, Vec<String>), Uuid>,
    ids: BTreeSet<(Kind, Uuid)>,
}

impl Names {
    pub(crate) fn define(
        &mut self,
        kind: Kind,
        path: &str,
        name: &[&str],
        id: Option<Uuid>,
    ) -> Result<Uuid, DocumentError> {
        let own = name.last().copied().unwrap_or_default();
        if own.is_empty() || own.contains('\0') {
            return Err(DocumentError::new(path, "a name must not be empty or hold a NUL"));
        }
        let id = id.unwrap_or_else(|| derived(kind, name));
        let key = (kind, name.iter().map(|part| (*part).to_owned()).collect());
        if self.by_name.insert(key, id).is_some() {
            let kind = kind.name();
            return Err(DocumentError::new(
                path,
                format_args!("there is another {kind} `{own}` here"),
            ));
        }
        if !self.ids.insert((kind, id)) {
            let kind = kind.name();
            return Err(DocumentError::new(path, format_args!("another {kind} has the id {id}")));
        }
        Ok(id)
    }

    /// The id of a name in the document, or the id that is given in its place
    pub(crate) fn find(
        &self,
        kind: Kind,
        path: &str,
        name: &[&str],
    ) -> Result<Uuid, DocumentError> {
        let key = (kind, name.iter().map(|part| (*part).to_owned()).collect());
        if let Some(id) = self.by_name.get(&key) {
            return Ok(*id);
        }
        let own = name.last().copied().unwrap_or_default();
        Uuid::try_parse(own).map_err(|_| {
            let kind = kind.name();
            let reason = format!(
                "there is no {kind} `{own}` in the document; what is not in it is named by its id"
            );
            DocumentError::new(path, reason)
        })
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
