use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;

use app_audit::Act;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::MemoryStore;
use super::labels::label;
use crate::Error;
use crate::acts::of_import;
use crate::fleet::{Fleet, with_tables};
use crate::import::{
    Change, Counts, Details, Difference, Import, Name, Named, Outcome, Rows, Session, Table,
};

impl Import for MemoryStore {
    type Session<'a> = MemoryImport<'a>;

    async fn begin_import(&self, dry_run: bool) -> Result<MemoryImport<'_>, Error> {
        let (staged, differences) = (Staged::default(), Vec::new());
        Ok(MemoryImport { store: self, dry_run, staged, differences, applied: Counts::default() })
    }
}

/// An import into a store in memory
#[derive(Debug)]
pub struct MemoryImport<'a> {
    store: &'a MemoryStore,
    dry_run: bool,
    staged: Staged,
    differences: Vec<Difference>,
    applied: Counts,
}

/// Rows to import, as JSON
#[derive(Debug, Default)]
struct Staged {
    wanted: BTreeMap<Table, Vec<Wanted>>,
    exactly: BTreeMap<(Table, &'static str), Vec<Uuid>>,
}

#[derive(Debug)]
struct Wanted {
    row: Map<String, Value>,
    keep: u32,
    entry: u32,
}

macro_rules! stage {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        impl Staged {
            fn add(&mut self, rows: &Rows) -> Result<(), Error> {
                $(for wanted in &rows.$table {
                    let row = serde_json::to_value(&wanted.row).map_err(Error::query)?;
                    let Value::Object(row) = row else { continue };
                    let of_table = self.wanted.entry(Table::$variant).or_default();
                    of_table.push(Wanted { row, keep: wanted.keep, entry: wanted.entry });
                })*
                for (owned, owners) in &rows.exactly {
                    self.exactly.entry(*owned).or_default().extend_from_slice(owners);
                }
                Ok(())
            }
        }
    };
}

with_tables!(stage);

impl Session for MemoryImport<'_> {
    async fn find(
        &mut self,
        kind: Named,
        names: &[Name],
        with_deleted: bool,
    ) -> Result<Vec<Option<Uuid>>, Error> {
        let all = self.store.read().rows()?;
        let (table, column, parent) = match kind {
            Named::Organization => (Table::Organizations, "name", None),
            Named::User => (Table::Users, "username", None),
            Named::Group => (Table::Groups, "name", Some("organization_id")),
            Named::Template => (Table::Templates, "name", Some("organization_id")),
        };
        let text = |row: &Map<String, Value>, column| row.get(column)?.as_str().map(str::to_owned);
        let mut known = HashMap::new();
        for row in all.get(&table).into_iter().flat_map(BTreeMap::values) {
            let id = text(row, "id").and_then(|id| Uuid::try_parse(&id).ok());
            let of = match parent {
                Some(column) => text(row, column).and_then(|id| Uuid::try_parse(&id).ok()),
                None => Some(Uuid::nil()),
            };
            let (Some(id), Some(parent), Some(name)) = (id, of, text(row, column)) else {
                continue;
            };
            let name = if kind == Named::User { name.to_lowercase() } else { name };
            let is_deleted = row.get("deleted").and_then(Value::as_bool).unwrap_or_default();
            let rank = (is_deleted, id);
            if !is_deleted || with_deleted {
                let best = known.entry(Name { parent, name }).or_insert(rank);
                *best = rank.min(*best);
            }
        }
        Ok(names.iter().map(|name| known.get(name).map(|(_, id)| *id)).collect())
    }

    async fn stage(&mut self, rows: &Rows) -> Result<(), Error> {
        self.staged.add(rows)
    }

    async fn apply(
        &mut self,
        details: Details,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Outcome, Error> {
        let mut all = self.store.read().rows()?;
        check_keys(&self.staged)?;
        let differences = import(&self.staged, &mut all);
        let labels = differences.iter().map(|(table, row, _)| label(*table, row, &all));
        let labels: Vec<_> = labels.collect();
        refuse_namesakes(&fleet_of(all)?)?;

        let mut outcome = Outcome::default();
        for (table, wanted) in &self.staged.wanted {
            outcome.tables.entry(*table).or_default().unchanged =
                wanted.len().try_into().unwrap_or(0);
        }
        for (table, _) in self.staged.exactly.keys() {
            outcome.tables.entry(*table).or_default();
        }
        self.differences.clear();
        for ((table, _, difference), label) in differences.into_iter().zip(labels) {
            let counts = outcome.tables.entry(table).or_default();
            let count = counts.add(&difference.change);
            if matches!(details, Details::First(most) if count > u64::from(most)) {
                continue;
            }
            self.differences.push(difference.labelled(label));
        }
        progress(self.staged.wanted.values().map(Vec::len).sum::<usize>().try_into().unwrap_or(0));
        self.applied = outcome.total();
        Ok(outcome)
    }

    async fn differences(&mut self) -> Result<Vec<Difference>, Error> {
        Ok(mem::take(&mut self.differences))
    }

    async fn finish(self, act: Option<Act>) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        let mut tables = self.store.write();
        // Once more, as other rows may have changed since they were compared.
        let mut all = tables.rows()?;
        import(&self.staged, &mut all);
        let fleet = fleet_of(all)?;
        refuse_namesakes(&fleet)?;
        tables.replace(&fleet);
        if let Some(act) = act.and_then(|act| of_import(act, self.applied)) {
            self.store.acts.add(&[act]);
        }
        Ok(())
    }
}

impl Counts {
    /// Counts a difference, and returns how many there are of its kind
    const fn add(&mut self, change: &Change) -> u64 {
        let count = match change {
            Change::Added => {
                self.unchanged = self.unchanged.saturating_sub(1);
                &mut self.added
            }
            Change::Changed(_) => {
                self.unchanged = self.unchanged.saturating_sub(1);
                &mut self.changed
            }
            Change::Removed => &mut self.removed,
        };
        *count += 1;
        *count
    }
}

/// The rows of each table, by key
pub(super) type All = BTreeMap<Table, BTreeMap<String, Map<String, Value>>>;

/// Does the same as an import into a database
fn import(staged: &Staged, all: &mut All) -> Vec<(Table, Map<String, Value>, Difference)> {
    let mut differences = Vec::new();
    for ((table, column), owners) in &staged.exactly {
        let owners: HashSet<_> = owners.iter().map(ToString::to_string).collect();
        let of_table = staged.wanted.get(table).into_iter().flatten();
        let wanted: HashSet<_> = of_table.map(|wanted| key(*table, &wanted.row)).collect();
        all.entry(*table).or_default().retain(|key, row| {
            let owned = row
                .get(*column)
                .and_then(Value::as_str)
                .is_some_and(|owner| owners.contains(owner));
            let removed = owned && !wanted.contains(key);
            if removed {
                let difference = Difference::of(*table, row, Change::Removed);
                differences.push((*table, row.clone(), difference));
            }
            !removed
        });
    }
    for (table, wanted) in &staged.wanted {
        for Wanted { row: should, keep, .. } in wanted {
            let of_table = all.entry(*table).or_default();
            let row = of_table.entry(key(*table, should));
            let is = match &row {
                std::collections::btree_map::Entry::Occupied(row) => Some(row.get()),
                std::collections::btree_map::Entry::Vacant(_) => None,
            };
            let Some(difference) = Difference::between(*table, *keep, is, should) else { continue };
            let keep = if is.is_some() { *keep } else { 0 };
            let fields = table.fields().iter().enumerate().filter(|(n, _)| keep & 1 << n == 0);
            let set =
                fields.filter_map(|(_, field)| should.get_key_value(crate::import::column(field)));
            row.or_default().extend(set.map(|(column, value)| (column.clone(), value.clone())));
            differences.push((*table, should.clone(), difference));
        }
    }
    // As a database returns them: table by table.
    differences.sort_by_key(|(table, ..)| *table);
    differences
}

fn check_keys(staged: &Staged) -> Result<(), Error> {
    for (table, wanted) in &staged.wanted {
        let mut keys = HashSet::new();
        for Wanted { row, entry, .. } in wanted {
            let key = key(*table, row);
            if !keys.insert(key.clone()) {
                let key = key.replace('"', "");
                return Err(Error::RepeatedRow { table: table.name(), key, entry: *entry });
            }
        }
    }
    Ok(())
}

pub(super) fn key(table: Table, row: &Map<String, Value>) -> String {
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
