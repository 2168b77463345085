//! The releases of the control plane that authd is tested with

/// Each release with the number of its last migration, the oldest first
pub const TESTED: [(&str, i64); 15] = [
    ("v2.20", 296),
    ("v2.22", 326),
    ("v2.24", 343),
    ("v2.25", 352),
    ("v2.26", 362),
    ("v2.27", 376),
    ("v2.28", 393),
    ("v2.29", 401),
    ("v2.30", 412),
    ("v2.31", 412),
    ("v2.32", 462),
    ("v2.33", 483),
    ("v2.34", 509),
    ("v2.35", 535),
    ("July 2026", 551),
];

/// Describes a migration by the releases around it
#[must_use]
pub fn describe(migration: i64) -> String {
    let exact: Vec<&str> =
        TESTED.iter().filter(|(_, last)| *last == migration).map(|(name, _)| *name).collect();
    if !exact.is_empty() {
        return format!("{} (migration {migration}), tested", exact.join(" or "));
    }
    let before = TESTED.iter().rfind(|(_, last)| *last < migration);
    let after = TESTED.iter().find(|(_, last)| *last > migration);
    match (before, after) {
        (Some((before, _)), Some((after, _))) => {
            format!("migration {migration}, after {before} and before {after}")
        }
        (Some((newest, last)), None) => {
            format!(
                "migration {migration}, newer than {newest} ({last}), the newest tested release: \
                 it works as long as the columns are there"
            )
        }
        (None, _) => format!("migration {migration}, older than every tested release"),
    }
}

/// Whether a migration is older than every tested release
#[must_use]
pub fn is_too_old(migration: i64) -> bool {
    TESTED.first().is_some_and(|(_, oldest)| migration < *oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_described_by_the_releases_around_it() {
        for (migration, expected) in [
            (401, "v2.29 (migration 401), tested"),
            (412, "v2.30 or v2.31 (migration 412), tested"),
            (331, "migration 331, after v2.22 and before v2.24"),
            (100, "migration 100, older than every"),
            (600, "migration 600, newer than July 2026 (551)"),
        ] {
            let text = describe(migration);
            assert!(text.starts_with(expected), "{text}");
            assert_eq!(is_too_old(migration), migration == 100);
        }
    }
}
