use std::io::Write;

use store::inspection::Part;

use super::CommandError;
use super::database::with_database;
use crate::check;
use crate::cli::GrantsArgs;

/// Prints the statements that give a role the fewest rights that `serve` needs
pub(crate) async fn run(args: GrantsArgs) -> Result<(), CommandError> {
    let config = args.config.resolve()?;
    let mut asked = check::asked(&config);
    if args.commands {
        asked = asked.and(Part::Apps).and(Part::Commands);
    }
    let grants = with_database(&config, async |store| Ok(store.grants(&asked, &args.role).await?));
    let grants = grants.await?;
    if grants.statements.is_empty() {
        return Err(CommandError::Usage(
            "this user sees none of the tables; run this as their owner, after `authd migrate`"
                .to_owned(),
        ));
    }
    let is_on = |is_on| if is_on { "on" } else { "off" };
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "-- app access {}, rotation of keys {}, end of old audit rows {}, mirror of the audit {}, `authd token` {}\n{grants}",
        is_on(asked.has(Part::Apps)),
        is_on(asked.has(Part::KeyRotation)),
        is_on(asked.has(Part::AuditRetention)),
        is_on(asked.has(Part::AuditMirror)),
        is_on(asked.has(Part::Commands)),
    )
    .map_err(CommandError::Output)
}
