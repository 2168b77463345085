use std::collections::BTreeMap;

use app_audit::Act;
use serde_json::Value;
use uuid::Uuid;

use crate::import::{Change, Difference};

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
pub(crate) fn of_import(act: Act, differences: &[Difference]) -> Option<Act> {
    let count = |matches: fn(&Change) -> bool| -> Value {
        differences.iter().filter(|difference| matches(&difference.change)).count().into()
    };
    (!differences.is_empty()).then(|| {
        act.detail_value("added", count(|change| *change == Change::Added))
            .detail_value("changed", count(|change| matches!(change, Change::Changed(_))))
            .detail_value("removed", count(|change| *change == Change::Removed))
    })
}
