use app_authz::Rules;
use app_authz::rbac::BuiltInRoles;
use serde_json::json;
use store::sharing::{
    Edit, ShareError, ShareRequest, ShareRow, Sharing, change, explain, find_workspace,
};

use super::acts::{ActKind, of_operator};
use super::database::{configure, with_database, with_store};
use super::error::CommandError;
use super::output::{print, print_json, printable, report_cut};
use crate::cli::{ShareArgs, ShareChangeArgs, ShareCommand};
use crate::clock::system_clock;

/// Lists, changes and explains with whom apps and ports are shared by name
pub(super) async fn run(args: ShareArgs) -> Result<(), CommandError> {
    match args.command {
        ShareCommand::Add(args) => edit(Edit::Add, args).await,
        ShareCommand::Remove(args) => edit(Edit::Remove, args).await,
        ShareCommand::Explain { workspace, app, session, agent, json, config } => {
            let mut asked = ShareRequest::of(&workspace, &app)?;
            asked.agent = agent;
            let config = configure(config)?;
            let apps = config.apps.as_ref();
            let rules = apps.map_or_else(Rules::default, |apps| apps.rules);
            let roles = BuiltInRoles::new(apps.map(|apps| apps.switches).unwrap_or_default());
            let answer = with_database(&config, async |store| {
                Ok(explain(store, &asked, &session, rules, &roles).await?)
            });
            let answer = answer.await?;
            if json { print_json([answer]) } else { print(&[answer.to_string()]) }
        }
        ShareCommand::List { workspace, json, config } => {
            let rows = with_store(config, async |store| match &workspace {
                Some(name) => {
                    let facts = find_workspace(store, &ShareRequest::of(name, "app")?).await?;
                    Ok(store.shares(Some(facts.workspace.id)).await?)
                }
                None => Ok(store.shares(None).await?),
            });
            let rows = rows.await?;
            report_cut(rows.len());
            if json {
                return print_json(&rows);
            }
            let lines = rows.iter().map(|row| printable(&row.to_string()));
            print(&std::iter::once(ShareRow::heading()).chain(lines).collect::<Vec<_>>())
        }
    }
}

async fn edit(edit: Edit, args: ShareChangeArgs) -> Result<(), CommandError> {
    let mut asked = ShareRequest::of(&args.workspace, &args.app)?;
    (asked.edit, asked.agent, asked.users, asked.groups) =
        (edit, args.agent, args.users, args.groups);
    let config = configure(args.config)?;
    let rules = config.apps.as_ref().map_or_else(Rules::default, |apps| apps.rules);
    let changed = with_database(&config, async |store| {
        let (facts, act) =
            (find_workspace(store, &asked).await?, of_operator(ActKind::ShareChange));
        Ok(change(store, &facts, &asked, rules, (None, system_clock()()), &act).await?.1)
    });
    let changed = changed.await?;
    let (added, removed) = (changed.added.len(), changed.removed.len());
    match args.json {
        true => print_json([json!({ "added": added, "removed": removed })]),
        false => print(&[format!("added: {added}, removed: {removed}")]),
    }
}

impl From<ShareError> for CommandError {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Store(error) => error.into(),
            error => Self::Usage(error.to_string()),
        }
    }
}
