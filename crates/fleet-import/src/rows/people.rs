use std::collections::BTreeSet;

use serde_json::json;
use store::fleet::{self, Digest};
use uuid::Uuid;

use super::{Entry, Writer, organization, user};
use crate::check;
use crate::document::{Document, Group, Organization, Permission, Proxy, Role, Template, User};
use crate::document_error::DocumentError;
use crate::names::{Kind, Names, Path, Unknown};
use crate::section::Section;

impl Entry for Organization {
    const SECTION: Section = Section::Organizations;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.organizations
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        if self.id.is_none() {
            names.ask_own(organization(&self.name), self.deleted, unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("organizations[{n}].name");
        let row = fleet::Organization {
            id: writer.names.define(&path, organization(&self.name), self.id)?,
            name: self.name.clone(),
            deleted: self.deleted,
            default_org_member_roles: Vec::new(),
        };
        writer.rows.set_entry(n);
        writer.rows.want(&row, &["default_org_member_roles"]);
        Ok(())
    }
}

impl Entry for User {
    const SECTION: Section = Section::Users;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.users
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        if self.id.is_none() {
            names.ask_own(user(&self.username.to_lowercase()), self.deleted, unknown);
        }
        for name in self.organizations.iter().flatten().map(|(name, _)| name) {
            names.ask(organization(name), unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("users[{n}]");
        let name = self.username.to_lowercase();
        let id = writer.names.define(&format!("{path}.username"), user(&name), self.id)?;
        check::roles(&format!("{path}.roles"), &self.roles)?;
        let row = fleet::User {
            id,
            username: self.username.clone(),
            // The column is unique, so only one user could have an empty address.
            email: self.email.clone().unwrap_or_else(|| format!("{}@localhost", self.username)),
            status: self.status,
            deleted: self.deleted,
            rbac_roles: self.roles.clone(),
            login_type: self.login_type,
            is_system: false,
            is_service_account: false,
            last_seen_at: writer.now,
            created_at: writer.now,
            updated_at: writer.now,
        };
        let mut kept =
            vec!["is_system", "is_service_account", "last_seen_at", "created_at", "updated_at"];
        if self.email.is_none() {
            kept.push("email");
        }
        writer.rows.set_entry(n);
        writer.rows.want(&row, &kept);
        if self.organizations.is_some() {
            writer.rows.exactly::<fleet::OrganizationMember>("user_id", id);
        }
        let mut joined = BTreeSet::new();
        for (name, roles) in self.organizations.iter().flatten() {
            let path = format!("{path}.organizations.{name}");
            check::roles(&path, roles)?;
            let organization_id = writer.organization(&path, name)?;
            if !joined.insert(organization_id) {
                return Err(DocumentError::new(path, "the organization is in the list already"));
            }
            let row =
                fleet::OrganizationMember { organization_id, user_id: id, roles: roles.clone() };
            writer.rows.want(&row, &[]);
        }
        Ok(())
    }
}

impl Entry for Group {
    const SECTION: Section = Section::Groups;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.groups
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        names.ask(organization(&self.organization), unknown);
        for member in self.members.iter().flatten() {
            names.ask(user(&member.to_lowercase()), unknown);
        }
    }

    fn ask_within(&self, names: &Names, unknown: &mut Unknown) {
        let organization = names.get(organization(&self.organization));
        if self.id.is_none() && organization.is_some() {
            names.ask_own(Path::new(Kind::Group, organization, &self.name), false, unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("groups[{n}]");
        let organization_id = writer.organization(&path, &self.organization)?;
        let name = Path::new(Kind::Group, Some(organization_id), &self.name);
        let id = writer.names.define(&format!("{path}.name"), name, self.id)?;
        writer.rows.set_entry(n);
        writer.rows.want(&fleet::Group { id, name: self.name.clone(), organization_id }, &[]);
        if self.members.is_some() {
            writer.rows.exactly::<fleet::GroupMember>("group_id", id);
        }
        let mut members = BTreeSet::new();
        for (n, member) in self.members.iter().flatten().enumerate() {
            let path = format!("{path}.members[{n}]");
            let user_id = writer.user_id(&path, member)?;
            if !members.insert(user_id) {
                return Err(DocumentError::new(
                    path,
                    format_args!("`{member}` is a member already"),
                ));
            }
            writer.rows.want(&fleet::GroupMember { user_id, group_id: id }, &[]);
        }
        Ok(())
    }
}

impl Entry for Role {
    const SECTION: Section = Section::Roles;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.roles
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        if let Some(name) = &self.organization {
            names.ask(organization(name), unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("roles[{n}]");
        let organization_id = match &self.organization {
            Some(organization) => Some(writer.organization(&path, organization)?),
            None => None,
        };
        let owner = organization_id.unwrap_or_default();
        let name = Path::new(Kind::Role, Some(owner), &self.name);
        let id = writer.names.define(&format!("{path}.name"), name, self.id)?;
        check::role(&format!("{path}.name"), &self.name)?;
        let list = |field: &str, permissions: &[Permission]| {
            let permission = |(n, permission): (usize, &Permission)| {
                permission.check(&format!("{path}.{field}[{n}]"))?;
                let Permission { negate, resource_type, action } = permission;
                Ok(json!({ "negate": negate, "resource_type": resource_type, "action": action }))
            };
            permissions.iter().enumerate().map(permission).collect::<Result<_, DocumentError>>()
        };
        let row = fleet::CustomRole {
            id,
            name: self.name.clone(),
            organization_id,
            site_permissions: list("site_permissions", &self.site_permissions)?,
            org_permissions: list("organization_permissions", &self.organization_permissions)?,
            user_permissions: list("user_permissions", &self.user_permissions)?,
            member_permissions: json!([]),
            is_system: false,
        };
        writer.rows.set_entry(n);
        writer.rows.want(&row, &["member_permissions", "is_system"]);
        Ok(())
    }
}

impl Entry for Template {
    const SECTION: Section = Section::Templates;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.templates
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        names.ask(organization(&self.organization), unknown);
    }

    fn ask_within(&self, names: &Names, unknown: &mut Unknown) {
        let organization = names.get(organization(&self.organization));
        if self.id.is_none() && organization.is_some() {
            let name = Path::new(Kind::Template, organization, &self.name);
            names.ask_own(name, self.deleted, unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("templates[{n}]");
        let organization_id = writer.organization(&path, &self.organization)?;
        let name = Path::new(Kind::Template, Some(organization_id), &self.name);
        let row = fleet::Template {
            id: writer.names.define(&format!("{path}.name"), name, self.id)?,
            organization_id,
            name: self.name.clone(),
            max_port_sharing_level: self.max_port_sharing_level,
            cors_behavior: self.cors_behavior,
            deleted: self.deleted,
            user_acl: json!({}),
            group_acl: json!({}),
        };
        writer.rows.set_entry(n);
        writer.rows.want(&row, &["user_acl", "group_acl"]);
        Ok(())
    }
}

impl Entry for Proxy {
    const SECTION: Section = Section::Proxies;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.proxies
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        let path = format!("proxies[{n}]");
        self.check(&path)?;
        let name = self.name.to_lowercase();
        let of: Path<'_> = Path::new(Kind::Proxy, None::<Uuid>, &name);
        let row = fleet::WorkspaceProxy {
            id: writer.names.define(&format!("{path}.name"), of, self.id)?,
            name: self.name.clone(),
            url: self.url.clone(),
            wildcard_hostname: self.wildcard_hostname.clone(),
            // No token has this digest; `authd token create --proxy` stores that of a new token.
            token_hashed_secret: Digest(Vec::new()),
            deleted: self.deleted,
        };
        writer.rows.set_entry(n);
        writer.rows.want(&row, &["token_hashed_secret"]);
        Ok(())
    }
}
