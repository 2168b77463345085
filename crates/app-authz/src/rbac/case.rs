use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::permission::{Pattern, Permissions};
use super::{
    AccessList, Acl, Action, AllowEntry, Explanation, Levels, Object, ResourceType, Role, RoleName,
    Scope, Subject,
};
use crate::Error;
use crate::digest::sha256;
use crate::error::Cause;
use crate::id::{GroupId, OrganizationId, UserId, parse_uuid};

/// A decision case in a file, with which a deployment tests its roles
///
/// A JSON object with a subject and all its permissions, an action, an object, and optionally
/// the expected answer. Names of roles and scopes are only labels. Ids need not be UUIDs, so
/// that a case may use names such as `alice`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number of the case
    pub number: u64,
    /// The expected answer, if the case has one
    pub expected: Option<bool>,
    subject: Subject,
    action: Action,
    object: ObjectFields,
    acl: Acl,
}

impl Case {
    /// Parses a case
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCase`] if the text is not JSON of this format, and
    /// [`Error::InvalidPermission`] or [`Error::InvalidAllowEntry`] for an entry that does not
    /// parse.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let fields: CaseFields =
            serde_json::from_str(text).map_err(|error| Error::InvalidCase(Cause::new(error)))?;
        let CaseFields { n, subject, action, mut object, expected } = fields;
        let acl = Acl::new(
            access_list(object.acl_user_list.take()),
            access_list(object.acl_group_list.take()),
        );
        Ok(Self {
            number: n,
            expected,
            subject: subject.prepared()?,
            action: Action::from(&*action),
            object,
            acl,
        })
    }

    /// The subject of the decision
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The action that is asked for
    #[must_use]
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// The object of the action; `None` if the case says both that it is in one organization
    /// and that it is in any
    #[must_use]
    pub fn object(&self) -> Option<Object<'_>> {
        let fields = &self.object;
        let mut object = Object::new(ResourceType::from(&*fields.kind)).acl(&self.acl);
        if !fields.id.is_empty() {
            object = object.id(&*fields.id);
        }
        if !fields.owner.is_empty() {
            object = object.owner(UserId(id(&fields.owner)));
        }
        let organization = Some(&*fields.org_owner).filter(|id| !id.is_empty()).map(id);
        match organization {
            Some(id) if fields.any_org && !id.is_nil() => None,
            _ if fields.any_org => Some(object.any_organization()),
            Some(id) => Some(object.organization(OrganizationId(id))),
            None => Some(object),
        }
    }

    /// Decides the case; without an [object](Self::object) the answer is no
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.object().is_some_and(|object| self.subject.is_allowed(&self.action, &object))
    }

    /// Decides the case and explains the decision; `None` without an [object](Self::object)
    #[must_use]
    pub fn explain(&self) -> Option<Explanation> {
        Some(self.subject.explain(&self.action, &self.object()?))
    }
}

#[derive(Deserialize)]
struct CaseFields {
    #[serde(default)]
    n: u64,
    subject: SubjectFields,
    action: String,
    object: ObjectFields,
    expected: Option<bool>,
}

#[derive(Deserialize)]
struct SubjectFields {
    id: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    roles: Vec<LevelFields>,
    scope: ScopeFields,
}

#[derive(Deserialize)]
struct LevelFields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    site: Vec<String>,
    #[serde(default)]
    user: Vec<String>,
    #[serde(default)]
    by_org_id: BTreeMap<String, OrganizationFields>,
}

#[derive(Deserialize)]
struct OrganizationFields {
    #[serde(default)]
    org: Vec<String>,
    #[serde(default)]
    member: Vec<String>,
}

#[derive(Deserialize)]
struct ScopeFields {
    #[serde(flatten)]
    levels: LevelFields,
    #[serde(default)]
    allow_list: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ObjectFields {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    org_owner: String,
    #[serde(default)]
    any_org: bool,
    acl_user_list: Option<BTreeMap<String, Vec<String>>>,
    acl_group_list: Option<BTreeMap<String, Vec<String>>>,
}

impl SubjectFields {
    fn prepared(self) -> Result<Subject, Error> {
        let roles: Vec<Arc<Role>> = self
            .roles
            .into_iter()
            .map(|fields| Ok(Arc::new(Role::new(label(&fields.name), fields.levels()?))))
            .collect::<Result<_, Error>>()?;
        let allow_list = self.scope.allow_list.iter().map(|text| allow_entry(text));
        let scope = Scope::new(
            &self.scope.levels.name.clone(),
            self.scope.levels.levels()?,
            allow_list.collect::<Result<_, Error>>()?,
        );
        let groups = self.groups.iter().map(|group| GroupId(id(group)));
        Ok(Subject::new(UserId(id(&self.id)), roles, scope).with_groups(groups))
    }
}

impl LevelFields {
    fn levels(self) -> Result<Levels, Error> {
        let mut levels = Levels {
            site: permissions(&self.site)?,
            user: permissions(&self.user)?,
            ..Levels::default()
        };
        for (organization, lists) in self.by_org_id {
            levels = levels.with_organization(
                OrganizationId(id(&organization)),
                permissions(&lists.org)?,
                permissions(&lists.member)?,
            );
        }
        Ok(levels)
    }
}

fn permissions(texts: &[String]) -> Result<Permissions, Error> {
    texts.iter().map(|text| text.parse()).collect()
}

/// Parses an entry of a case, which may have an unlisted type and an empty id, unlike that of
/// a credential
fn allow_entry(text: &str) -> Result<AllowEntry, Error> {
    let (kind, id) =
        text.split_once(':').ok_or_else(|| Error::InvalidAllowEntry(text.to_owned()))?;
    let kind: Pattern<ResourceType> = Pattern::read(kind);
    Ok(match id {
        "*" => AllowEntry::all(kind),
        "" => AllowEntry::without_id(kind),
        id => AllowEntry::object(kind, id),
    })
}

fn access_list(entries: Option<BTreeMap<String, Vec<String>>>) -> AccessList {
    entries.into_iter().flatten().map(|(key, actions)| (id(&key), actions)).collect()
}

/// Role names are only labels here, so of an invalid name the first part is kept
fn label(name: &str) -> RoleName {
    name.parse().unwrap_or_else(|_| {
        let first = name.split(':').next().unwrap_or_default();
        RoleName::site(first).unwrap_or(RoleName::built_in("unnamed"))
    })
}

/// The UUID that the text is, or one derived from the text: only equal texts have equal ids
fn id(text: &str) -> Uuid {
    match parse_uuid(text) {
        Some(id) if !text.contains(|c: char| c.is_ascii_uppercase()) => id,
        _ => {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&sha256(text.as_bytes())[..16]);
            uuid::Builder::from_custom_bytes(bytes).into_uuid()
        }
    }
}
