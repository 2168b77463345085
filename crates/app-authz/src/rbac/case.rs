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
use crate::id::{GroupId, OrganizationId, UserId, parse_uuid};

/// A written decision case: with it a deployment tests its roles as it tests code
///
/// One JSON object holds a subject with all its permissions, an action and an object,
/// and perhaps the expected answer; names of roles and scopes are labels. Ids that are
/// no UUIDs are welcome, so that a case may speak of `alice`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number the case goes by
    pub number: u64,
    /// The expected answer, where one is written
    pub expected: Option<bool>,
    subject: Subject,
    action: Action,
    object: ObjectFields,
    acl: Acl,
}

impl Case {
    /// Reads one case
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCase`] if the text is not JSON of the format, or a permission
    /// in it is none.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let fields: CaseFields =
            serde_json::from_str(text).map_err(|error| Error::InvalidCase(error.to_string()))?;
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

    /// Who asks
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What is asked for
    #[must_use]
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// What it is asked of; nothing if the case puts it both in one organization and
    /// in any
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

    /// The decision; an object that contradicts itself is denied
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.object().is_some_and(|object| self.subject.is_allowed(&self.action, &object))
    }

    /// The decision and what decided it; nothing if the object contradicts itself
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

/// An entry of any type and any id: unlike a credential's, a case's may name what this
/// version does not list, and leave the id empty
fn allow_entry(text: &str) -> Result<AllowEntry, Error> {
    let (kind, id) =
        text.split_once(':').ok_or_else(|| Error::InvalidAllowEntry(text.to_owned()))?;
    let kind: Pattern<ResourceType> = Pattern::read(kind);
    Ok(match id {
        "*" => AllowEntry::all(kind),
        "" => AllowEntry::unborn(kind),
        id => AllowEntry::object(kind, id),
    })
}

fn access_list(entries: Option<BTreeMap<String, Vec<String>>>) -> AccessList {
    entries.into_iter().flatten().map(|(key, actions)| (id(&key), actions)).collect()
}

/// Role names are labels here, so one that breaks the form keeps its first part
fn label(name: &str) -> RoleName {
    name.parse().unwrap_or_else(|_| {
        let first = name.split(':').next().unwrap_or_default();
        RoleName::site(first).unwrap_or(RoleName::built_in("unnamed"))
    })
}

/// The id itself, or one that stands for the text: equal texts have equal ids, and
/// others differ
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
