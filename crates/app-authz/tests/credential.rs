//! Session tokens: where they are, whether they are good, and what their use changes

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, SystemTime};

use app_authz::address::HostPattern;
use app_authz::app::AccessMethod;
use app_authz::credential::{
    ApiKey, AppSession, Carried, CookieNames, Identified, KeyHolder, KeyUpdate, LoginType,
    MAX_TOKENS, NewKey, OauthLink, OtherSessions, Session, SessionDenial, SessionToken, Source,
    Terms, UserStatus, authenticate, identify,
};
use app_authz::id::OrganizationId;
use app_authz::rbac::{
    Action, AllowList, BuiltInRoles, Object, OwnWorkspaces, ResourceType, ScopeName, Switches,
    WorkspaceSharing,
};
use app_authz::{Error, UserId};
use openssl::sha::sha256;
use proptest::prelude::*;
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
    KeyHolder {
        key: ApiKey {
            id: id.to_owned(),
            secret_digest: sha256(secret.as_bytes()).to_vec(),
            user: UserId(Uuid::from_u128(1)),
            login_type: LoginType::Password,
            last_used: now(),
            expires_at: now() + DAY,
            lifetime: DAY,
            scopes: vec!["all".parse().unwrap()],
            allow_list: AllowList::everything(),
            audience: None,
            is_prolonged: true,
        },
        status: UserStatus::Active,
        link: None,
        roles: vec![("member".parse().unwrap(), WorkspaceSharing::Everyone)],
        custom_roles: vec![],
        groups: vec![],
        own_workspaces: OwnWorkspaces::InOrganizations,
    }
}

fn changed(change: impl FnOnce(&mut KeyHolder)) -> KeyHolder {
    let mut holder = holder_of(TOKEN);
    change(&mut holder);
    holder
}

fn outcome(holder: &KeyHolder) -> Result<Demands, SessionDenial> {
    verify(&token(TOKEN), Some(holder), Terms::default(), now())
}

/// What a session asks of its caller; a test cannot build a [`Session`]
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
fn a_key_is_known_by_its_secret_and_ends() {
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
        holder.link = Some(OauthLink { expires_at: Some(now() - HOUR), can_refresh: true });
    });
    assert_eq!(outcome(&both), Err(SessionDenial::Expired));
}

// scenario 93, 96, 97, 106
#[test]
fn use_is_written_once_an_hour() {
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
    // A key that lives less than an hour is never extended while it is good.
    assert_eq!(update(HOUR, Duration::ZERO, HOUR - second, true), None);
    assert_eq!(update(HOUR, Duration::ZERO, HOUR, true).unwrap().expires_at, Some(now() + HOUR));
    // A clock that was set back has not seen the key used.
    let ahead = changed(|holder| holder.key.last_used = now() + DAY);
    assert_eq!(ahead.key.update(now(), true), None);

    let terms = Terms { disable_expiry_refresh: true, ..Terms::default() };
    let near = changed(|holder| holder.key.expires_at = now() + HOUR);
    assert_eq!(verify(&token(TOKEN), Some(&near), terms, now()).unwrap().update, None);
    assert!(outcome(&near).unwrap().update.is_some());
}

// scenario 106
#[test]
fn an_api_token_keeps_its_end_where_the_release_or_a_setting_says_so() {
    let (all, tokens) = (
        Terms { disable_expiry_refresh: true, ..Terms::default() },
        Terms { disable_token_expiry_refresh: true, ..Terms::default() },
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
fn a_login_hangs_on_its_providers_token() {
    let holder = |link| {
        changed(|holder| {
            holder.key.login_type = LoginType::Github;
            holder.link = link;
        })
    };
    let refreshing = Terms { can_refresh: true, ..Terms::default() };
    let under = |terms, holder: &KeyHolder| verify(&token(TOKEN), Some(holder), terms, now());
    let linked = |link| under(refreshing, &holder(link));
    let link = |expires_at, can_refresh| Some(OauthLink { expires_at, can_refresh });
    assert_eq!(linked(None), Err(SessionDenial::NoLink));
    assert_eq!(linked(link(None, false)), Ok(GOOD));
    assert_eq!(linked(link(Some(now() + HOUR), false)), Ok(GOOD));
    assert_eq!(linked(link(Some(now() - HOUR), false)), Err(SessionDenial::LinkExpired));
    assert_eq!(linked(link(Some(now() - HOUR), true)), Ok(Demands { refresh_link: true, ..GOOD }));

    let other = outcome(&changed(|holder| holder.link = link(Some(now() - HOUR), false)));
    assert_eq!(other, Ok(GOOD));

    // A caller that cannot refresh it takes only what is good as it is.
    let refreshable = holder(link(Some(now() - HOUR), true));
    assert_eq!(under(Terms::default(), &refreshable), Err(SessionDenial::LinkExpired));
    assert_eq!(under(Terms::default(), &holder(link(Some(now() + HOUR), true))), Ok(GOOD));
    // A suspended user stays one, as if the link had been refreshed.
    let suspended = KeyHolder { status: UserStatus::Suspended, ..refreshable };
    let inactive = Err(SessionDenial::Inactive(UserStatus::Suspended));
    assert_eq!(under(Terms::default(), &suspended), inactive);
    assert_eq!(under(refreshing, &suspended), inactive);
    let for_good = KeyHolder { link: link(Some(now() - HOUR), false), ..suspended };
    assert_eq!(under(refreshing, &for_good), Err(SessionDenial::LinkExpired));
}

#[test]
fn only_active_users_are_here_and_dormant_ones_where_they_are_woken() {
    let with = |status, activate_dormant| {
        let terms = Terms { activate_dormant, ..Terms::default() };
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
fn a_token_for_another_server_is_not_for_this_one() {
    let with = |login_type, audience: Option<&str>, ours| {
        let terms = Terms { audience: ours, ..Terms::default() };
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
        // No other login has an audience.
        assert_eq!(with(LoginType::Token, Some(audience), ours), Ok(GOOD));
    }
    // A server that does not know its own name is nobody's audience.
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

    // A key that is limited to some objects stays so, whatever its scope.
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

    // One that is left without a scope, or with no object, is good for nothing.
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

/// What may be made of a key, and what else its use may end
#[test]
fn a_narrower_key_never_becomes_a_wider_session() {
    const ONE: &str = "workspace:00000000-0000-0000-0000-000000000009";
    let built_in = BuiltInRoles::new(Switches::default());
    let nothing: &[&str] = &[];
    for (scopes, allow_list, session, ends_others) in [
        (&["all"][..], &["*:*"][..], Some(&["*:*"][..]), true),
        (&["all", "workspace:read"], &["*:*"], Some(&["*:*"]), true),
        (&["api_key:*", "coder:workspaces.access"], &["*:*"], Some(&["*:*"]), true),
        (&["coder:apikeys.manage_self", "application_connect"], &["*:*"], Some(&["*:*"]), true),
        (&["api_key:create", "workspace:*"], &["*:*"], Some(&["*:*"]), false),
        // It may make keys, and opens nothing itself.
        (&["api_key:*"], &["*:*"], None, true),
        (&["coder:apikeys.manage_self", "workspace:read"], &["*:*"], None, true),
        (&["api_key:*", "workspace:ssh"], &["*:*"], None, true),
        // It opens something, and may make nothing.
        (&["application_connect"], &["*:*"], None, true),
        (&["workspace:application_connect"], &["*:*"], None, false),
        (&["coder:workspaces.access"], &["*:*"], None, false),
        // Its objects are the session's.
        (&["all"], &[ONE], None, false),
        (&["application_connect"], &[ONE], None, false),
        (&["all"], &["workspace:*"], None, false),
        (&["all"], &["api_key:*", ONE], Some(&["api_key:*", ONE]), true),
        (&["all"], &["api_key:*", "workspace:*"], Some(&["api_key:*", "workspace:*"]), true),
        (&["all"], &["api_key:*"], Some(&["api_key:*"]), true),
        (&["all"], nothing, None, false),
        (&[], &["*:*"], None, false),
    ] {
        let holder = changed(|holder| {
            holder.key.scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            holder.key.allow_list = AllowList::parse(allow_list).unwrap();
        });
        let subject = holder.subject(&built_in);
        let made = AppSession::of(&holder, &subject, Terms::default(), DAY, now());
        let list = made.as_ref().map(|made| made.allow_list.clone());
        let expected = session.map(|entries| AllowList::parse(entries).unwrap());
        assert_eq!(list, expected, "{scopes:?} {allow_list:?}");
        assert!(made.is_none_or(|made| made.scope == ScopeName::ApplicationConnect));
        let others = OtherSessions::ended_by(&holder, &subject);
        assert_eq!(others == OtherSessions::EndOfApps, ends_others, "{scopes:?} {allow_list:?}");
    }
}

#[test]
fn a_session_made_of_a_key_does_not_outlive_it() {
    let built_in = BuiltInRoles::new(Switches::default());
    let of = |holder: &KeyHolder, terms, longest| {
        let subject = holder.subject(&built_in);
        let made = AppSession::of(holder, &subject, terms, longest, now()).unwrap();
        (made.expires_at, made.lifetime)
    };
    let ends_in = |left| changed(|holder| holder.key.expires_at = now() + left);
    assert_eq!(of(&ends_in(DAY * 30), Terms::default(), DAY), (now() + DAY, DAY));
    assert_eq!(of(&ends_in(HOUR * 2), Terms::default(), DAY), (now() + HOUR * 2, DAY));
    assert_eq!(of(&ends_in(Duration::ZERO), Terms::default(), DAY), (now(), DAY));

    // A key that keeps its end has sessions that keep theirs.
    let kept = |mut holder: KeyHolder| {
        holder.key.login_type = LoginType::Token;
        holder.key.is_prolonged = false;
        holder
    };
    let by_setting = Terms { disable_expiry_refresh: true, ..Terms::default() };
    for (holder, terms) in
        [(kept(ends_in(DAY * 30)), Terms::default()), (ends_in(DAY * 30), by_setting)]
    {
        let (end, lifetime) = of(&holder, terms, DAY);
        assert_eq!(end, now() + DAY);
        let mut made = holder_of(TOKEN).key;
        (made.lifetime, made.last_used) = (lifetime, now());
        for used_at in [now(), now() + HOUR * 12, end] {
            made.expires_at = end;
            let update = made.update(used_at, true);
            assert_eq!(update.and_then(|update| update.expires_at), None);
        }
    }
    assert_eq!(of(&kept(ends_in(HOUR / 2)), Terms::default(), DAY).1, HOUR / 2);
}

fn names() -> CookieNames {
    CookieNames::new("", Some(&"*.test.coder.com".parse().unwrap()))
}

#[test]
fn cookies_are_named_after_the_hosts_they_are_for() {
    let names = names();
    assert_eq!(names.session(), "coder_session_token");
    assert_eq!(names.app_session(AccessMethod::Path), "coder_path_app_session_token");
    assert_eq!(names.app_session(AccessMethod::Terminal), "coder_path_app_session_token");
    let subdomain = names.app_session(AccessMethod::Subdomain);
    let suffix = subdomain.strip_prefix("coder_subdomain_app_session_token_").unwrap();
    assert_eq!(suffix.len(), 32);
    let other: HostPattern = "*.sydney.coder.com".parse().unwrap();
    assert_ne!(CookieNames::new("", Some(&other)).app_session(AccessMethod::Subdomain), subdomain);
    assert_eq!(CookieNames::new("dev_", None).session(), "dev_coder_session_token");

    // scenario 184
    for withheld in [
        "coder_session_token",
        "__Host-coder_session_token",
        "coder_path_app_session_token",
        subdomain,
        "coder_subdomain_app_session_token",
        "coder_signed_app_token",
        "oauth_state",
        "oauth_redirect",
    ] {
        assert!(names.is_withheld(withheld), "{withheld}");
    }
    assert!(!names.is_withheld("session") && !names.is_withheld("coder_session_token2"));
}

// scenario 84
#[test]
fn the_first_source_counts_for_the_control_plane() {
    let bearer = format!("bEaReR {OTHER}");
    let mut carried = Carried {
        cookies: vec![("x", "y"), ("coder_session_token", TOKEN)],
        query: vec![("access_token", OTHER), ("coder_session_token", TOKEN)],
        session_header: Some(TOKEN),
        authorization: Some(&bearer),
    };
    let source =
        |carried: &Carried<'_>| carried.session_token(&names()).unwrap().map(|found| found.0);
    assert_eq!(source(&carried), Some(Source::SessionCookie));
    carried.cookies = vec![("coder_session_token", "")];
    assert_eq!(source(&carried), Some(Source::SessionParameter));
    carried.query.pop();
    assert_eq!(source(&carried), Some(Source::SessionHeader));
    carried.session_header = Some("");
    assert_eq!(source(&carried), Some(Source::Bearer));
    carried.authorization = Some("Basic abc");
    assert_eq!(source(&carried), Some(Source::AccessTokenParameter));
    carried.query.clear();
    assert_eq!(source(&carried), None);

    carried.session_header = Some("nonsense");
    carried.query = vec![("access_token", TOKEN)];
    assert_eq!(carried.session_token(&names()), Err(Error::InvalidSessionToken));
    for odd in ["Bearer", "", "Bearé x", "Bearer"] {
        carried = Carried { authorization: Some(odd), ..Carried::default() };
        assert_eq!(source(&carried), None, "{odd}");
    }
}

#[test]
fn a_session_bound_to_its_host_goes_before_one_that_anybody_may_have_set() {
    for prefix in ["", "dev_"] {
        let names = CookieNames::new(prefix, None);
        let cookies = vec![(names.session(), OTHER), (names.host_session(), TOKEN)];
        let mut carried = Carried { cookies, ..Carried::default() };
        let bound = Some((Source::SessionCookie, token(TOKEN)));
        assert_eq!(carried.session_token(&names), Ok(bound));
        let found = carried.app_session_tokens(&names, AccessMethod::Path);
        let tokens: Vec<SessionToken> = found.into_iter().map(|(_, token)| token).collect();
        assert_eq!(tokens, [token(TOKEN), token(OTHER)]);
        carried.cookies.pop();
        let plain = Some((Source::SessionCookie, token(OTHER)));
        assert_eq!(carried.session_token(&names), Ok(plain));
    }
}

// scenario 105, 112
#[test]
fn an_app_may_use_authorization_for_itself() {
    let names = names();
    let cookie = names.app_session(AccessMethod::Subdomain);
    let carried = Carried {
        cookies: vec![(cookie, TOKEN), ("coder_session_token", OTHER), (cookie, TOKEN)],
        authorization: Some("Bearer x.y.z"),
        ..Carried::default()
    };
    let found = carried.app_session_tokens(&names, AccessMethod::Subdomain);
    let sources: Vec<Source> = found.iter().map(|(source, _)| *source).collect();
    assert_eq!(sources, [Source::AppCookie, Source::SessionCookie]);
    assert_eq!(found[0].1, token(TOKEN));
    let by_path = carried.app_session_tokens(&names, AccessMethod::Path);
    assert_eq!(by_path, [(Source::SessionCookie, token(OTHER))]);
    assert_eq!(Carried::default().app_session_tokens(&names, AccessMethod::Path), []);

    // A cookie bomb is cut short.
    let many: Vec<String> = (0..100).map(|n| format!("{n:010}-abcdefghijklmnopqrstuv")).collect();
    let cookies = many.iter().map(|text| (cookie, &**text)).collect();
    let bomb = Carried { cookies, ..Carried::default() };
    assert_eq!(bomb.app_session_tokens(&names, AccessMethod::Subdomain).len(), MAX_TOKENS);
}

/// An answer of [`identify`], as text: the id of the key that it names, and how
fn identified(holders: &[KeyHolder], terms: Terms<'_>) -> String {
    let id = |holder: &KeyHolder| holder.key.id.clone();
    match identify(&[token(TOKEN), token(OTHER)], holders, terms, now()) {
        Identified::Anonymous => "anonymous".to_owned(),
        Identified::User(holder, session) if session.refresh_link => {
            format!("{} after a refresh", id(holder))
        }
        Identified::User(holder, _) => id(holder),
        Identified::Blocked(holder, status) => format!("{} is {}", id(holder), status.as_str()),
    }
}

#[test]
fn the_first_good_token_identifies_and_a_suspended_user_is_not_anonymous() {
    let id = |text: &str| text.split_once('-').unwrap().0.to_owned();
    let (first, second) = (id(TOKEN), id(OTHER));
    let expired = || changed(|holder| holder.key.expires_at = now() - DAY);
    let suspended = || changed(|holder| holder.status = UserStatus::Suspended);
    let dormant_other = || KeyHolder { status: UserStatus::Dormant, ..holder_of(OTHER) };
    let stale = || {
        changed(|holder| {
            holder.key.login_type = LoginType::Oidc;
            holder.link = Some(OauthLink { expires_at: Some(now() - DAY), can_refresh: true });
        })
    };
    let refreshed = format!("{first} after a refresh");
    let blocked = (format!("{first} is suspended"), format!("{second} is dormant"));
    for (holders, strict, refreshing) in [
        (vec![], "anonymous", "anonymous"),
        (vec![holder_of(OTHER), holder_of(TOKEN)], &*first, &*first),
        (vec![expired(), holder_of(OTHER)], &second, &second),
        (vec![expired()], "anonymous", "anonymous"),
        (vec![suspended()], &blocked.0, &blocked.0),
        (vec![suspended(), holder_of(OTHER)], &second, &second),
        (vec![suspended(), dormant_other()], &blocked.0, &blocked.0),
        (vec![expired(), dormant_other()], &blocked.1, &blocked.1),
        // What must be refreshed first is waited for only where nothing else is good, and
        // where the caller can refresh it.
        (vec![stale(), holder_of(OTHER)], &second, &second),
        (vec![stale()], "anonymous", &refreshed),
        (vec![stale(), dormant_other()], &blocked.1, &refreshed),
    ] {
        assert_eq!(identified(&holders, Terms::default()), strict, "{holders:?}");
        let terms = Terms { can_refresh: true, ..Terms::default() };
        assert_eq!(identified(&holders, terms), refreshing, "{holders:?}");
    }
}

#[test]
fn stored_words_are_read() {
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

proptest! {
    #[test]
    fn only_the_form_parses_and_nothing_panics(text in any::<String>(), near in "[a-z0-9-]{30,36}") {
        for text in [text, near] {
            let valid = text.len() == 33 && text.as_bytes()[10] == b'-'
                && text.bytes().enumerate().all(|(at, b)| at == 10 || b.is_ascii_alphanumeric());
            prop_assert_eq!(text.parse::<SessionToken>().is_ok(), valid);
            let carried = Carried { authorization: Some(&text), ..Carried::default() };
            let _ = carried.session_token(&names());
        }
    }
}

// scenario 215
#[test]
fn a_session_of_apps_lasts_as_the_one_it_is_made_in() {
    const SECOND: Duration = Duration::from_secs(1);
    let month = 30 * DAY;
    for (login_type, left, lifetime, longest, end, use_extends) in [
        (LoginType::Password, DAY, DAY, DAY, DAY, DAY),
        (LoginType::Password, 23 * HOUR, DAY, DAY, 23 * HOUR, DAY),
        (LoginType::Oidc, SECOND, DAY, DAY, SECOND, DAY),
        (LoginType::Password, 600 * SECOND, 1800 * SECOND, DAY, 600 * SECOND, 1800 * SECOND),
        // Neither goes beyond what sessions of this deployment last.
        (LoginType::Password, month, month, DAY, DAY, DAY),
        (LoginType::Password, HOUR, month, DAY, HOUR, DAY),
        // What is made with an API token is not extended.
        (LoginType::Token, month, month, DAY, DAY, HOUR - SECOND),
        (LoginType::Token, 600 * SECOND, month, DAY, 600 * SECOND, 600 * SECOND),
        (LoginType::Token, SECOND / 2, month, DAY, SECOND / 2, SECOND),
        // Over since, while it was asked for.
        (LoginType::Password, Duration::ZERO, DAY, DAY, Duration::ZERO, DAY),
    ] {
        let mut holder = holder_of(TOKEN);
        holder.key.login_type = login_type;
        holder.key.expires_at = now() + left;
        holder.key.lifetime = lifetime;
        let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
        let session = AppSession::of(&holder, &subject, Terms::default(), longest, now()).unwrap();
        let (key, other) = (holder.key, token(OTHER));
        let made = NewKey::for_apps(&other, key.user, &session, None, now());
        let case = format!("{login_type:?} {left:?} {lifetime:?} {longest:?}");
        assert_eq!((made.expires_at, made.lifetime), (now() + end, use_extends), "{case}");
        assert_eq!((made.login_type, made.user), (LoginType::Password, key.user));
        assert_eq!(made.scope.to_string(), "coder:application_connect");

        let extended = ApiKey { expires_at: now() + SECOND, lifetime: made.lifetime, ..key };
        let update = extended.update(now(), true).and_then(|update| update.expires_at);
        assert_eq!(update.is_some(), made.lifetime > HOUR, "{case}");
    }
}
