//! Session tokens: which part of a request carries them, whether they are good, and what use
//! changes

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod app_session;
mod identify;
mod sources;
mod withheld;

use std::time::{Duration, SystemTime};

use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, LoginType, OauthLink, Session, SessionDenial, SessionToken,
    Terms, UserStatus, authenticate,
};
use app_authz::id::OrganizationId;
use app_authz::rbac::{
    Action, AllowList, BuiltInRoles, Object, ResourceType, RoleName, Scope, Subject, Switches,
    WorkspaceSharing,
};
use app_authz::{Error, UserId};
use openssl::sha::sha256;
use uuid::Uuid;

const TOKEN: &str = "0123456789-abcdefghijklmnopqrstuv";
const OTHER: &str = "abcdefghij-0123456789012345678901";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn token(text: &str) -> SessionToken {
    text.parse().unwrap()
}

fn holder_of(text: &str) -> KeyHolder {
    let (id, secret) = text.split_once('-').unwrap();
    let digest = sha256(secret.as_bytes());
    let key = ApiKey::new(id, digest, UserId(Uuid::from_u128(1)), now() + DAY)
        .with_last_used(now())
        .with_lifetime(DAY);
    KeyHolder::new(key, UserStatus::Active, "someone")
}

fn changed(change: impl FnOnce(&mut KeyHolder)) -> KeyHolder {
    let mut holder = holder_of(TOKEN);
    change(&mut holder);
    holder
}

fn outcome(holder: &KeyHolder) -> Result<Demands, SessionDenial> {
    verify(&token(TOKEN), Some(holder), Terms::default(), now())
}

/// The fields of a [`Session`], which a test cannot build
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demands {
    update: Option<KeyUpdate>,
    refresh_link: bool,
    activate: bool,
}

const GOOD: Demands = Demands { update: None, refresh_link: false, activate: false };

fn verify(
    token: &SessionToken,
    holder: Option<&KeyHolder>,
    terms: Terms<'_>,
    now: SystemTime,
) -> Result<Demands, SessionDenial> {
    authenticate(token, holder, terms, now).map(|session| {
        let Session { update, refresh_link, activate, .. } = session;
        Demands { update, refresh_link, activate }
    })
}

// scenario 87, 88
#[test]
fn a_token_has_one_form() {
    for bad in [
        "",
        "-",
        TOKEN.trim_end_matches('v'),
        &TOKEN[1..],
        &format!("{TOKEN}w"),
        &format!("0{TOKEN}"),
        "0123456789abcdefghijklmnopqrstuv",
        "0123456789--bcdefghijklmnopqrstuv",
        "0123456789-abcdefghij-lmnopqrstuv",
        "x.y.z",
        " 123456789-abcdefghijklmnopqrstuv",
        "0123456789-abcdefghijklmnopqrstué",
    ] {
        assert_eq!(bad.parse::<SessionToken>(), Err(Error::InvalidSessionToken), "{bad}");
    }
    assert_eq!(token(TOKEN).id(), "0123456789");
    assert_eq!(format!("{:?}", token(TOKEN)), "SessionToken(0123456789-..)");
    let printed = format!("{:?}", holder_of(TOKEN));
    assert!(!printed.contains("secret") && !printed.contains("digest"), "{printed}");
}

// scenario 91, 93, 100
#[test]
fn a_key_requires_its_secret_and_expires() {
    assert_eq!(outcome(&holder_of(TOKEN)), Ok(GOOD));
    let unknown = verify(&token(TOKEN), None, Terms::default(), now());
    assert_eq!(unknown, Err(SessionDenial::UnknownKey));
    assert_eq!(outcome(&holder_of(OTHER)), Err(SessionDenial::UnknownKey));

    let mut digest = holder_of(TOKEN).key.secret_digest;
    digest[31] ^= 1;
    for wrong in [vec![], digest, sha256(TOKEN.as_bytes()).to_vec(), vec![0; 64]] {
        let holder = changed(|holder| holder.key.secret_digest = wrong);
        assert_eq!(outcome(&holder), Err(SessionDenial::WrongSecret));
    }

    let ends = |at| outcome(&changed(|holder| holder.key.expires_at = at)).err();
    assert_eq!(ends(now() - Duration::from_nanos(1)), Some(SessionDenial::Expired));
    assert_eq!(ends(now()), None);

    let both = changed(|holder| {
        holder.key.expires_at = now() - HOUR;
        holder.key.login_type = LoginType::Github;
        holder.link = Some(OauthLink::new(now() - HOUR, true));
    });
    assert_eq!(outcome(&both), Err(SessionDenial::Expired));
}

// scenario 93, 96, 97, 106
#[test]
fn use_is_written_at_most_once_an_hour() {
    let update = |last_used, left, lifetime, refresh| {
        let holder = changed(|holder| {
            holder.key.last_used = now() - last_used;
            holder.key.expires_at = now() + left;
            holder.key.lifetime = lifetime;
        });
        holder.key.update(now(), refresh)
    };
    let used = Some(KeyUpdate { last_used: Some(now()), expires_at: None });
    let extended = Some(KeyUpdate { last_used: None, expires_at: Some(now() + DAY) });
    let second = Duration::from_secs(1);

    assert_eq!(update(HOUR, DAY, DAY, true), None);
    assert_eq!(update(HOUR + second, DAY, DAY, true), used);
    assert_eq!(update(DAY, DAY, DAY, true), used);
    assert_eq!(update(HOUR, DAY - HOUR + second, DAY, true), None);
    assert_eq!(update(HOUR, DAY - HOUR, DAY, true), extended);
    assert_eq!(update(HOUR, second, DAY, true), extended);
    assert_eq!(update(HOUR, second, DAY, false), None);
    // A key with a lifetime of less than an hour is never extended.
    assert_eq!(update(HOUR, Duration::ZERO, HOUR - second, true), None);
    assert_eq!(update(HOUR, Duration::ZERO, HOUR, true).unwrap().expires_at, Some(now() + HOUR));
    // After the clock was set back, the key has not been used yet.
    let ahead = changed(|holder| holder.key.last_used = now() + DAY);
    assert_eq!(ahead.key.update(now(), true), None);

    let terms = Terms::default().disable_expiry_refresh(true);
    let near = changed(|holder| holder.key.expires_at = now() + HOUR);
    assert_eq!(verify(&token(TOKEN), Some(&near), terms, now()).unwrap().update, None);
    assert!(outcome(&near).unwrap().update.is_some());
}

// scenario 106
#[test]
fn an_api_token_keeps_its_expiry_if_the_release_or_a_setting_says_so() {
    let (all, tokens) = (
        Terms::default().disable_expiry_refresh(true),
        Terms::default().disable_token_expiry_refresh(true),
    );
    for (login_type, is_prolonged, terms, expected) in [
        (LoginType::Password, true, Terms::default(), true),
        (LoginType::Password, true, tokens, true),
        (LoginType::Password, true, all, false),
        (LoginType::Token, true, Terms::default(), true),
        (LoginType::Token, true, tokens, false),
        (LoginType::Token, true, all, false),
        (LoginType::Token, false, Terms::default(), false),
        (LoginType::Token, false, tokens, false),
        (LoginType::Oauth2ProviderApp, true, tokens, true),
        (LoginType::None, true, tokens, true),
    ] {
        let holder = changed(|holder| {
            holder.key.login_type = login_type;
            holder.key.is_prolonged = is_prolonged;
            holder.key.expires_at = now() + HOUR;
            holder.key.last_used = now() - DAY;
        });
        let session = verify(&token(TOKEN), Some(&holder), terms, now()).unwrap();
        let update = session.update.unwrap();
        let end = expected.then(|| now() + DAY);
        assert_eq!(update, KeyUpdate { last_used: Some(now()), expires_at: end });
        assert_eq!(terms.prolongs(&holder.key), expected, "{login_type:?} {terms:?}");
    }
}

// scenario 90, 99, 102, 103
#[test]
fn a_login_depends_on_the_token_of_its_provider() {
    let holder = |link| {
        changed(|holder| {
            holder.key.login_type = LoginType::Github;
            holder.link = link;
        })
    };
    let refreshing = Terms::default().can_refresh(true);
    let under = |terms, holder: &KeyHolder| verify(&token(TOKEN), Some(holder), terms, now());
    let linked = |link| under(refreshing, &holder(link));
    let link = |at: Option<SystemTime>, can_refresh| Some(OauthLink::new(at, can_refresh));
    assert_eq!(linked(None), Err(SessionDenial::NoLink));
    assert_eq!(linked(link(None, false)), Ok(GOOD));
    assert_eq!(linked(link(Some(now() + HOUR), false)), Ok(GOOD));
    assert_eq!(linked(link(Some(now() - HOUR), false)), Err(SessionDenial::LinkExpired));
    assert_eq!(linked(link(Some(now() - HOUR), true)), Ok(Demands { refresh_link: true, ..GOOD }));

    let other = outcome(&changed(|holder| holder.link = link(Some(now() - HOUR), false)));
    assert_eq!(other, Ok(GOOD));

    // A caller that cannot refresh it only accepts a link that is good as it is.
    let refreshable = holder(link(Some(now() - HOUR), true));
    assert_eq!(under(Terms::default(), &refreshable), Err(SessionDenial::LinkExpired));
    assert_eq!(under(Terms::default(), &holder(link(Some(now() + HOUR), true))), Ok(GOOD));
    // A suspended user is denied as suspended, as if the link had been refreshed.
    let mut suspended = refreshable;
    suspended.status = UserStatus::Suspended;
    let inactive = Err(SessionDenial::Inactive(UserStatus::Suspended));
    assert_eq!(under(Terms::default(), &suspended), inactive);
    assert_eq!(under(refreshing, &suspended), inactive);
    let for_good = suspended.with_link(link(Some(now() - HOUR), false));
    assert_eq!(under(refreshing, &for_good), Err(SessionDenial::LinkExpired));
}

#[test]
fn only_active_users_are_accepted_and_dormant_ones_if_the_caller_activates_them() {
    let with = |status, activate_dormant| {
        let terms = Terms::default().activate_dormant(activate_dormant);
        let holder = changed(|holder| holder.status = status);
        verify(&token(TOKEN), Some(&holder), terms, now())
    };
    for activate in [false, true] {
        assert_eq!(with(UserStatus::Active, activate), Ok(GOOD));
        let refused = Err(SessionDenial::Inactive(UserStatus::Suspended));
        assert_eq!(with(UserStatus::Suspended, activate), refused);
    }
    assert_eq!(with(UserStatus::Dormant, false), Err(SessionDenial::Inactive(UserStatus::Dormant)));
    assert_eq!(with(UserStatus::Dormant, true), Ok(Demands { activate: true, ..GOOD }));
}

#[test]
fn a_token_for_another_server_is_not_accepted() {
    let with = |login_type, audience: Option<&str>, ours| {
        let terms = Terms::default().audience(ours);
        let holder = changed(|holder| {
            holder.key.login_type = login_type;
            holder.key.audience = audience.map(str::to_owned);
        });
        verify(&token(TOKEN), Some(&holder), terms, now())
    };
    let app = LoginType::Oauth2ProviderApp;
    let ours = "https://coder.com";
    assert_eq!(with(app, None, ours), Ok(GOOD));
    for (audience, ours) in [
        (ours, ours),
        ("https://coder.com/", ours),
        (ours, "https://coder.com/"),
        ("HTTPS://Coder.COM", ours),
        ("https://coder.com:443", ours),
        ("https://coder.com:443/", "https://coder.com/"),
        ("http://coder.com", "http://coder.com:80/"),
        ("http://coder.com:3000/", "http://CODER.com:3000"),
        ("https://coder.com/api/", "https://coder.com/api"),
        ("https://[2001:db8::1]/", "https://[2001:DB8::1]:443"),
        ("urn:example:coder", "urn:example:coder"),
    ] {
        assert_eq!(with(app, Some(audience), ours), Ok(GOOD), "{audience} for {ours}");
    }
    for audience in [
        "https://evil.com",
        "https://coder.com.evil.com",
        "https://evil.com/https://coder.com",
        "https://coder.com@evil.com",
        "https://user@coder.com/",
        "https://coder.com./",
        "http://coder.com",
        "https://coder.com:80",
        "https://coder.com:8443",
        "https://coder.com/api",
        "https://coder.com/?a=b",
        "https://coder.com//",
        "https://coder.com/#x",
        "https://coder.com ",
        "https://*",
        "coder.com",
        "//coder.com",
        "*",
        " ",
    ] {
        let refused = Err(SessionDenial::WrongAudience);
        assert_eq!(with(app, Some(audience), ours), refused, "{audience}");
        // The audience counts only for keys of OAuth2 apps.
        assert_eq!(with(LoginType::Token, Some(audience), ours), Ok(GOOD));
    }
    // A server without a name is not in any audience.
    assert_eq!(with(app, Some(ours), ""), Err(SessionDenial::WrongAudience));
    assert!(SessionDenial::WrongAudience.is_forbidden() && !SessionDenial::Expired.is_forbidden());
}

// scenario 94, 108, 109
#[test]
fn the_subject_is_the_users_roles_within_the_keys_scope() {
    let acme = OrganizationId(Uuid::from_u128(7));
    let holder = |scope: &str| {
        changed(|holder| {
            holder.key.scopes = vec![scope.parse().unwrap()];
            for name in [format!("organization-member:{acme}"), "gone".to_owned()] {
                holder.roles.push((name.parse().unwrap(), WorkspaceSharing::Everyone));
            }
        })
    };
    let built_in = BuiltInRoles::new(Switches::default());
    let subject = holder("application_connect").subject(&built_in);
    let own = Object::new(ResourceType::Workspace).owner(subject.id()).organization(acme);
    assert!(subject.is_member_of(acme));
    assert!(subject.is_allowed(&Action::ApplicationConnect, &own));
    // scenario 216
    assert!(!subject.is_allowed(&Action::Read, &Object::user(subject.id())));
    let all = holder("all").subject(&built_in);
    assert!(all.is_allowed(&Action::Read, &Object::user(all.id())));

    // The allow list of a key counts with every scope.
    let one = Uuid::from_u128(9);
    for scope in ["all", "application_connect"] {
        let mut limited = holder(scope);
        limited.key.allow_list = AllowList::parse([format!("workspace:{one}")]).unwrap();
        let subject = limited.subject(&built_in);
        let opens = |id: u128| {
            let workspace = own.clone().id(Uuid::from_u128(id));
            subject.is_allowed(&Action::ApplicationConnect, &workspace)
        };
        assert!(opens(9) && !opens(10), "{scope}");
    }

    // A key without scopes or without objects permits nothing.
    let spoils: [fn(&mut ApiKey); 2] =
        [|key| key.scopes.clear(), |key| key.allow_list = AllowList::default()];
    for spoil in spoils {
        let mut useless = holder("all");
        spoil(&mut useless.key);
        let subject = useless.subject(&built_in);
        for action in [Action::Read, Action::ApplicationConnect, Action::Ssh] {
            assert!(!subject.is_allowed(&action, &own), "{action}");
            assert!(!subject.is_allowed(&action, &Object::user(subject.id())), "{action}");
        }
    }
}

/// Of what an implementer forgets, nothing but the scope widens what the user may do
#[test]
fn a_holder_is_a_member_and_a_key_is_not_limited_unless_it_says_so() {
    let acme = OrganizationId(Uuid::from_u128(7));
    let built_in = BuiltInRoles::new(Switches::default());
    let own = |user| Object::new(ResourceType::Workspace).owner(user).organization(acme);
    let holder = || holder_of(TOKEN).with_organization(acme, WorkspaceSharing::Everyone);
    let subject = holder().subject(&built_in);
    assert!(subject.holds(&RoleName::MEMBER) && subject.is_member_of(acme));
    for action in [Action::ApplicationConnect, Action::Ssh] {
        assert!(subject.is_allowed(&action, &own(subject.id())));
    }
    // A store may list the role, too.
    let listed = holder().with_roles([(RoleName::MEMBER, WorkspaceSharing::Everyone)]);
    assert_eq!(listed.roles, holder().roles);

    let key = holder().key;
    assert_eq!((key.login_type, key.audience), (LoginType::Password, None));
    let fresh = ApiKey::new("0123456789", [0; 32], key.user, now() + DAY);
    let used = fresh.update(now(), true);
    assert_eq!(used, Some(KeyUpdate { last_used: Some(now()), expires_at: None }));
}

/// A host with its own sign-in needs no key
#[test]
fn a_user_whom_the_host_has_signed_in_is_like_the_holder_of_a_key() {
    let acme = OrganizationId(Uuid::from_u128(7));
    let built_in = BuiltInRoles::new(Switches::default());
    let user = UserId(Uuid::from_u128(1));
    let roles = [RoleName::organization_member(acme), "gone".parse().unwrap()];
    let connect =
        Scope::of_credential(&["application_connect".parse().unwrap()], &AllowList::everything());
    for scope in [Scope::all(), connect.unwrap()] {
        let subject = Subject::assume_signed_in(user, &roles, &built_in, scope.clone());
        let holder = holder_of(TOKEN).with_organization(acme, WorkspaceSharing::Everyone);
        let names = holder.roles.iter().map(|(name, sharing)| (name, *sharing));
        let same = Subject::new(user, built_in.expand(names, &[]), scope);
        assert_eq!(subject.id(), user);
        for action in [Action::ApplicationConnect, Action::Ssh, Action::Read, Action::Delete] {
            for object in [
                Object::new(ResourceType::Workspace).owner(user).organization(acme),
                Object::new(ResourceType::Workspace).owner(user),
                Object::user(user),
                Object::new(ResourceType::System),
            ] {
                let expected = same.is_allowed(&action, &object);
                assert_eq!(subject.is_allowed(&action, &object), expected, "{action} {object:?}");
            }
        }
    }
    // Without the organization the user owns the workspace and may still not open it.
    let outside = Subject::assume_signed_in(user, &[], &built_in, Scope::all());
    let own = Object::new(ResourceType::Workspace).owner(user).organization(acme);
    assert!(outside.holds(&RoleName::MEMBER) && !outside.is_allowed(&Action::Ssh, &own));
}

#[test]
fn stored_labels_are_parsed() {
    for (text, login_type) in [
        ("password", LoginType::Password),
        ("github", LoginType::Github),
        ("oidc", LoginType::Oidc),
        ("token", LoginType::Token),
        ("none", LoginType::None),
        ("oauth2_provider_app", LoginType::Oauth2ProviderApp),
    ] {
        assert_eq!(text.parse(), Ok(login_type));
        assert_eq!(login_type.has_link(), ["github", "oidc"].contains(&text));
    }
    assert!("saml".parse::<LoginType>().is_err() && "gone".parse::<UserStatus>().is_err());
    assert_eq!("dormant".parse(), Ok(UserStatus::Dormant));
}
