use std::net::IpAddr;
use std::time::Duration;

use super::rows::{ACME, ANN, BEN, CID, DAN, DEV, EVE, FRIENDS, GHOST, GLOBEX, at, token_of};
use super::{Broken, Checked, Rows, holds, rules, same, sorted, users, worked};
use crate::UserId;
use crate::credential::{
    KeyHolder, KeyUpdate, LoginType, NewKey, OtherSessions, SessionDenial, SessionToken, Sessions,
    Terms, UserStatus, authenticate,
};
use crate::id::OrganizationId;
use crate::rbac::{AllowList, BuiltInRoles, RoleName, ScopeName, Subject, Switches};

rules! {
    $
    /// A rule that every implementation of [`Sessions`] keeps
    SessionsRule of Sessions;
    /// Checks all rules of [`Sessions`], each with an implementation of its own that `make` returns
    fn sessions;
    /// Makes a test of each rule of [`Sessions`](crate::credential::Sessions)
    macro sessions_conformance;

    /// A key and its holder are read as they are stored
    Stored = a_key_is_read_as_it_is_stored over office,
    /// Several tokens are answered at once, and unknown ones have no holder
    Many = many_tokens_are_answered_at_once over office,
    /// A key is found by the id of its token, and never good for another secret
    Secret = a_key_is_never_good_for_another_secret over office,
    /// Every holder is a `member`, and a member of the organizations that the user is in
    Members = holders_are_members_of_their_organizations over office,
    /// The groups of a holder are those that the user is in
    Groups = groups_are_those_of_the_user over office,
    /// A user has a name until the user is deleted
    Names = users_have_names_until_they_are_deleted over office,
    /// An update writes what it says, of that key alone
    Update = an_update_writes_what_it_says over office,
    /// An update does not replace a newer one
    NewerUpdate = a_newer_update_is_not_replaced over office,
    /// Logging out ends the session, once, and no update brings it back
    LogOut = logging_out_ends_the_session over office,
    /// A new key is good at once, with its limits
    NewKey = a_new_key_is_good_at_once over office,
    /// A key may touch the objects of its list and no others, or is not stored
    Limits = a_key_is_never_stored_with_fewer_limits over office,
    /// A key of a user who does not exist, or with an id that is taken, is not stored
    Refused = a_key_that_cannot_be_is_not_stored over office,
    /// A key that is made from a session does not outlive that session
    Made = a_made_key_ends_with_its_session over office,
    /// A key is made from a session of the same user that has not ended
    MadeOfOwn = a_key_is_made_from_a_session_of_the_same_user over office,
    /// Keys that do not count are said to have ended: unknown ones, expired ones, those of users
    /// who are not active, and those whose session has ended
    Ended = keys_that_do_not_count_have_ended over office,
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn a_key_is_read_as_it_is_stored(sessions: &impl Sessions) -> Checked {
    for row in Rows::office().sessions {
        let holder = one(sessions, &row.token).await?;
        let key = &holder.key;
        let what = format!("the session of {}", row.user);
        same(&*key.id, row.token.id(), &what)?;
        same(&key.secret_digest[..], &row.token.secret_digest()[..], &what)?;
        same(&(key.user, key.login_type), &(row.user, LoginType::Password), &what)?;
        same(&(key.last_used, key.expires_at), &(row.last_used, row.expires_at), &what)?;
        same(&key.lifetime, &row.lifetime, &what)?;
        same(&key.scopes, &vec![row.scope], &what)?;
        same(&key.allow_list, &AllowList::everything(), &what)?;
        same(&key.audience, &None, &what)?;
        holds(key.is_prolonged, "use extends a session")?;
        let good = authenticate(&row.token, Some(&holder), Terms::default(), at(0)).map(drop);
        let suspended = Err(SessionDenial::Inactive(UserStatus::Suspended));
        same(&good, &if row.user == DAN { suspended } else { Ok(()) }, &what)?;
        let end = row.expires_at + Duration::from_secs(1);
        let late = authenticate(&row.token, Some(&holder), Terms::default(), end).map(drop);
        same(&late, &Err(SessionDenial::Expired), &what)?;
    }
    same(&*one(sessions, &token_of(ANN)).await?.username, "ann", "the name of a holder")
}

async fn many_tokens_are_answered_at_once(sessions: &impl Sessions) -> Checked {
    let unknown = SessionToken::generate(|bytes| bytes.fill(0x9c));
    let tokens = [token_of(CID), unknown.clone(), token_of(ANN), token_of(DAN)];
    let found = worked(sessions.holders(&tokens).await, "several tokens")?;
    same(&users(&found), &vec![ANN, CID, DAN], "the holders of several tokens")?;
    for none in [&[][..], &[unknown][..]] {
        let found = worked(sessions.holders(none).await, "unknown tokens")?;
        same(&found.len(), &0, "the holders of unknown tokens")?;
    }
    Ok(())
}

async fn a_key_is_never_good_for_another_secret(sessions: &impl Sessions) -> Checked {
    let other = format!("{}-{:022}", token_of(ANN).id(), 7);
    let other: SessionToken = other.parse().map_err(|_| "not a token")?;
    let found = worked(sessions.holders(std::slice::from_ref(&other)).await, "another secret")?;
    let good = authenticate(&other, found.first(), Terms::default(), at(0));
    holds(good.is_err(), "a key is good for its own secret alone")
}

async fn holders_are_members_of_their_organizations(sessions: &impl Sessions) -> Checked {
    for (user, of, not_of) in [(ANN, ACME, GLOBEX), (BEN, ACME, GLOBEX), (CID, GLOBEX, ACME)] {
        let subject = subject(sessions, user).await?;
        let is_of = |organization: OrganizationId| subject.is_member_of(organization);
        holds(subject.holds(&RoleName::MEMBER), &format!("{user} holds `member`"))?;
        same(&(is_of(of), is_of(not_of)), &(true, false), &format!("the organizations of {user}"))?;
    }
    Ok(())
}

async fn groups_are_those_of_the_user(sessions: &impl Sessions) -> Checked {
    for (user, is_friend) in [(ANN, false), (BEN, true), (CID, false)] {
        let holder = one(sessions, &token_of(user)).await?;
        let found = holder.groups.contains(&FRIENDS);
        same(&found, &is_friend, &format!("whether {user} is a friend"))?;
    }
    Ok(())
}

async fn users_have_names_until_they_are_deleted(sessions: &impl Sessions) -> Checked {
    for (user, name) in
        [(ANN, Some("ann")), (EVE, Some("Eve")), (GHOST, None), (UserId(ACME.0), None)]
    {
        let found = worked(sessions.username(user).await, "a name")?;
        same(&found.as_deref(), &name, &format!("the name of {user}"))?;
    }
    Ok(())
}

async fn an_update_writes_what_it_says(sessions: &impl Sessions) -> Checked {
    let before = one(sessions, &token_of(ANN)).await?.key;
    let used = before.last_used + 2 * HOUR;
    for (update, expected) in [
        (KeyUpdate { last_used: Some(used), expires_at: None }, (used, before.expires_at)),
        (
            KeyUpdate { last_used: None, expires_at: Some(before.expires_at + 24 * HOUR) },
            (used, before.expires_at + 24 * HOUR),
        ),
    ] {
        let read = one(sessions, &token_of(ANN)).await?.key;
        let ip = Some([192, 0, 2, 7].into());
        worked(sessions.update(&read, update, ip).await, "an update")?;
        let after = one(sessions, &token_of(ANN)).await?.key;
        same(&(after.last_used, after.expires_at), &expected, "the key after an update")?;
    }
    let other = one(sessions, &token_of(BEN)).await?.key;
    same(&other.last_used, &at(0), "another key")
}

async fn a_newer_update_is_not_replaced(sessions: &impl Sessions) -> Checked {
    let read = one(sessions, &token_of(ANN)).await?.key;
    let newer = read.last_used + 5 * HOUR;
    for used in [newer, read.last_used + 2 * HOUR] {
        let update = KeyUpdate { last_used: Some(used), expires_at: None };
        worked(sessions.update(&read, update, None).await, "an update")?;
    }
    same(&one(sessions, &token_of(ANN)).await?.key.last_used, &newer, "the last use")
}

async fn logging_out_ends_the_session(sessions: &impl Sessions) -> Checked {
    let key = one(sessions, &token_of(ANN)).await?.key;
    let ended = worked(sessions.log_out(&key, OtherSessions::Keep).await, "a log-out")?;
    same(&ended, &vec![key.id.clone()], "the keys that ended")?;
    let update = KeyUpdate { last_used: Some(at(9_999)), expires_at: None };
    worked(sessions.update(&key, update, None).await, "an update of an ended key")?;
    let left = worked(sessions.holders(&[token_of(ANN), token_of(BEN)]).await, "what is left")?;
    same(&users(&left), &vec![BEN], "the sessions that are left")?;
    let again = worked(sessions.log_out(&key, OtherSessions::Keep).await, "a second log-out")?;
    same(&again.len(), &0, "the keys that ended a second time")
}

async fn a_new_key_is_good_at_once(sessions: &impl Sessions) -> Checked {
    let token = new_token(1);
    let new = NewKey::new(&token, ANN, at(60), at(7_260))
        .with_scope(ScopeName::ApplicationConnect)
        .with_ip(IpAddr::from([192, 0, 2, 7]));
    worked(sessions.insert(&new).await, "a new key")?;
    let holder = one(sessions, &token).await?;
    let key = &holder.key;
    same(&(key.user, key.expires_at, key.lifetime), &(ANN, at(7_260), 2 * HOUR), "a new key")?;
    same(&key.scopes, &vec![ScopeName::ApplicationConnect], "the scope of a new key")?;
    let good = authenticate(&token, Some(&holder), Terms::default(), at(61));
    holds(good.is_ok(), "a new key is good")
}

async fn a_key_is_never_stored_with_fewer_limits(sessions: &impl Sessions) -> Checked {
    let (token, list) = (new_token(7), format!("workspace:{}", DEV));
    let list = AllowList::parse([&list]).map_err(|error| error.to_string())?;
    let new = NewKey::new(&token, ANN, at(0), at(60)).with_allow_list(&list);
    // Tables may have no lists.
    if sessions.insert(&new).await.is_err() {
        return Ok(());
    }
    same(&one(sessions, &token).await?.key.allow_list, &list, "what a new key may touch")
}

async fn a_key_that_cannot_be_is_not_stored(sessions: &impl Sessions) -> Checked {
    let (token, taken) = (new_token(2), token_of(ANN));
    for (new, why) in [
        (NewKey::new(&token, UserId(ACME.0), at(0), at(60)), "of an unknown user"),
        (NewKey::new(&token, GHOST, at(0), at(60)), "of a deleted user"),
        (NewKey::new(&taken, BEN, at(0), at(60)), "with an id that is taken"),
    ] {
        holds(sessions.insert(&new).await.is_err(), &format!("a key {why} is refused"))?;
    }
    let found = worked(sessions.holders(&[token]).await, "a refused key")?;
    same(&found.len(), &0, "the keys that were refused and stored")?;
    same(&one(sessions, &taken).await?.key.user, &ANN, "the key whose id was taken")
}

async fn a_made_key_ends_with_its_session(sessions: &impl Sessions) -> Checked {
    let parent = one(sessions, &token_of(ANN)).await?.key;
    let (long, short) = (new_token(3), new_token(4));
    for (token, end) in [(&long, parent.expires_at + HOUR), (&short, parent.expires_at - HOUR)] {
        let made = NewKey::new(token, ANN, at(0), end)
            .with_scope(ScopeName::ApplicationConnect)
            .with_parent(&parent.id);
        worked(sessions.insert(&made).await, "a made key")?;
    }
    same(&one(sessions, &long).await?.key.expires_at, &parent.expires_at, "the end of a made key")?;
    let sooner = parent.expires_at - HOUR;
    same(&one(sessions, &short).await?.key.expires_at, &sooner, "the end of one that ends sooner")?;

    let key = one(sessions, &short).await?.key;
    let ended = worked(sessions.log_out(&key, OtherSessions::Keep).await, "a log-out of an app")?;
    same(&ended, &vec![short.id().to_owned()], "the keys that ended with that of an app")?;
    let ended = worked(sessions.log_out(&parent, OtherSessions::Keep).await, "a log-out")?;
    let expected = sorted([long.id().to_owned(), parent.id.clone()]);
    same(&sorted(ended), &expected, "the keys that ended with their session")?;
    let left = worked(sessions.holders(&[long, short]).await, "what is left")?;
    same(&left.len(), &0, "the keys that outlived their session")
}

async fn a_key_is_made_from_a_session_of_the_same_user(sessions: &impl Sessions) -> Checked {
    let token = new_token(5);
    let own = token_of(ANN);
    for (user, parent) in [(BEN, own.id()), (ANN, "unknown000")] {
        let made = NewKey::new(&token, user, at(0), at(60)).with_parent(parent);
        let refused = sessions.insert(&made).await.is_err();
        holds(refused, &format!("a key of {user} is not made from `{parent}`"))?;
    }
    let made = NewKey::new(&token, ANN, at(0), at(60)).with_parent(own.id());
    worked(sessions.insert(&made).await, "a made key")
}

async fn keys_that_do_not_count_have_ended(sessions: &impl Sessions) -> Checked {
    let [ann, ben, cid, dan] = [ANN, BEN, CID, DAN].map(token_of);
    let made = new_token(6);
    let new = NewKey::new(&made, CID, at(0), at(7_200)).with_parent(cid.id());
    worked(sessions.insert(&new).await, "a made key")?;
    let key = one(sessions, &ben).await?.key;
    worked(sessions.log_out(&key, OtherSessions::Keep).await, "a log-out")?;
    let ids = [ann.id(), ben.id(), cid.id(), dan.id(), made.id(), "unknown000"];
    for (now, ended) in [
        (at(60), vec![ben.id(), dan.id(), "unknown000"]),
        (at(7_260), vec![ben.id(), dan.id(), made.id(), "unknown000"]),
        (at(31 * 86_400), ids.to_vec()),
    ] {
        let found = worked(sessions.ended(&ids, now).await, "the question for ended keys")?;
        let expected = sorted(ended.into_iter().map(str::to_owned));
        same(&sorted(found), &expected, "the keys that do not count")?;
    }
    let key = one(sessions, &cid).await?.key;
    worked(sessions.log_out(&key, OtherSessions::Keep).await, "a log-out")?;
    let found = sessions.ended(&[ann.id(), cid.id(), made.id()], at(60)).await;
    let expected = sorted([cid.id().to_owned(), made.id().to_owned()]);
    let found = sorted(worked(found, "the question for made keys")?);
    same(&found, &expected, "the keys whose session has ended")?;
    let none = worked(sessions.ended(&[], at(60)).await, "the question for none")?;
    same(&none.len(), &0, "the ended ones of no keys")
}

async fn one(sessions: &impl Sessions, token: &SessionToken) -> Result<KeyHolder, String> {
    let mut found = worked(sessions.holders(std::slice::from_ref(token)).await, "a token")?;
    same(&found.len(), &1, &format!("the number of holders of {token:?}"))?;
    Ok(found.remove(0))
}

async fn subject(sessions: &impl Sessions, user: UserId) -> Result<Subject, String> {
    let holder = one(sessions, &token_of(user)).await?;
    Ok(holder.subject(&BuiltInRoles::new(Switches::default())))
}

/// A token that no row has
fn new_token(n: u8) -> SessionToken {
    SessionToken::generate(|bytes| bytes.fill((n + 20) << 2))
}
