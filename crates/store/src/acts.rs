use std::collections::BTreeMap;

use app_audit::Act;
use uuid::Uuid;

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
