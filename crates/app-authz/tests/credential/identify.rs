//! Which of several tokens identifies the visitor

use app_authz::credential::{
    Identified, KeyHolder, LoginType, OauthLink, Terms, UserStatus, identify,
};

use super::{DAY, OTHER, TOKEN, changed, holder_of, now, token};

/// The answer of [`identify`] as text, with the id of the key
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
        // A session that must be refreshed is the answer only if no other token is good and the
        // caller can refresh it.
        (vec![stale(), holder_of(OTHER)], &second, &second),
        (vec![stale()], "anonymous", &refreshed),
        (vec![stale(), dormant_other()], &blocked.1, &refreshed),
    ] {
        assert_eq!(identified(&holders, Terms::default()), strict, "{holders:?}");
        let terms = Terms { can_refresh: true, ..Terms::default() };
        assert_eq!(identified(&holders, terms), refreshing, "{holders:?}");
    }
}
