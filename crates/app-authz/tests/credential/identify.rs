//! Which of several tokens identifies the visitor

use app_authz::credential::{
    Identified, KeyHolder, LoginType, OauthLink, SessionDenial, Source, Terms, UserStatus,
    authenticate_first, identify,
};

use super::{DAY, OTHER, TOKEN, changed, holder_of, now, token};

/// The answer of [`identify`] as text, with the id of the key
fn identified(holders: &[KeyHolder], terms: Terms<'_>) -> String {
    let tokens = [(Source::SessionHeader, token(TOKEN)), (Source::Bearer, token(OTHER))];
    text(identify(&tokens, holders, terms, now()))
}

fn text(identified: Identified<'_>) -> String {
    let id = |holder: &KeyHolder| holder.key.id.clone();
    match identified {
        Identified::Anonymous => "anonymous".to_owned(),
        Identified::Ambiguous => "ambiguous".to_owned(),
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
    let dormant_other = || {
        let mut holder = holder_of(OTHER);
        holder.status = UserStatus::Dormant;
        holder
    };
    let stale = || {
        changed(|holder| {
            holder.key.login_type = LoginType::Oidc;
            holder.link = Some(OauthLink::new(now() - DAY, true));
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
        let terms = Terms::default().can_refresh(true);
        assert_eq!(identified(&holders, terms), refreshing, "{holders:?}");
    }
}

/// A sibling host can set a cookie for its whole domain, before or after that of the user
#[test]
fn cookies_of_several_users_do_not_count_unless_one_is_bound_to_its_host() {
    use Source::{
        AppCookie, Bearer, HostAppCookie, HostSessionCookie, SessionCookie, SessionHeader,
    };
    let [first, second] = [TOKEN, OTHER].map(|text| text.split_once('-').unwrap().0);
    let of_other_user = || {
        let mut holder = holder_of(OTHER);
        holder.key.user = app_authz::UserId(uuid::Uuid::from_u128(0xbad));
        holder
    };
    let (same, other) = ([holder_of(TOKEN), holder_of(OTHER)], [holder_of(TOKEN), of_other_user()]);
    assert_eq!(same[0].key.user, same[1].key.user);
    for (sources, of_one_user, of_two) in [
        ([AppCookie, AppCookie], first, "ambiguous"),
        ([AppCookie, SessionCookie], first, "ambiguous"),
        ([HostAppCookie, AppCookie], first, first),
        ([HostAppCookie, SessionCookie], first, first),
        ([HostSessionCookie, AppCookie], first, first),
        ([HostSessionCookie, SessionCookie], first, first),
        // Cookies still count before what an app and its clients may use themselves.
        ([AppCookie, SessionHeader], first, first),
        ([SessionHeader, Bearer], first, first),
    ] {
        let tokens = [(sources[0], token(TOKEN)), (sources[1], token(OTHER))];
        let identified = |holders| text(identify(&tokens, holders, Terms::default(), now()));
        assert_eq!(identified(&same), of_one_user, "{sources:?}");
        assert_eq!(identified(&other), of_two, "{sources:?}");
        let strict = |holders| {
            let found = authenticate_first(&tokens, holders, Terms::default(), now());
            found.map(|(_, holder, _)| holder.key.id.clone())
        };
        assert_eq!(strict(&same), Ok(first.to_owned()), "{sources:?}");
        let of_two =
            if of_two == first { Ok(first.to_owned()) } else { Err(SessionDenial::SeveralUsers) };
        assert_eq!(strict(&other), of_two, "{sources:?}");
        // A token that is not good does not make the other doubtful.
        let [mut ended, good] = other.clone();
        ended.key.expires_at = now() - DAY;
        assert_eq!(identified(&[ended.clone(), good.clone()]), second, "{sources:?}");
        assert_eq!(strict(&[ended, good]), Ok(second.to_owned()), "{sources:?}");
    }
    // What is not a cookie counts if the cookies contradict each other.
    let tokens = [(AppCookie, token(TOKEN)), (AppCookie, token(OTHER)), (Bearer, token(TOKEN))];
    assert_eq!(text(identify(&tokens, &other, Terms::default(), now())), first);
}
