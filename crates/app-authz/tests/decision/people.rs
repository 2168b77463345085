//! Apps and ports that are shared with users and groups by name

use app_authz::app::{Basis, People, PeopleShare, Person, PortShare};
use proptest::sample::subsequence;

use super::*;

const OTHER: u128 = 0x66666666_0000_4000_a000_000000000006;

/// What a visitor asks to open, and what is known about it
#[derive(Clone, Debug)]
struct Shared {
    asked: AppRequest,
    sharing: SharingLevel,
    widest: Option<SharingLevel>,
    dormant: bool,
    people: People,
}

impl Shared {
    fn app() -> Self {
        Self {
            asked: request(AccessMethod::Subdomain),
            sharing: SharingLevel::Owner,
            widest: None,
            dormant: false,
            people: People::NONE,
        }
    }

    fn port(port: &str) -> Self {
        let asked = UncheckedRequest {
            access_method: AccessMethod::Subdomain.to_string(),
            username_or_id: "ann".to_owned(),
            workspace_name_or_id: "dev".to_owned(),
            app_slug_or_port: port.to_owned(),
            ..UncheckedRequest::default()
        };
        Self { asked: asked.try_into().unwrap(), ..Self::app() }
    }

    fn with(&self, people: People) -> Self {
        Self { people, ..self.clone() }
    }

    fn target(&self, rules: Rules) -> Target<'static> {
        let owner = UserId(Uuid::from_u128(OWNER));
        let workspace = Workspace::new(
            (WorkspaceId(Uuid::from_u128(WORKSPACE)), "dev"),
            (owner, "ann"),
            OrganizationId(Uuid::from_u128(ACME)),
        );
        let agent = AgentId(Uuid::from_u128(4));
        let app = App::new(AppId(Uuid::from_u128(5)), agent, "code", "http://127.0.0.1:8080");
        let share = |name: &str| PeopleShare::new("main", name, self.people.clone());
        let strangers = People::new([UserId(Uuid::from_u128(VISITOR))], []);
        let workspace = workspace.with_dormant(self.dormant);
        let facts = WorkspaceFacts::new(owner, workspace, Transition::Start, self.widest)
            .with_agents([Agent::new(agent, "main", Contact::new(SystemTime::UNIX_EPOCH))])
            .with_apps([app.with_sharing(self.sharing)])
            .with_port_shares([PortShare::new("main", 8080, self.sharing)])
            .with_people_shares([
                // Shares of others, which only differ in one name.
                PeopleShare::new("Main", "code", strangers.clone()),
                PeopleShare::new("main", "Code", strangers.clone()),
                PeopleShare::new("main", "8081", strangers),
                share("code"),
                share("8080"),
                share("8"),
            ]);
        resolve(kept(self.asked.clone()), Some(kept(facts)), rules).unwrap()
    }

    fn decide(&self, subject: Option<&Subject>, rules: Rules) -> Result<Basis, Denial> {
        decide(kept(self.target(rules)), subject, rules).map(|permit| permit.basis())
    }

    fn opens(&self, subject: &Subject) -> Result<Basis, Reason> {
        self.decide(Some(subject), Rules::default()).map_err(|denial| denial.reason())
    }
}

fn user(id: u128) -> People {
    People::new([UserId(Uuid::from_u128(id))], [])
}

fn group(id: u128) -> People {
    People::new([], [GroupId(Uuid::from_u128(id))])
}

/// A user in a group, and in an organization
fn visitor(organization: u128, scope: Scope) -> Subject {
    let names =
        ["member".to_owned(), format!("organization-member:{}", Uuid::from_u128(organization))];
    let roles = roles(&names, Switches::default());
    Subject::new(UserId(Uuid::from_u128(VISITOR)), roles, scope)
        .with_groups([GroupId(Uuid::from_u128(GROUP))])
}

#[test]
fn a_share_opens_one_app_or_port_for_a_user_or_a_group() {
    let colleague = visitor(ACME, Scope::all());
    let stranger = visitor(BETA, Scope::all());
    let by_user = Basis::Share(Person::User(UserId(Uuid::from_u128(VISITOR))));
    let by_group = |id| Basis::Share(Person::Group(GroupId(Uuid::from_u128(id))));
    for shared in [Shared::app(), Shared::port("8080"), Shared::port("8080s")] {
        for subject in [&colleague, &stranger] {
            for (people, basis) in [
                (People::NONE, None),
                (user(OTHER), None),
                (group(OTHER), None),
                (user(VISITOR), Some(by_user)),
                (group(GROUP), Some(by_group(GROUP))),
            ] {
                let expected = basis.ok_or(Reason::NotShared);
                assert_eq!(shared.with(people).opens(subject), expected, "{:?}", shared.asked);
            }
        }
        let everyone = shared.with(group(ACME));
        assert_eq!(everyone.opens(&colleague), Ok(by_group(ACME)), "all of the organization");
        assert_eq!(everyone.opens(&stranger), Err(Reason::NotShared));
        let denial = everyone.decide(None, Rules::default()).unwrap_err();
        assert_eq!(denial.reason(), Reason::NotSignedIn);
        let within = Shared { sharing: SharingLevel::Organization, ..shared.with(user(VISITOR)) };
        assert_eq!(within.opens(&stranger), Ok(by_user), "beside the level");
        assert_eq!(
            within.opens(&colleague),
            Ok(Basis::Level(SharingLevel::Organization)),
            "the level is asked first"
        );
    }
    let shared = Shared::app().with(user(OWNER));
    let owner = Subject::new(
        UserId(Uuid::from_u128(OWNER)),
        roles(
            &["member".to_owned(), format!("organization-member:{}", Uuid::from_u128(ACME))],
            Switches::default(),
        ),
        Scope::all(),
    );
    assert_eq!(shared.opens(&owner), Ok(Basis::Rights));
}

/// The level is that of the visitor's membership
#[test]
fn the_templates_widest_level_limits_shares_of_apps_and_ports() {
    let (colleague, stranger) = (visitor(ACME, Scope::all()), visitor(BETA, Scope::all()));
    let shares = [Shared::app(), Shared::port("8080")];
    for (shared, people) in
        shares.iter().flat_map(|shared| [(shared, user(VISITOR)), (shared, group(GROUP))])
    {
        for (widest, of_colleague, of_stranger) in [
            (SharingLevel::Owner, false, false),
            (SharingLevel::Organization, true, false),
            (SharingLevel::Authenticated, true, true),
            (SharingLevel::Public, true, true),
        ] {
            let shared = Shared { widest: Some(widest), ..shared.with(people.clone()) };
            for (subject, expected) in [(&colleague, of_colleague), (&stranger, of_stranger)] {
                let refused = shared.opens(subject).err();
                let reason = (!expected).then_some(Reason::ShareOverMaximum);
                assert_eq!(refused, reason, "{widest}: {:?}", shared.asked);
            }
            let is_shown = !shared.target(Rules::default()).people().is_empty();
            assert_eq!(is_shown, widest != SharingLevel::Owner, "to a decider of the host's own");
            let rules = Rules::default().enforce_max_port_sharing(false);
            assert!(shared.decide(Some(&stranger), rules).is_ok(), "{widest} is not enforced");
        }
    }
}

#[test]
fn some_things_are_never_shared_with_people() {
    let subject = visitor(ACME, Scope::all());
    let everyone = People::new(
        [UserId(Uuid::from_u128(VISITOR))],
        [GROUP, ACME].map(|id| GroupId(Uuid::from_u128(id))),
    );
    let app = Shared::app().with(everyone.clone());
    let terminal = Shared { asked: request(AccessMethod::Terminal), ..app.clone() };
    assert_eq!(terminal.opens(&subject), Err(Reason::NotShared));
    assert!(terminal.target(Rules::default()).people().is_empty());
    assert_eq!(
        Shared::port("8").with(everyone).opens(&subject),
        Err(Reason::ReservedPort),
        "a port that no app may use"
    );
    let dormant = Shared { dormant: true, ..app.clone() };
    assert_eq!(dormant.opens(&subject), Err(Reason::NotShared));
    let rules = Rules::default().disable_workspace_sharing(true);
    let denial = app.decide(Some(&subject), rules).unwrap_err();
    assert_eq!(denial.reason(), Reason::NotShared, "a deployment without sharing");

    // By path an app runs on the dashboard's host.
    let by_path = Shared { asked: request(AccessMethod::Path), ..app };
    let denial = by_path.decide(Some(&subject), Rules::default()).unwrap_err();
    assert_eq!(denial.reason(), Reason::PathAppOfAnother);
    assert_eq!(denial.warnings(), [Warning::ShareIgnoredByPath]);
    assert!(denial.warnings()[0].to_string().contains("--dangerous-allow-path-app-sharing"));
    let rules = Rules::default().allow_path_app_sharing(true);
    assert!(matches!(by_path.decide(Some(&subject), rules), Ok(Basis::Share(_))));
    let other = by_path.with(user(OTHER)).decide(Some(&subject), Rules::default()).unwrap_err();
    assert!(other.warnings().is_empty(), "others do not learn that it is shared");
}

#[test]
fn a_share_does_not_widen_the_scope_of_a_credential() {
    let shared = Shared::app().with(user(VISITOR));
    let opens = [true, true, false, false, false];
    for ((name, scope), expected) in scopes().into_iter().zip(opens) {
        let refused = shared.opens(&visitor(ACME, scope)).err();
        assert_eq!(refused, (!expected).then_some(Reason::OwnAppsRefused), "{name}");
    }
}

#[test]
fn bases_have_names() {
    let id = Uuid::nil();
    for (basis, name, text) in [
        (Basis::Rights, "rights", "a role or the access list of the workspace"),
        (Basis::Level(SharingLevel::Public), "sharing_level", "the sharing level `public`"),
        (
            Basis::Share(Person::User(UserId(id))),
            "shared_with_user",
            "a share with user 00000000-0000-0000-0000-000000000000",
        ),
        (
            Basis::Share(Person::Group(GroupId(id))),
            "shared_with_group",
            "a share with group 00000000-0000-0000-0000-000000000000",
        ),
        (Basis::OwnDecider, "own_decider", "the host's own rules"),
    ] {
        assert_eq!((basis.as_str(), &*basis.to_string()), (name, text));
    }
}

fn people() -> impl Strategy<Value = People> {
    let users = subsequence(vec![VISITOR, OTHER, OWNER], 0..=3);
    let groups = subsequence(vec![GROUP, ACME, BETA, OTHER], 0..=4);
    (users, groups).prop_map(|(users, groups)| {
        People::new(
            users.into_iter().map(|id| UserId(Uuid::from_u128(id))),
            groups.into_iter().map(|id| GroupId(Uuid::from_u128(id))),
        )
    })
}

fn subject() -> impl Strategy<Value = Option<Subject>> {
    let caller = (select(callers()), 0..5_usize, any::<bool>());
    caller.prop_map(|((_, identity), scope, is_in_group)| {
        identity.map(|(id, names)| {
            let roles = roles(&names, Switches::default());
            Subject::new(UserId(Uuid::from_u128(id)), roles, scopes().remove(scope).1)
                .with_groups(is_in_group.then_some(GroupId(Uuid::from_u128(GROUP))))
        })
    })
}

fn shared() -> impl Strategy<Value = Shared> {
    let asked = prop_oneof![
        select(&METHODS[..]).prop_map(request),
        select(vec!["8080", "8080s", "8"]).prop_map(|port| Shared::port(port).asked),
    ];
    let widest = prop_oneof![Just(None), select(&LEVELS[..]).prop_map(Some)];
    let facts = (asked, select(&LEVELS[..]), widest, any::<bool>());
    (facts, people()).prop_map(|((asked, sharing, widest, dormant), people)| Shared {
        asked,
        sharing,
        widest,
        dormant,
        people,
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<[bool; 4]>().prop_map(|flags| {
        Rules::default()
            .allow_path_app_sharing(flags[0])
            .allow_path_app_site_owner_access(flags[1])
            .disable_workspace_sharing(flags[2])
            .enforce_max_port_sharing(flags[3])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Laws of shares with people
    #[test]
    fn shares_only_add_what_a_level_could(
        shared in shared(),
        subject in subject(),
        rules in rules(),
        more in people(),
    ) {
        let subject = subject.as_ref();
        let decision = shared.decide(subject, rules);
        let before = shared.with(People::NONE).decide(subject, rules);
        let is_terminal = shared.asked.terminal().is_some();

        // Adding a share takes nothing away, and changes nothing that is open without it.
        let users = shared.people.users().iter().chain(more.users()).copied();
        let groups = shared.people.groups().iter().chain(more.groups()).copied();
        let grown = shared.with(People::new(users, groups)).decide(subject, rules);
        prop_assert!(decision.is_err() || grown.is_ok());
        if let Ok(basis) = before {
            prop_assert_eq!(&decision, &Ok(basis));
        }

        // It opens nothing that the level for all signed-in users would not open with the same
        // credential, so it cannot widen a scope.
        let level = shared.sharing.max(SharingLevel::Authenticated);
        let wider = shared.with(People::NONE).target(rules).with_sharing(level);
        if decision.is_ok() && !is_terminal {
            prop_assert!(decide(&wider, subject, rules).is_ok());
        }

        // It does not pass the template's maximum, and has no effect where it does not count.
        let is_forbidden = rules.enforce_max_port_sharing
            && shared.widest == Some(SharingLevel::Owner);
        if is_forbidden || rules.disable_workspace_sharing || shared.dormant || is_terminal
            || subject.is_none()
        {
            prop_assert_eq!(decision.is_ok(), before.is_ok());
        }

        // It has none for others: not even the reason changes.
        let is_named = subject.is_some_and(|subject| {
            let is_member = |id: &GroupId| subject.is_member_of(OrganizationId(id.0));
            let groups = shared.people.groups();
            shared.people.users().contains(&subject.id())
                || groups.contains(&GroupId(Uuid::from_u128(GROUP)))
                || groups.iter().any(is_member)
        });
        if !is_named {
            prop_assert_eq!(&decision, &before);
        }
    }
}
