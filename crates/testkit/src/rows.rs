use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use store::fleet::Fleet;
use uuid::Uuid;

use crate::Release;
use crate::catalog::{Catalog, Column, Table};

/// Rows by table, in the columns of the newest release or of a [`Fleet`]
///
/// A column that a row lacks gets the table's default. A column without a default gets a value that
/// a control plane could have written.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    tables: BTreeMap<String, Vec<Row>>,
}

type Row = Map<String, Value>;

impl Rows {
    /// The rows of a fleet
    ///
    /// # Panics
    ///
    /// Panics if the fleet cannot be written as JSON, which is a bug.
    #[must_use]
    #[allow(clippy::unwrap_used)]
    pub fn of(fleet: &Fleet) -> Self {
        let tables = serde_json::from_value(serde_json::to_value(fleet).unwrap()).unwrap();
        Self { tables }
    }

    /// Adds a row: a JSON object with a member for each column
    ///
    /// # Panics
    ///
    /// Panics if `row` is not an object.
    pub fn add(&mut self, table: &str, row: Value) {
        let Value::Object(row) = row else { panic!("a row of {table} is not an object") };
        self.tables.entry(table.to_owned()).or_default().push(row);
    }

    /// Adds further rows
    pub fn extend(&mut self, other: Self) {
        for (table, rows) in other.tables {
            self.tables.entry(table).or_default().extend(rows);
        }
    }

    /// Changes the rows of a table, each an object with a member for each column
    pub fn change(&mut self, table: &str, mut change: impl FnMut(&mut Map<String, Value>)) {
        self.tables.entry(table.to_owned()).or_default().iter_mut().for_each(&mut change);
    }

    /// The statements that insert the rows in a release's tables
    pub(crate) fn statements(mut self, release: Release) -> Result<String, Refusal> {
        let catalog = Catalog::get();
        self.add_versions();
        self.add_secrets(release);
        let user = self.rows("users").first().and_then(|row| row.get("id")).cloned();
        let mut statements = String::new();
        for (name, table) in catalog.tables(release) {
            let of_table = OfTable { release, name, table, user: user.as_ref() };
            let mut sets: Vec<(BTreeSet<String>, Vec<Value>)> = Vec::new();
            for row in self.tables.remove(name).unwrap_or_default() {
                let row = of_table.fit(row)?;
                let columns = row.keys().cloned().collect();
                match sets.last_mut() {
                    Some((same, rows)) if *same == columns => rows.push(row.into()),
                    _ => sets.push((columns, vec![row.into()])),
                }
            }
            for (columns, rows) in sets {
                let columns: Vec<_> = columns.iter().map(|name| format!("\"{name}\"")).collect();
                insert(name, &columns.join(", "), rows, &mut statements);
            }
        }
        // Not the control plane's, and the same beside each release.
        let shares = self.tables.remove("authd_shares").unwrap_or_default();
        let shares = shares.into_iter().map(Value::Object).collect();
        insert("authd_shares", "*", shares, &mut statements);
        match self.tables.into_iter().find(|(_, rows)| !rows.is_empty()) {
            Some((table, _)) => Err(Refusal::NoTable(table)),
            None => Ok(statements),
        }
    }

    /// Adds the template versions of builds, which a fleet leaves out
    fn add_versions(&mut self) {
        let known: BTreeSet<String> =
            self.rows("template_versions").iter().map(|row| text(row, "id")).collect();
        let mut versions = BTreeMap::new();
        for build in self.rows("workspace_builds") {
            let (id, workspace) = (text(build, "template_version_id"), text(build, "workspace_id"));
            let workspace = self.rows("workspaces").iter().find(|row| text(row, "id") == workspace);
            if let (false, Some(workspace)) = (known.contains(&id), workspace) {
                versions.insert(
                    id.clone(),
                    json!({
                        "id": id,
                        "template_id": workspace["template_id"],
                        "organization_id": workspace["organization_id"],
                        "job_id": Uuid::new_v4(),
                    }),
                );
            }
        }
        for version in versions.into_values() {
            self.add("template_versions", version);
        }
    }

    /// Adds the client secrets that tokens of other applications refer to
    fn add_secrets(&mut self, release: Release) {
        let tokens = "oauth2_provider_app_tokens";
        let users: BTreeMap<String, Value> = self
            .rows("api_keys")
            .iter()
            .map(|key| (text(key, "id"), key.get("user_id").cloned().unwrap_or_default()))
            .collect();
        let has_user = Catalog::get().has_column(tokens, "user_id", release);
        let mut secrets = Vec::new();
        self.change(tokens, |token| {
            let user = users.get(&text(token, "api_key_id")).filter(|_| has_user);
            if let Some(user) = user {
                token.entry("user_id").or_insert_with(|| user.clone());
            }
            if !token.contains_key("app_secret_id") {
                let secret = Uuid::new_v4().to_string();
                token.insert("app_secret_id".to_owned(), secret.clone().into());
                secrets.push(json!({ "id": secret }));
            }
        });
        for secret in secrets {
            self.add("oauth2_provider_app_secrets", secret);
        }
    }

    fn rows(&self, table: &str) -> &[Row] {
        self.tables.get(table).map_or(&[], |rows| rows)
    }
}

/// The columns and labels that rows of a table may have in a release
struct OfTable<'a> {
    release: Release,
    name: &'a str,
    table: &'a Table,
    /// The user that is entered as the creator of rows that need one
    user: Option<&'a Value>,
}

impl OfTable<'_> {
    fn fit(&self, mut row: Row) -> Result<Row, Refusal> {
        if self.name == "api_keys" {
            limits(&mut row);
            if self.table.column("scope", self.release).is_some() {
                single_scope(&mut row)?;
            }
        }
        let mut fitted = Row::new();
        for (name, value) in &row {
            match self.table.column(name, self.release) {
                Some(column) => {
                    self.check_labels(column, value)?;
                    fitted.insert(name.clone(), value.clone());
                }
                None if self.says_nothing(name, value) => {}
                None => return Err(Refusal::NoColumn(format!("{}.{name}", self.name))),
            }
        }
        for column in self.table.columns(self.release) {
            if column.not_null && !column.default && !fitted.contains_key(&column.name) {
                fitted.insert(column.name.clone(), self.fill(column, &row));
            }
        }
        Ok(fitted)
    }

    fn check_labels(&self, column: &Column, value: &Value) -> Result<(), Refusal> {
        let name = column.element().unwrap_or(&column.type_);
        let Some(labels) = Catalog::get().labels(name, self.release) else { return Ok(()) };
        let labels: BTreeSet<_> = labels.collect();
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, |values| values);
        match values.iter().filter_map(Value::as_str).find(|value| !labels.contains(value)) {
            Some(label) => Err(Refusal::NoLabel(format!("{name} {label}"))),
            None => Ok(()),
        }
    }

    /// Whether a value means the same as a missing column
    fn says_nothing(&self, name: &str, value: &Value) -> bool {
        let catalog = Catalog::get();
        let column = catalog.newest_column(self.name, name);
        let labels = column.and_then(|column| catalog.labels(&column.type_, Release::NEWEST));
        match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(values) => values.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::String(text) => {
                let first = labels.and_then(|mut labels| labels.next());
                text.is_empty() || first == Some(text)
            }
            Value::Bool(true) | Value::Number(_) => false,
        }
    }

    /// A value that a control plane could have written
    fn fill(&self, column: &Column, row: &Row) -> Value {
        if column.element().is_some() {
            return json!([]);
        }
        if let Some(mut labels) = Catalog::get().labels(&column.type_, self.release) {
            let terraform = column.type_ == "provisioner_type";
            return labels.find(|label| !terraform || *label == "terraform").into();
        }
        let random = Uuid::new_v4();
        match (&*column.type_, &*column.name) {
            ("uuid", "created_by" | "initiator_id" | "user_id") => {
                self.user.cloned().unwrap_or_else(|| Uuid::nil().to_string().into())
            }
            ("uuid", _) => random.to_string().into(),
            ("bytea", _) => format!("\\x{}", random.simple()).into(),
            ("boolean", _) => false.into(),
            ("integer", _) => 0.into(),
            ("jsonb", _) => json!({}),
            (_, "architecture") => "amd64".into(),
            (_, "operating_system") => "linux".into(),
            (_, "name") => random.simple().to_string().into(),
            (_, "display_name") => row.get("name").cloned().unwrap_or_else(|| "".into()),
            (type_, _) if type_.starts_with("timestamp") => {
                let known = ["created_at", "last_used"].iter().find_map(|name| row.get(*name));
                known.cloned().unwrap_or_else(|| "2025-01-01T00:00:00Z".into())
            }
            (_, _) => "".into(),
        }
    }
}

/// Writes the limits of a key in the form of the newest release
fn limits(key: &mut Row) {
    let scope = key.remove("scope").unwrap_or_else(|| "all".into());
    let scopes = key.entry("scopes").or_insert_with(|| json!([scope]));
    for scope in scopes.as_array_mut().into_iter().flatten() {
        if let Some((_, name)) = RENAMED.iter().find(|(old, _)| scope == old) {
            *scope = (*name).into();
        }
    }
    key.entry("allow_list").or_insert_with(|| json!(["*:*"]));
}

/// Writes the limits of a key in the form of releases with one scope for each key
fn single_scope(key: &mut Row) -> Result<(), Refusal> {
    let (scopes, list) = (key.remove("scopes"), key.remove("allow_list"));
    if list != Some(json!(["*:*"])) {
        return Err(Refusal::NoColumn("api_keys.allow_list".to_owned()));
    }
    match RENAMED.iter().find(|(_, name)| scopes == Some(json!([name]))) {
        Some((old, _)) => key.insert("scope".to_owned(), (*old).into()),
        None => return Err(Refusal::NoColumn("api_keys.scopes".to_owned())),
    };
    Ok(())
}

fn text(row: &Row, column: &str) -> String {
    row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Why a release cannot hold rows
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The release does not have the table
    NoTable(String),
    /// The release does not have the column, and the value differs from what that means
    NoColumn(String),
    /// The enumeration does not have the label
    NoLabel(String),
    /// The database's message
    Refused(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable(name) => write!(f, "no table {name}"),
            Self::NoColumn(name) => write!(f, "no column {name}"),
            Self::NoLabel(name) => write!(f, "no label {name}"),
            Self::Refused(message) => f.write_str(message),
        }
    }
}

/// Labels of key scopes that were renamed
pub(crate) const RENAMED: [(&str, &str); 2] =
    [("all", "coder:all"), ("application_connect", "coder:application_connect")];

fn insert(table: &str, columns: &str, rows: Vec<Value>, statements: &mut String) {
    if rows.is_empty() {
        return;
    }
    let into = if columns == "*" { String::new() } else { format!("({columns})") };
    let rows = Value::from(rows).to_string().replace('\'', "''");
    let _ = writeln!(
        statements,
        "INSERT INTO {table} {into}
         SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, '{rows}');",
    );
}
