use std::sync::Arc;

use super::rows::{
    AGAIN, ANN, ASLEEP, BEN, CID, DELETED, DEV, EVE, FRIENDS, GHOST, GONE, LAB, LEAVING, MAIN,
    OF_EVE, OF_GHOST, SIDE, STALE, STOPPED, UNBUILT, app_request, at, terminal_request, token_of,
};
use super::{
    Broken, BuildAgent, Checked, Rows, Workspace, holds, rules, same, sorted, users, worked,
};
use crate::app::{CorsBehavior, Reason, ResolveError, SharingLevel, Transition, WorkspaceFacts};
use crate::credential::SessionToken;
use crate::id::GroupId;
use crate::rbac::{BuiltInRoles, Switches};
use crate::{AgentId, AppRequest, Directory, Rules, Target, UserId, WorkspaceId, decide, resolve};

rules! {
    $
    /// A rule that every implementation of [`Directory`] keeps
    DirectoryRule of Directory;
    /// Checks all rules of [`Directory`], each with an implementation of its own that `make` returns
    fn directory;
    /// Makes a test of each rule of [`Directory`](crate::Directory)
    macro directory_conformance;

    /// A workspace is found by the names and by the ids of its owner and itself, in any mixture
    NamesAndIds = names_and_ids_lead_to_the_same_workspace over office,
    /// Names have no case
    NoCase = names_have_no_case over office,
    /// Names are compared as they are: without wildcards, and only the hyphenated form is an id
    UnknownNames = unknown_names_lead_nowhere over office,
    /// A workspace that is requested by id may belong to another user, and that is said
    AskedOwner = the_user_who_was_asked_for_is_named over office,
    /// A deleted user is not found by name, and the name may have a new user
    DeletedUser = the_name_of_a_deleted_user_is_the_next_ones over office,
    /// A deleted workspace is found neither by id nor by name
    DeletedWorkspace = a_deleted_workspace_is_not_found over office,
    /// A workspace without a build is not found
    Unbuilt = a_workspace_without_a_build_is_not_found over office,
    /// The agents are those of the newest build that are not deleted
    NewestBuild = the_agents_are_those_of_the_newest_build over office,
    /// What the newest build does is said: stopped workspaces and those that are being deleted
    /// open no apps
    Transition = what_the_newest_build_does_is_said over office,
    /// The times at which an agent connected are read as they are stored
    Contact = times_are_read_as_they_are_stored over office,
    /// An app is found on each agent, with its address and level; links elsewhere are marked
    Apps = apps_are_found_with_address_and_level over office,
    /// Of names that differ in case, the exact one is found as well
    ExactName = names_that_differ_in_case_are_distinct over office,
    /// A port is shared as its row says, and the template's widest level is known
    Ports = ports_are_shared_as_rows_and_template_say over office,
    /// An app or a port is shared with the users and groups of its rows: those of the workspace, the
    /// agent's exact name, and the app's exact slug or the port's number
    People = apps_and_ports_are_shared_with_the_people_of_rows over shared_with_people,
    /// A dormant workspace is marked as such
    Dormant = a_dormant_workspace_is_known_as_such over office,
    /// The template says which side answers other origins
    Cors = the_template_says_who_answers_other_origins over open_to_others,
    /// A terminal is found by its agent, if that belongs to the newest build of a workspace that
    /// exists
    Terminal = terminals_are_those_of_live_agents over office,
    /// The holders of tokens come with the workspace, and both decide
    Holders = workspace_and_holders_come_together over office,
    /// An unknown workspace hides no holder, and an unknown token no workspace
    Alone = what_is_unknown_hides_nothing_else over office,
    /// Access lists of users and of groups count
    Shared = access_lists_of_users_and_groups_count over shared,
}

async fn names_and_ids_lead_to_the_same_workspace(directory: &impl Directory) -> Checked {
    for user in ["ann".to_owned(), ANN.to_string(), ANN.to_string().to_uppercase()] {
        for workspace in ["dev".to_owned(), DEV.to_string(), DEV.to_string().to_uppercase()] {
            let what = format!("`{user}` and `{workspace}`");
            let facts = known(directory, (&user, &workspace, "", "open"), &what).await?;
            same(&facts.workspace.id, &DEV, &what)?;
            same(&facts.asked_owner, &ANN, &what)?;
            same(&facts.workspace.name, "dev", &what)?;
            same(&facts.workspace.owner, &ANN, &what)?;
            same(&facts.workspace.owner_name, "ann", &what)?;
            same(&facts.workspace.organization, &super::rows::ACME, &what)?;
        }
    }
    Ok(())
}

async fn names_have_no_case(directory: &impl Directory) -> Checked {
    for (user, workspace, id) in
        [("ANN", "DEV", DEV), ("Ann", "lab", LAB), ("ann", "LAB", LAB), ("eve", "Dev", OF_EVE)]
    {
        let what = format!("`{user}` and `{workspace}`");
        let facts = known(directory, (user, workspace, "", "code"), &what).await?;
        same(&facts.workspace.id, &id, &what)?;
    }
    Ok(())
}

async fn unknown_names_lead_nowhere(directory: &impl Directory) -> Checked {
    let (simple, braced) = (DEV.0.simple().to_string(), format!("{{{ANN}}}"));
    let (of_no_user, other) = (UserId(DEV.0).to_string(), WorkspaceId(ANN.0).to_string());
    for (user, workspace) in [
        ("fay", "dev"),
        ("ann", "production"),
        ("a_n", "dev"),
        ("ann", "de%"),
        ("%", "dev"),
        ("ann@example.com", "dev"),
        ("ann\0", "dev"),
        ("ann", "dev\0"),
        (" ann", "dev"),
        ("ann", "dev "),
        ("ann", &simple),
        (&braced, "dev"),
        (&of_no_user, "dev"),
        ("ann", &other),
        ("ben", "dev"),
    ] {
        unknown(directory, (user, workspace, "", "open")).await?;
    }
    for (agent, slug) in [("", "open\0"), ("main", "ope_"), ("main\0", "open"), ("ma%", "open")] {
        let (request, facts) = asked(directory, ("ann", "dev", agent, slug)).await?;
        let found = resolved(&request, &facts).err().is_some_and(ResolveError::is_not_found);
        holds(found, &format!("`{agent}` and `{slug}` are unknown"))?;
    }
    Ok(())
}

async fn the_user_who_was_asked_for_is_named(directory: &impl Directory) -> Checked {
    for other in ["ben", &*BEN.to_string()] {
        let (request, facts) = asked(directory, (other, &DEV.to_string(), "main", "open")).await?;
        let refused = resolved(&request, &facts).err();
        same(&refused, &Some(ResolveError::NotOwner), &format!("Ann's workspace under `{other}`"))?;
    }
    Ok(())
}

async fn the_name_of_a_deleted_user_is_the_next_ones(directory: &impl Directory) -> Checked {
    unknown(directory, ("ghost", "dev", "", "code")).await?;
    let facts = known(directory, ("eve", "dev", "", "code"), "`eve`").await?;
    same(&facts.asked_owner, &EVE, "`eve`")?;
    let facts = known(directory, (&GHOST.to_string(), "dev", "", "code"), "the ghost's id").await?;
    same(&facts.workspace.id, &OF_GHOST, "the workspace of a deleted user, by id")
}

async fn a_deleted_workspace_is_not_found(directory: &impl Directory) -> Checked {
    unknown(directory, ("ann", &GONE.to_string(), "", "code")).await?;
    let facts = known(directory, ("ann", "again", "", "code"), "the name of a deleted one").await?;
    same(&facts.workspace.id, &AGAIN, "the name of a deleted one")
}

async fn a_workspace_without_a_build_is_not_found(directory: &impl Directory) -> Checked {
    unknown(directory, ("ann", "unbuilt", "", "code")).await?;
    unknown(directory, ("ann", &UNBUILT.to_string(), "", "code")).await
}

async fn the_agents_are_those_of_the_newest_build(directory: &impl Directory) -> Checked {
    let facts = known(directory, ("ann", "dev", "", "open"), "dev").await?;
    let agents = sorted(facts.agents.iter().map(|agent| (agent.id, agent.name.clone())));
    let expected = [(MAIN, "main".to_owned()), (SIDE, "side".to_owned())];
    same(&agents[..], &expected[..], "the agents of the newest build")?;
    for (agent, slug) in [
        (STALE.to_string(), "past"),
        ("stale".to_owned(), "past"),
        (String::new(), "past"),
        (DELETED.to_string(), "vanished"),
        (String::new(), "vanished"),
    ] {
        let (request, facts) = asked(directory, ("ann", "dev", &agent, slug)).await?;
        let found = resolved(&request, &facts).err().is_some_and(ResolveError::is_not_found);
        holds(found, &format!("`{slug}` of `{agent}` has gone"))?;
    }
    Ok(())
}

async fn what_the_newest_build_does_is_said(directory: &impl Directory) -> Checked {
    for (name, id, transition, why) in [
        ("stopped", STOPPED, Transition::Stop, ResolveError::Stopped),
        ("leaving", LEAVING, Transition::Delete, ResolveError::NoAgent),
    ] {
        for agent in ["", "main"] {
            let (request, facts) = asked(directory, ("ann", name, agent, "code")).await?;
            same(&resolved(&request, &facts).err(), &Some(why), name)?;
            let facts = facts.ok_or_else(|| format!("`{name}` is not found"))?;
            same(&facts.workspace.id, &id, name)?;
            same(&facts.transition, &transition, name)?;
        }
    }
    let facts = known(directory, ("ann", "dev", "", "open"), "dev").await?;
    same(&facts.transition, &Transition::Start, "a workspace that runs")
}

async fn times_are_read_as_they_are_stored(directory: &impl Directory) -> Checked {
    let rows = Rows::office();
    let stored: Vec<_> = agents(&rows.workspaces).map(|row| &row.agent).collect();
    let facts = known(directory, ("ann", "dev", "", "open"), "dev").await?;
    for agent in &facts.agents {
        let row = stored.iter().find(|row| row.id == agent.id).map(|row| row.contact);
        same(&Some(agent.contact), &row, &agent.name)?;
    }
    holds(facts.agents.iter().any(|agent| agent.contact.created_at == at(0)), "times are known")
}

async fn apps_are_found_with_address_and_level(directory: &impl Directory) -> Checked {
    for (agent, slug, of, level) in [
        ("main", "open", MAIN, SharingLevel::Public),
        ("main", "signed-in", MAIN, SharingLevel::Authenticated),
        ("main", "team", MAIN, SharingLevel::Organization),
        ("main", "closed", MAIN, SharingLevel::Owner),
        ("", "closed", MAIN, SharingLevel::Owner),
        ("", "aside", SIDE, SharingLevel::Owner),
        (&*SIDE.to_string(), "aside", SIDE, SharingLevel::Owner),
    ] {
        let what = format!("`{slug}` of `{agent}`");
        let (request, facts) = asked(directory, ("ann", "dev", agent, slug)).await?;
        let target = resolved(&request, &facts).map_err(|error| format!("{what}: {error}"))?;
        same(&target.agent().id, &of, &what)?;
        same(&target.sharing(), &level, &what)?;
        same(target.url(), "http://127.0.0.1:8080", &what)?;
        let rows = Rows::office();
        let row = agents(&rows.workspaces).flat_map(|row| &row.apps).find(|app| app.slug == slug);
        same(&target.app(), &row.map(|app| app.id), &what)?;
    }
    for (agent, slug, why) in [
        ("main", "elsewhere", ResolveError::NoApp),
        ("main", "command", ResolveError::NoUrl),
        ("main", "nothing", ResolveError::NoApp),
        ("main", "aside", ResolveError::NoApp),
        ("third", "open", ResolveError::NoAgent),
    ] {
        let (request, facts) = asked(directory, ("ann", "dev", agent, slug)).await?;
        same(&resolved(&request, &facts).err(), &Some(why), &format!("`{slug}` of `{agent}`"))?;
    }
    Ok(())
}

async fn names_that_differ_in_case_are_distinct(directory: &impl Directory) -> Checked {
    for (agent, slug, found) in [
        ("Main", "code", "code"),
        ("MAIN", "Code", "Code"),
        ("", "code", "code"),
        ("", "Code", "Code"),
        ("", "code server", "Code Server"),
        ("main", "CODE SERVER", "Code Server"),
    ] {
        let what = format!("`{slug}` of `{agent}`");
        let (request, facts) = asked(directory, ("ann", "lab", agent, slug)).await?;
        let app = resolved(&request, &facts).map_err(|error| format!("{what}: {error}"))?.app();
        let facts = facts.as_deref().map_or(&[][..], |facts| &facts.apps);
        let name = facts.iter().find(|known| Some(known.id) == app).map(|app| &*app.slug);
        same(&name, &Some(found), &what)?;
    }
    Ok(())
}

async fn ports_are_shared_as_rows_and_template_say(directory: &impl Directory) -> Checked {
    for (workspace, agent, port, level) in [
        ("dev", "main", "8080", SharingLevel::Authenticated),
        ("dev", "main", "8080s", SharingLevel::Authenticated),
        ("dev", "main", "8081", SharingLevel::Organization),
        ("dev", "main", "8082", SharingLevel::Owner),
        ("dev", "side", "8080", SharingLevel::Owner),
        ("lab", "Main", "8443", SharingLevel::Public),
        ("lab", "main", "8443S", SharingLevel::Public),
        ("lab", "main", "8444", SharingLevel::Authenticated),
        ("lab", "Main", "8445", SharingLevel::Owner),
    ] {
        let what = format!("port {port} of `{agent}` in `{workspace}`");
        let (request, facts) = asked(directory, ("ann", workspace, agent, port)).await?;
        let target = resolved(&request, &facts).map_err(|error| format!("{what}: {error}"))?;
        same(&target.sharing(), &level, &what)?;
    }
    Ok(())
}

async fn apps_and_ports_are_shared_with_the_people_of_rows(directory: &impl Directory) -> Checked {
    let none: (&[UserId], &[GroupId]) = (&[], &[]);
    for (workspace, agent, slug, (users, groups)) in [
        ("dev", "side", "aside", (&[BEN, CID][..], &[FRIENDS][..])),
        ("dev", "", "ASIDE", (&[BEN, CID], &[FRIENDS])),
        ("dev", "main", "8082", (&[], &[FRIENDS])),
        ("dev", "MAIN", "8082s", (&[], &[FRIENDS])),
        ("dev", "main", "8083", (&[CID], &[])),
        ("dev", "side", "8082", none),
        ("dev", "main", "closed", none),
        ("dev", "main", "8080", none),
        ("lab", "", "Code", (&[BEN], &[])),
        ("lab", "", "code", none),
        ("lab", "Main", "8082", none),
    ] {
        let what = format!("the people of `{slug}` of `{agent}` in `{workspace}`");
        let (request, facts) = asked(directory, ("ann", workspace, agent, slug)).await?;
        let target = resolved(&request, &facts).map_err(|error| format!("{what}: {error}"))?;
        let people = target.people();
        same(&sorted(people.users()), &sorted(users), &what)?;
        same(&sorted(people.groups()), &sorted(groups), &what)?;
    }
    Ok(())
}

async fn a_dormant_workspace_is_known_as_such(directory: &impl Directory) -> Checked {
    let facts = known(directory, ("ann", "asleep", "", "code"), "asleep").await?;
    same(&(facts.workspace.id, facts.workspace.dormant), &(ASLEEP, true), "asleep")?;
    let facts = known(directory, ("ann", "dev", "", "open"), "dev").await?;
    same(&facts.workspace.dormant, &false, "dev")
}

async fn the_template_says_who_answers_other_origins(directory: &impl Directory) -> Checked {
    let facts = known(directory, ("ann", "dev", "", "open"), "dev").await?;
    same(&facts.cors, &CorsBehavior::Passthru, "dev")?;
    let facts = known(directory, ("ann", "lab", "", "code"), "lab").await?;
    same(&facts.cors, &CorsBehavior::Simple, "lab")
}

async fn terminals_are_those_of_live_agents(directory: &impl Directory) -> Checked {
    for (agent, workspace) in [(MAIN, "dev"), (SIDE, "dev")] {
        let (request, facts) = terminal(directory, agent).await?;
        let target = resolved(&request, &facts);
        let target = target.map_err(|error| format!("the terminal of `{agent}`: {error}"))?;
        same(&target.agent().id, &agent, "the agent of a terminal")?;
        same(&target.workspace().name, workspace, "the workspace of a terminal")?;
        same(&target.workspace().owner_name, "ann", "the owner of a terminal")?;
    }
    let rows = Rows::office();
    let deleted = rows.workspaces.iter().filter(|workspace| workspace.id == GONE);
    let unknown = AgentId(ANN.0);
    for agent in agents(deleted).map(|row| row.agent.id).chain([STALE, DELETED, unknown]) {
        let (request, facts) = terminal(directory, agent).await?;
        let refused = resolved(&request, &facts).err();
        holds(refused.is_some(), &format!("the agent {agent} has no terminal"))?;
    }
    Ok(())
}

async fn workspace_and_holders_come_together(directory: &impl Directory) -> Checked {
    for (visitor, slug, reason) in [
        (Some(ANN), "closed", None),
        (Some(BEN), "closed", Some(Reason::NotShared)),
        (Some(BEN), "team", None),
        (Some(CID), "team", Some(Reason::NotMember)),
        (Some(CID), "signed-in", None),
        (None, "signed-in", Some(Reason::NotSignedIn)),
        (None, "open", None),
    ] {
        let denied = decided(directory, visitor, ("dev", slug)).await?;
        same(&denied, &reason, &format!("{visitor:?} and `{slug}`"))?;
    }
    Ok(())
}

async fn what_is_unknown_hides_nothing_else(directory: &impl Directory) -> Checked {
    let request = request(("fay", "dev\0", "", "open"))?;
    let facts = directory.app_access(&request, &[token_of(ANN)]).await;
    let facts = worked(facts, "an unknown workspace")?;
    holds(facts.workspace.is_none(), "the workspace is unknown")?;
    same(&users(&facts.holders), &vec![ANN], "the holder beside an unknown workspace")?;

    let unknown = SessionToken::generate(|bytes| bytes.fill(0x9c));
    let request = self::request(("ann", "dev", "", "open"))?;
    for (tokens, expected) in [
        (vec![unknown.clone()], vec![]),
        (vec![], vec![]),
        (vec![token_of(CID), unknown, token_of(ANN)], vec![ANN, CID]),
    ] {
        let facts = worked(directory.app_access(&request, &tokens).await, "several tokens")?;
        holds(facts.workspace.is_some(), "the workspace is known")?;
        same(&users(&facts.holders), &expected, "the holders of known tokens")?;
    }
    Ok(())
}

async fn access_lists_of_users_and_groups_count(directory: &impl Directory) -> Checked {
    for (visitor, workspace, slug, denied) in [
        (BEN, "dev", "closed", None),
        (CID, "dev", "closed", Some(Reason::NotShared)),
        (BEN, "again", "code", None),
        (CID, "again", "code", Some(Reason::NotShared)),
        (BEN, "lab", "code", Some(Reason::NotShared)),
    ] {
        let reason = decided(directory, Some(visitor), (workspace, slug)).await?;
        same(&reason, &denied, &format!("{visitor} and `{slug}` of `{workspace}`"))?;
    }
    Ok(())
}

type Facts = (AppRequest, Option<Arc<WorkspaceFacts>>);

fn request((user, workspace, agent, slug): (&str, &str, &str, &str)) -> Result<AppRequest, String> {
    app_request(user, workspace, agent, slug).ok_or_else(|| format!("no request for `{slug}`"))
}

/// The facts of a request for an app or a port, without tokens
async fn asked(
    directory: &impl Directory,
    names: (&str, &str, &str, &str),
) -> Result<Facts, String> {
    let request = request(names)?;
    let facts = worked(directory.app_access(&request, &[]).await, &format!("{names:?}"))?;
    Ok((request, facts.workspace))
}

/// The facts of a request for a terminal
async fn terminal(directory: &impl Directory, agent: AgentId) -> Result<Facts, String> {
    let request = terminal_request(agent).ok_or("no request for a terminal")?;
    let facts = worked(directory.app_access(&request, &[]).await, "a terminal")?;
    Ok((request, facts.workspace))
}

async fn known(
    directory: &impl Directory,
    names: (&str, &str, &str, &str),
    what: &str,
) -> Result<Arc<WorkspaceFacts>, String> {
    asked(directory, names).await?.1.ok_or_else(|| format!("{what}: nothing is found"))
}

async fn unknown(directory: &impl Directory, names: (&str, &str, &str, &str)) -> Checked {
    let found = asked(directory, names).await?.1.map(|facts| facts.workspace.id);
    same(&found, &None, &format!("{names:?}"))
}

fn resolved<'a>(
    request: &'a AppRequest,
    facts: &'a Option<Arc<WorkspaceFacts>>,
) -> Result<Target<'a>, ResolveError> {
    resolve(request, facts.as_deref(), Rules::default())
}

/// Why the visitor may not open an app of Ann's
async fn decided(
    directory: &impl Directory,
    visitor: Option<UserId>,
    (workspace, slug): (&str, &str),
) -> Result<Option<Reason>, String> {
    let request = request(("ann", workspace, "", slug))?;
    let tokens: Vec<_> = visitor.map(token_of).into_iter().collect();
    let facts = worked(directory.app_access(&request, &tokens).await, slug)?;
    let found: Vec<_> = visitor.into_iter().collect();
    same(&users(&facts.holders), &found, "the holders")?;
    let built_in = BuiltInRoles::new(Switches::default());
    let subject = facts.holders.first().map(|holder| holder.subject(&built_in));
    let target = resolve(&request, facts.workspace.as_deref(), Rules::default());
    let target = target.map_err(|error| format!("`{slug}`: {error}"))?;
    Ok(decide(&target, subject.as_ref(), Rules::default()).err().map(|denial| denial.reason()))
}

/// The agents that all builds of these workspaces created
fn agents<'a>(
    workspaces: impl IntoIterator<Item = &'a Workspace>,
) -> impl Iterator<Item = &'a BuildAgent> {
    workspaces.into_iter().flat_map(|row| &row.builds).flat_map(|row| &row.agents)
}
