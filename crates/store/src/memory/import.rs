use std::collections::{BTreeMap, HashSet};

use app_audit::Act;
use serde_json::{Map, Value};

use super::MemoryStore;
use super::tables::Tables;
use crate::Error;
use crate::acts::of_import;
use crate::fleet::Fleet;
use crate::import::{Change, Difference, Import, Rows, Table};

impl Import for MemoryStore {
    async fn import_recorded(
        &self,
        rows: &Rows,
        dry_run: bool,
        act: Option<Act>,
    ) -> Result<Vec<Difference>, Error> {
        let mut tables = self.write();
        let mut all = tables.rows()?;
        let differences = import(rows, &mut all);
        let fleet = fleet_of(all)?;
        refuse_namesakes(&fleet)?;
        if !dry_run {
            *tables = Tables::default();
            tables.load(&fleet);
            if let Some(act) = act.and_then(|act| of_import(act, &differences)) {
                self.acts.add(&[act]);
            }
        }
        Ok(differences)
    }
}

/// The rows of each table, by key
pub(super) type All = BTreeMap<Table, BTreeMap<String, Map<String, Value>>>;

/// Does the same as an import into a database
fn import(rows: &Rows, all: &mut All) -> Vec<Difference> {
    let mut differences = Vec::new();
    for ((table, column), owners) in &rows.exactly {
        let owners: HashSet<_> = owners.iter().map(ToString::to_string).collect();
        let of_table = rows.wanted.iter().filter(|wanted| wanted.table == *table);
        let wanted: HashSet<_> = of_table.map(|wanted| key(*table, &wanted.row)).collect();
        all.entry(*table).or_default().retain(|key, row| {
            let owned = row
                .get(*column)
                .and_then(Value::as_str)
                .is_some_and(|owner| owners.contains(owner));
            let removed = owned && !wanted.contains(key);
            if removed {
                differences.push(Difference::of(*table, row, Change::Removed));
            }
            !removed
        });
    }
    let mut wanted: Vec<_> = rows.wanted.iter().collect();
    wanted.sort_by_key(|wanted| wanted.table);
    for wanted in wanted {
        let of_table = all.entry(wanted.table).or_default();
        let row = of_table.entry(key(wanted.table, &wanted.row));
        let is = match &row {
            std::collections::btree_map::Entry::Occupied(row) => Some(row.get()),
            std::collections::btree_map::Entry::Vacant(_) => None,
        };
        let Some(difference) = Difference::between(wanted, is, &wanted.row) else { continue };
        let keep = if is.is_some() { &wanted.keep[..] } else { &[] };
        let row = row.or_default();
        let set = wanted.row.iter().filter(|(column, _)| !keep.contains(&column.as_str()));
        row.extend(set.map(|(column, value)| (column.clone(), value.clone())));
        differences.push(difference);
    }
    differences
}

fn key(table: Table, row: &Map<String, Value>) -> String {
    let columns = table.key().iter().map(|column| row.get(*column).unwrap_or(&Value::Null));
    columns.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The rows of a fleet
pub(super) fn rows_of(fleet: &Fleet) -> Result<All, Error> {
    let tables = serde_json::to_value(fleet).map_err(Error::query)?;
    let mut all = All::new();
    for &table in Table::ALL {
        let Some(Value::Array(rows)) = tables.get(table.name()) else { continue };
        let rows = rows.iter().filter_map(Value::as_object);
        all.insert(table, rows.map(|row| (key(table, row), row.clone())).collect());
    }
    Ok(all)
}

fn fleet_of(all: All) -> Result<Fleet, Error> {
    let rows = |rows: BTreeMap<String, Map<String, Value>>| rows.into_values().map(Value::Object);
    let tables: Map<String, Value> = all
        .into_iter()
        .map(|(table, of_table)| (table.name().to_owned(), rows(of_table).collect()))
        .collect();
    serde_json::from_value(Value::Object(tables)).map_err(Error::query)
}

/// What the unique indexes of a database refuse
fn refuse_namesakes(fleet: &Fleet) -> Result<(), Error> {
    let taken = |table: &str, name: &str| {
        Err(Error::query(format!("there is another `{name}` in {table}")))
    };
    let mut names = HashSet::new();
    for user in fleet.users.iter().filter(|user| !user.deleted) {
        if !names.insert(user.username.to_lowercase()) {
            return taken("users", &user.username);
        }
    }
    let mut names = HashSet::new();
    for workspace in fleet.workspaces.iter().filter(|workspace| !workspace.deleted) {
        if !names.insert((workspace.owner_id, workspace.name.to_lowercase())) {
            return taken("workspaces", &workspace.name);
        }
    }
    let mut names = HashSet::new();
    for proxy in fleet.workspace_proxies.iter().filter(|proxy| !proxy.deleted) {
        if !names.insert(proxy.name.to_lowercase()) {
            return taken("workspace_proxies", &proxy.name);
        }
    }
    Ok(())
}
