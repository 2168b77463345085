use app_authz::UserId;
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::fleet::{
    ApiKey, Digest, Fleet, GroupMember, Hidden, KeyScope, LoginType, OrganizationMember, User,
    UserLink, UserStatus,
};
use crate::provider::{ProviderSessions, ProviderSignIn, ProviderSignOut, SignInRefusal, SignedIn};
use crate::{Error, domain};

/// The sign-in at a provider that a session came from
#[derive(Clone, Debug)]
pub(super) struct OfProvider {
    user: Uuid,
    issuer: String,
    subject: String,
    session: Option<String>,
    at: chrono::DateTime<chrono::Utc>,
}

impl ProviderSessions for MemoryStore {
    async fn provider_sign_in(
        &self,
        sign_in: &ProviderSignIn<'_>,
    ) -> Result<Result<SignedIn, SignInRefusal>, Error> {
        let mut tables = self.write();
        let mut fleet = Fleet::default();
        let known = match tables.of_identity(sign_in) {
            Ok(known) => known,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let is_new = known.is_none();
        let (user, homes) = match known {
            Some(user) => {
                let places = tables.memberships.get(&user.id).into_iter().flatten();
                let places = places.map(|member| member.organization_id).collect();
                (user, places)
            }
            None => {
                let homes = tables.homes(sign_in.organization);
                fleet.organization_members.extend(homes.iter().map(|id| OrganizationMember {
                    organization_id: *id,
                    user_id: sign_in.new_user,
                    roles: Vec::new(),
                }));
                (tables.new_user(sign_in), homes)
            }
        };
        let (id, now) = (user.id, domain::stored_time(sign_in.at));
        if user.status == UserStatus::Suspended {
            return Ok(Err(SignInRefusal::Suspended(UserId(id))));
        }
        fleet.users.push(User {
            status: UserStatus::Active,
            rbac_roles: sign_in.roles.clone().unwrap_or_else(|| user.rbac_roles.clone()),
            last_seen_at: user.last_seen_at.max(now),
            updated_at: now,
            ..user
        });
        fleet.user_links.push(UserLink {
            user_id: id,
            login_type: LoginType::Oidc,
            oauth_refresh_token: Hidden::default(),
            oauth_expiry: chrono::DateTime::UNIX_EPOCH,
        });
        if let Some(names) = &sign_in.groups {
            let groups = tables.all_groups().filter(|group| {
                homes.contains(&group.organization_id) && group.id != group.organization_id
            });
            let (wanted, left): (Vec<_>, Vec<_>) =
                groups.map(|group| (group.id, names.contains(&group.name))).partition(|of| of.1);
            tables.leave_groups(id, &left.into_iter().map(|of| of.0).collect::<Vec<_>>());
            let member = |of: (Uuid, bool)| GroupMember { user_id: id, group_id: of.0 };
            fleet.group_members.extend(wanted.into_iter().map(member));
        }
        tables.forget_expired(id, now);
        let key = sign_in.token.id().to_owned();
        fleet.api_keys.push(ApiKey {
            id: key.clone(),
            hashed_secret: Digest(sign_in.token.secret_digest().to_vec()),
            user_id: id,
            last_used: now,
            expires_at: domain::stored_time(sign_in.expires_at()),
            created_at: now,
            updated_at: now,
            login_type: LoginType::Oidc,
            lifetime_seconds: i64::try_from(sign_in.lifetime.as_secs()).unwrap_or(i64::MAX),
            token_name: String::new(),
            scopes: vec![KeyScope::all()],
            allow_list: vec!["*:*".to_owned()],
        });
        tables.load(&fleet);
        tables.identities.insert(sign_in.linked_id(), id);
        let (issuer, subject) = (sign_in.issuer.to_owned(), sign_in.subject.to_owned());
        let session = sign_in.session.map(str::to_owned);
        tables.of_provider.insert(key, OfProvider { user: id, issuer, subject, session, at: now });
        Ok(Ok(SignedIn { user: UserId(id), is_new }))
    }

    async fn provider_sign_out(
        &self,
        sign_out: &ProviderSignOut<'_>,
    ) -> Result<Vec<(String, UserId)>, Error> {
        let (mut tables, until) = (self.write(), domain::stored_time(sign_out.until));
        let is_named = |of: &OfProvider| {
            let is_session = sign_out.session == of.session.as_deref();
            let is_meant = match sign_out.subject {
                Some(subject) => {
                    of.subject == subject
                        && (sign_out.session.is_none() || is_session || of.session.is_none())
                }
                None => sign_out.session.is_some() && is_session,
            };
            of.issuer == sign_out.issuer && of.at <= until && is_meant
        };
        let sessions = tables.of_provider.iter().filter(|(_, of)| is_named(of));
        let named: Vec<String> = sessions.map(|(key, _)| key.clone()).collect();
        tables.of_provider.retain(|key, _| !named.contains(key));
        let parent = |id: &str| tables.made.get(id).map(|made| made.parent.clone());
        let ends = |id: &String| {
            named.contains(id) || parent(id).is_some_and(|parent| named.contains(&parent))
        };
        let over = tables.keys.values().filter(|key| ends(&key.id));
        let ended: Vec<_> = over.map(|key| (key.id.clone(), UserId(key.user_id))).collect();
        tables.end(&ended.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
        Ok(ended)
    }
}

impl Tables {
    /// The user of an identity; `None` for one to create
    fn of_identity(&self, sign_in: &ProviderSignIn<'_>) -> Result<Option<User>, SignInRefusal> {
        let there = |id: &Uuid| self.users.get(id).filter(|user| !user.deleted);
        if let Some(user) = self.identities.get(&sign_in.linked_id()).and_then(there) {
            return Ok(Some(user.clone()));
        }
        let email = sign_in.email.to_lowercase();
        let same =
            self.users.values().find(|user| !user.deleted && user.email.to_lowercase() == email);
        match same {
            Some(user) => {
                let is_linked = self.identities.values().any(|id| *id == user.id);
                let is_free = user.login_type == LoginType::Oidc && !user.is_system && !is_linked;
                match sign_in.links_by_email && is_free {
                    true => Ok(Some(user.clone())),
                    false => Err(SignInRefusal::OtherUser),
                }
            }
            None if sign_in.allows_new => Ok(None),
            None => Err(SignInRefusal::Unknown),
        }
    }

    fn new_user(&self, sign_in: &ProviderSignIn<'_>) -> User {
        let (name, id) = (sign_in.username, sign_in.new_user.to_string());
        let is_taken = self.user_by_name.contains_key(&name.to_lowercase());
        let first = |text: &str, n| text.chars().take(n).collect::<String>();
        let now = domain::stored_time(sign_in.at);
        User {
            id: sign_in.new_user,
            username: match is_taken {
                true => format!("{}-{}", first(name, 23), first(&id, 8)),
                false => name.to_owned(),
            },
            email: sign_in.email.to_owned(),
            status: UserStatus::Active,
            deleted: false,
            rbac_roles: Vec::new(),
            login_type: LoginType::Oidc,
            is_system: false,
            is_service_account: false,
            last_seen_at: now,
            created_at: now,
            updated_at: now,
        }
    }

    /// Ends the user's sessions of a provider that have expired
    fn forget_expired(&mut self, user: Uuid, now: chrono::DateTime<chrono::Utc>) {
        let keys = &self.keys;
        let is_over = |id: &String| keys.get(id).is_none_or(|key| key.expires_at < now);
        let over: Vec<String> = self
            .of_provider
            .iter()
            .filter(|(id, of)| of.user == user && is_over(id))
            .map(|(id, _)| id.clone())
            .collect();
        self.of_provider.retain(|id, _| !over.contains(id));
        self.end(&over);
    }
}
