//! Which open connections a revocation concerns

use app_authz::app::{Connection, Mask, Revocation, RevocationReason, Visitor};
use app_authz::{AgentId, UserId, WorkspaceId};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

/// One of few values, so that they are often equal
fn id() -> impl Strategy<Value = Uuid> {
    (0..3_u128).prop_map(Uuid::from_u128)
}

fn app() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["code", "CODE", "8080", "8080s", "08080", "8081", "x"])
        .prop_map(str::to_owned)
}

fn session() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["aaaaaaaaaa", "bbbbbbbbbb"]).prop_map(str::to_owned)
}

fn mask() -> impl Strategy<Value = Mask> {
    let ids = (option::of(id()), option::of(id()), option::of(id()));
    (ids, option::of(app()), option::of(session())).prop_map(
        |((user, place, agent), app, session)| {
            let mut mask = Mask::default();
            mask.user = user.map(UserId);
            mask.workspace = place.map(WorkspaceId);
            mask.agent = agent.map(AgentId);
            (mask.app, mask.session) = (app, session);
            mask
        },
    )
}

fn visitor() -> impl Strategy<Value = Visitor> {
    prop_oneof![
        4 => id().prop_map(|id| Visitor::User(UserId(id))),
        1 => Just(Visitor::Anonymous),
        1 => Just(Visitor::Unspecified),
    ]
}

fn connection() -> impl Strategy<Value = Connection> {
    let ids = (visitor(), option::of(id()), option::of(id()));
    (ids, option::of(app()), option::of(session())).prop_map(
        |((visitor, workspace, agent), app, session)| {
            let mut connection = Connection::of(visitor);
            connection.workspace = workspace.map(WorkspaceId);
            connection.agent = agent.map(AgentId);
            (connection.app, connection.session) = (app, session);
            connection
        },
    )
}

/// The mask without its `n`-th field
fn wider(mask: &Mask, n: usize) -> Mask {
    let mut wider = mask.clone();
    match n {
        0 => wider.user = None,
        1 => wider.workspace = None,
        2 => wider.agent = None,
        3 => wider.app = None,
        _ => wider.session = None,
    }
    wider
}

/// The connection of which its carrier does not know the `n`-th fact
fn vaguer(connection: &Connection, n: usize) -> Connection {
    let mut vaguer = connection.clone();
    match n {
        0 => vaguer.visitor = Visitor::Unspecified,
        1 => vaguer.workspace = None,
        2 => vaguer.agent = None,
        3 => vaguer.app = None,
        _ => vaguer.session = None,
    }
    vaguer
}

proptest! {
    #[test]
    fn an_empty_mask_concerns_every_connection(connection in connection()) {
        prop_assert!(Mask::default().matches(&connection));
    }

    /// A mask never concerns less because it says less, nor because a carrier knows less.
    #[test]
    fn what_is_not_said_or_not_known_never_keeps_a_connection(
        mask in mask(), connection in connection(), n in 0_usize..5,
    ) {
        if mask.matches(&connection) {
            prop_assert!(wider(&mask, n).matches(&connection));
            prop_assert!(mask.matches(&vaguer(&connection, n)));
        }
    }

    /// A mask is the conjunction of its fields.
    #[test]
    fn every_field_alone_has_to_match(mask in mask(), connection in connection()) {
        let alone = |n: usize| {
            let others = (0..5).filter(|other| *other != n);
            others.fold(mask.clone(), |mask, other| wider(&mask, other))
        };
        let each = (0..5).all(|n| alone(n).matches(&connection));
        prop_assert_eq!(mask.matches(&connection), each);
    }

    #[test]
    fn a_revocation_is_read_back_as_it_was_written(mask in mask(), n in 0_usize..4) {
        let revocation = Revocation::new(RevocationReason::ALL[n], mask);
        let text = serde_json::to_string(&revocation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Revocation>(&text).unwrap(), revocation);
    }
}

#[test]
fn values_are_compared_as_the_decision_compares_them() {
    let user = |n| UserId(Uuid::from_u128(n));
    let connection = Connection::of(Visitor::User(user(1))).app("8080s").session("aaaaaaaaaa");
    let of = |change: fn(&mut Mask)| {
        let mut mask = Mask::default();
        change(&mut mask);
        mask
    };
    assert!(of(|mask| mask.app = Some("8080".to_owned())).matches(&connection));
    assert!(!of(|mask| mask.app = Some("8081".to_owned())).matches(&connection));
    assert!(!of(|mask| mask.app = Some("code".to_owned())).matches(&connection));
    assert!(of(|mask| mask.app = Some("Code".to_owned())).matches(&connection.clone().app("cODE")));
    assert!(of(|mask| mask.session = Some("aaaaaaaaaa".to_owned())).matches(&connection));
    assert!(!of(|mask| mask.session = Some("bbbbbbbbbb".to_owned())).matches(&connection));

    // A visitor who is not signed in has no user and no session that could end.
    let anonymous = Connection::of(Visitor::Anonymous);
    assert!(!of(|mask| mask.session = Some("aaaaaaaaaa".to_owned())).matches(&anonymous));
    let mut suspended = Mask::default();
    suspended.user = Some(user(1));
    assert!(!suspended.matches(&anonymous));
    assert!(suspended.matches(&Connection::of(Visitor::Unspecified)));
}

#[test]
fn a_revocation_is_flat_json_without_what_stands_for_any() {
    let mut mask = Mask::default();
    mask.user = Some(UserId(Uuid::from_u128(1)));
    let revocation = Revocation::new(RevocationReason::UserSuspended, mask);
    assert_eq!(
        serde_json::to_string(&revocation).unwrap(),
        r#"{"reason":"user_suspended","user":"00000000-0000-0000-0000-000000000001"}"#
    );
    // A later version may know more.
    let later = r#"{"reason":"moved","user":"00000000-0000-0000-0000-000000000001","more":1}"#;
    let later: Revocation = serde_json::from_str(later).unwrap();
    assert_eq!(later.reason, RevocationReason::Other);
    assert_eq!(later.mask, revocation.mask);
}
