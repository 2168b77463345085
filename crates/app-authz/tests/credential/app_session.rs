//! Sessions for apps

use std::time::Duration;

use app_authz::credential::{AppSession, KeyHolder, LoginType, NewKey, OtherSessions, Terms};
use app_authz::rbac::{AllowList, BuiltInRoles, ScopeName, Switches};

use super::{DAY, HOUR, OTHER, TOKEN, changed, holder_of, now, token};

/// Whether a session for apps may be created with a key, and which sessions it may end
#[test]
fn a_session_for_apps_permits_no_more_than_its_key() {
    const ONE: &str = "workspace:00000000-0000-0000-0000-000000000009";
    let built_in = BuiltInRoles::new(Switches::default());
    let nothing: &[&str] = &[];
    for (scopes, allow_list, session, ends_others) in [
        (&["all"][..], &["*:*"][..], Some(&["*:*"][..]), true),
        (&["all", "workspace:read"], &["*:*"], Some(&["*:*"]), true),
        (&["api_key:*", "coder:workspaces.access"], &["*:*"], Some(&["*:*"]), true),
        (&["coder:apikeys.manage_self", "application_connect"], &["*:*"], Some(&["*:*"]), true),
        (&["api_key:create", "workspace:*"], &["*:*"], Some(&["*:*"]), false),
        // May create keys, but not open apps.
        (&["api_key:*"], &["*:*"], None, true),
        (&["coder:apikeys.manage_self", "workspace:read"], &["*:*"], None, true),
        (&["api_key:*", "workspace:ssh"], &["*:*"], None, true),
        // May open apps, but not create keys.
        (&["application_connect"], &["*:*"], None, true),
        (&["workspace:application_connect"], &["*:*"], None, false),
        (&["coder:workspaces.access"], &["*:*"], None, false),
        // The session has the objects of the key.
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
fn a_session_for_apps_does_not_outlive_its_key() {
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

    // A key that use does not extend has sessions that use does not extend.
    let kept = |mut holder: KeyHolder| {
        holder.key.login_type = LoginType::Token;
        holder.key.is_prolonged = false;
        holder
    };
    let by_setting = Terms::default().disable_expiry_refresh(true);
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

// scenario 215
#[test]
fn a_session_for_apps_lasts_as_long_as_the_session_it_is_created_in() {
    const SECOND: Duration = Duration::from_secs(1);
    let month = 30 * DAY;
    for (login_type, left, lifetime, longest, end, use_extends) in [
        (LoginType::Password, DAY, DAY, DAY, DAY, DAY),
        (LoginType::Password, 23 * HOUR, DAY, DAY, 23 * HOUR, DAY),
        (LoginType::Oidc, SECOND, DAY, DAY, SECOND, DAY),
        (LoginType::Password, 600 * SECOND, 1800 * SECOND, DAY, 600 * SECOND, 1800 * SECOND),
        // Neither exceeds the longest session of the deployment.
        (LoginType::Password, month, month, DAY, DAY, DAY),
        (LoginType::Password, HOUR, month, DAY, HOUR, DAY),
        // A session created with an API token is not extended.
        (LoginType::Token, month, month, DAY, DAY, HOUR - SECOND),
        (LoginType::Token, 600 * SECOND, month, DAY, 600 * SECOND, 600 * SECOND),
        (LoginType::Token, SECOND / 2, month, DAY, SECOND / 2, SECOND),
        // The key expired in the meantime.
        (LoginType::Password, Duration::ZERO, DAY, DAY, Duration::ZERO, DAY),
    ] {
        let mut holder = holder_of(TOKEN);
        holder.key.login_type = login_type;
        holder.key.expires_at = now() + left;
        holder.key.lifetime = lifetime;
        let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
        let session = AppSession::of(&holder, &subject, Terms::default(), longest, now()).unwrap();
        let (key, other) = (holder.key, token(OTHER));
        let made = NewKey::for_apps(&other, &key, &session, None, now());
        let case = format!("{login_type:?} {left:?} {lifetime:?} {longest:?}");
        assert_eq!((made.expires_at, made.lifetime), (now() + end, use_extends), "{case}");
        assert_eq!((made.login_type, made.user), (LoginType::Password, key.user));
        assert_eq!(made.scope.to_string(), "coder:application_connect");

        let mut extended = key.clone();
        (extended.expires_at, extended.lifetime) = (now() + SECOND, made.lifetime);
        let update = extended.update(now(), true).and_then(|update| update.expires_at);
        assert_eq!(update.is_some(), made.lifetime > HOUR, "{case}");
    }
}
