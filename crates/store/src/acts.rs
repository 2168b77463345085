use std::collections::BTreeMap;

use app_audit::Act;
use uuid::Uuid;

use crate::import::Counts;

/// Acts by the ids of their rows, with how often each was done
///
/// Acts that share a row count together.
pub(crate) fn by_id(acts: &[Act]) -> BTreeMap<Uuid, (&Act, u64)> {
    let mut rows: BTreeMap<Uuid, (&Act, u64)> = BTreeMap::new();
    for act in acts {
        let (_, times) = rows.entry(act.id()).or_insert((act, 0));
        *times = times.saturating_add(act.times);
    }
    rows
}

/// The act of an import with the number of rows that it added, changed and removed; `None` if
/// there are none
pub(crate) fn of_import(act: Act, rows: Counts) -> Option<Act> {
    (rows.differences() > 0).then(|| {
        act.detail_value("added", rows.added.into())
            .detail_value("changed", rows.changed.into())
            .detail_value("removed", rows.removed.into())
    })
}
