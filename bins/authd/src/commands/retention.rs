use std::time::Duration;

use app_audit::{ActJournal, Age, Journal};
use store::PgStore;

use super::database::with_store;
use super::error::CommandError;
use super::output::{print, print_json};
use crate::config::ConfigArgs;

/// Deletes the rows of the audit log that are older than `age`: visits, and acts if there are any
pub(super) async fn prune(age: Age, config: ConfigArgs) -> Result<(), CommandError> {
    let keep = Duration::from(age);
    let progress = |rows| tracing::info!(rows, "deleted from the audit log so far");
    let delete = async |store: &PgStore| {
        let visits =
            app_audit::prune(async |most| store.forget(keep, most).await, progress).await?;
        let acts = match store.records_acts().await? {
            true => {
                app_audit::prune(async |most| store.forget_acts(keep, most).await, progress).await?
            }
            false => 0,
        };
        Ok((visits, acts))
    };
    let (visits, acts) = with_store(config, delete).await?;
    print(&[format!("{visits} rows of visits and {acts} of acts deleted, older than {age}")])
}

/// Gives the audit log a table for each month, or adds the months to come
pub(super) async fn partition(json: bool, config: ConfigArgs) -> Result<(), CommandError> {
    let partitioned = async |store: &PgStore| Ok(store.partition_audit_log().await?);
    let months = with_store(config, partitioned).await?;
    let lines = || months.iter().map(ToString::to_string).collect::<Vec<_>>();
    if json { print_json(&months) } else { print(&lines()) }
}
