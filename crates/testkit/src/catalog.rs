use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Release;

/// The known facts about the tables of all releases
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalog {
    #[serde(rename = "about")]
    _about: Vec<String>,
    /// The number of the last migration of each release
    releases: Vec<(Release, i64)>,
    enums: BTreeMap<String, Vec<Labels>>,
    tables: BTreeMap<String, Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    labels: Vec<String>,
    since: Option<Release>,
    until: Option<Release>,
}

/// A table, with everything that any release has of it
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    since: Option<Release>,
    until: Option<Release>,
    #[serde(default)]
    pub(crate) unlogged: bool,
    columns: Vec<Column>,
    #[serde(default)]
    primary_key: Vec<Key>,
    #[serde(default)]
    unique: Vec<Key>,
    #[serde(default)]
    references: Vec<Reference>,
    #[serde(default)]
    indexes: Vec<Index>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    since: Option<Release>,
    until: Option<Release>,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_: String,
    #[serde(default)]
    pub(crate) not_null: bool,
    #[serde(default)]
    pub(crate) default: bool,
    #[serde(default)]
    pub(crate) generated: bool,
}

/// The columns of a primary key or of a unique constraint
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    since: Option<Release>,
    until: Option<Release>,
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    since: Option<Release>,
    until: Option<Release>,
    pub(crate) columns: Vec<String>,
    pub(crate) table: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    since: Option<Release>,
    until: Option<Release>,
    /// Names of columns, or expressions
    pub(crate) columns: Vec<String>,
    #[serde(default)]
    pub(crate) unique: bool,
    #[serde(default)]
    pub(crate) partial: bool,
}

/// A fact that holds for some releases
trait Fact {
    fn since(&self) -> Option<Release>;
    fn until(&self) -> Option<Release>;

    fn holds(&self, release: Release) -> bool {
        self.since().is_none_or(|since| since <= release)
            && self.until().is_none_or(|until| release <= until)
    }
}

macro_rules! facts {
    ($($type:ty),*) => {
        $(impl Fact for $type {
            fn since(&self) -> Option<Release> {
                self.since
            }

            fn until(&self) -> Option<Release> {
                self.until
            }
        })*
    };
}

facts!(Labels, Table, Column, Key, Reference, Index);

impl Catalog {
    /// The facts, parsed once
    #[allow(clippy::unwrap_used)] // the facts are part of this crate
    pub(crate) fn get() -> &'static Self {
        static CATALOG: LazyLock<Catalog> =
            LazyLock::new(|| serde_json::from_str(include_str!("releases.json")).unwrap());
        &CATALOG
    }

    pub(crate) fn migration(&self, release: Release) -> i64 {
        self.releases[release.position()].1
    }

    /// The enumerations of a release, with their labels
    pub(crate) fn enums(
        &self,
        release: Release,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        let names = self.enums.keys().filter(move |name| self.labels(name, release).is_some());
        names.filter_map(move |name| Some((&**name, self.labels(name, release)?)))
    }

    /// The labels of a release's enumeration, if it has one of this name
    pub(crate) fn labels(
        &self,
        name: &str,
        release: Release,
    ) -> Option<impl Iterator<Item = &str>> {
        let sets = self.enums.get(name)?;
        let labels = sets.iter().filter(move |set| set.holds(release)).flat_map(|set| &set.labels);
        let mut labels = labels.map(|label| &**label).peekable();
        labels.peek().is_some().then_some(labels)
    }

    /// The tables of a release, each after those that it references
    pub(crate) fn tables(&self, release: Release) -> Vec<(&str, &Table)> {
        let mut left: BTreeMap<&str, &Table> = self
            .tables
            .iter()
            .filter(|(_, table)| table.holds(release))
            .map(|(name, table)| (&**name, table))
            .collect();
        let mut sorted = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let names: BTreeSet<_> = left.keys().copied().collect();
            let free = |name: &str, table: &Table| {
                let mut targets = table.references(release).map(|reference| &*reference.table);
                !targets.any(|target| target != name && names.contains(target))
            };
            let before = sorted.len();
            left.retain(|name, table| {
                let free = free(name, table);
                if free {
                    sorted.push((*name, *table));
                }
                !free
            });
            assert_ne!(sorted.len(), before, "tables reference each other in a circle");
        }
        sorted
    }

    pub(crate) fn table(&self, name: &str, release: Release) -> Option<&Table> {
        self.tables.get(name).filter(|table| table.holds(release))
    }

    pub(crate) fn has_table(&self, name: &str, release: Release) -> bool {
        self.table(name, release).is_some()
    }

    pub(crate) fn has_column(&self, table: &str, name: &str, release: Release) -> bool {
        self.table(table, release).is_some_and(|table| table.column(name, release).is_some())
    }

    /// A column as of the newest release that has it
    pub(crate) fn newest_column(&self, table: &str, name: &str) -> Option<&Column> {
        let columns = self.tables.get(table)?.columns.iter();
        columns.filter(|column| column.name == name).max_by_key(|column| column.since)
    }
}

impl Table {
    pub(crate) fn columns(&self, release: Release) -> impl Iterator<Item = &Column> {
        holding(&self.columns, release)
    }

    pub(crate) fn column(&self, name: &str, release: Release) -> Option<&Column> {
        self.columns(release).find(|column| column.name == name)
    }

    pub(crate) fn primary_key(&self, release: Release) -> Option<&Key> {
        holding(&self.primary_key, release).next()
    }

    pub(crate) fn unique(&self, release: Release) -> impl Iterator<Item = &Key> {
        holding(&self.unique, release)
    }

    pub(crate) fn references(&self, release: Release) -> impl Iterator<Item = &Reference> {
        holding(&self.references, release)
    }

    pub(crate) fn indexes(&self, release: Release) -> impl Iterator<Item = &Index> {
        holding(&self.indexes, release)
    }
}

impl Column {
    /// The type of the elements, if the column holds lists
    pub(crate) fn element(&self) -> Option<&str> {
        self.type_.strip_suffix("[]")
    }
}

fn holding<F: Fact>(facts: &[F], release: Release) -> impl Iterator<Item = &F> {
    facts.iter().filter(move |fact| fact.holds(release))
}
