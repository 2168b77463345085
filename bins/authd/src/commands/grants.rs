use store::inspection::Part;

use super::database::{configure, with_database};
use super::error::CommandError;
use super::output::print;
use crate::check;
use crate::cli::GrantsArgs;

/// Prints the statements that give a role the fewest rights that `serve` needs
pub(super) async fn run(args: GrantsArgs) -> Result<(), CommandError> {
    let config = configure(args.config)?;
    let mut asked = check::asked(&config);
    if args.commands {
        asked = asked.and(Part::Apps).and(Part::Commands);
    }
    let grants = with_database(&config, async |store| Ok(store.grants(&asked, &args.role).await?));
    let grants = grants.await?;
    if grants.statements.is_empty() {
        return Err(CommandError::Usage(
            "this user cannot see any of the tables; run this as their owner, after `authd migrate`"
                .to_owned(),
        ));
    }
    let parts = [
        ("app access", Part::Apps),
        ("identity pins", Part::IdentityPins),
        ("nonces", Part::IdentityNonces),
        ("OIDC", Part::Oidc),
        ("token refresh", Part::TokenRefresh),
        ("revocations", Part::Revocations),
        ("key rotation", Part::KeyRotation),
        ("audit retention", Part::AuditRetention),
        ("audit mirror", Part::AuditMirror),
        ("`authd token`", Part::Commands),
    ];
    let parts = parts.map(|(name, part)| {
        let state = if asked.has(part) { "on" } else { "off" };
        format!("{name} {state}")
    });
    print(&[format!("-- {}", parts.join(", ")), grants.to_string().trim_end().to_owned()])
}
