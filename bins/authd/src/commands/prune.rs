use app_audit::Age;
use store::PgStore;

use super::database::with_store;
use super::error::CommandError;
use super::output::print;
use crate::config::ConfigArgs;

/// Deletes the rows of the audit log that are older than `age`
pub(super) async fn run(age: Age, config: ConfigArgs) -> Result<(), CommandError> {
    let progress = |rows| tracing::info!(rows, "deleted from the audit log so far");
    let prune = async |store: &PgStore| Ok(app_audit::prune(store, age.into(), progress).await?);
    let rows = with_store(config, prune).await?;
    print(&[format!("{rows} rows deleted, which were older than {age}")])
}
