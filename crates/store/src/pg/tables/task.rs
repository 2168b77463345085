use std::collections::BTreeSet;

use super::catalog::{Catalog, KEYS, OWN_KEYS};
use super::generation::{Generation, Mark};
use super::need::{self, Need};
use super::statement::Statement;
use crate::inspection::{Lack, Part};
use crate::pg::{
    accounts, acts, audit_log, candidates, crypto_keys, housekeeping, journal, provider, proxies,
    refresh, revocations, sessions, sharing,
};

/// Something that authd does with the database, and the rights that it needs
#[derive(Clone, Copy, Debug)]
pub(in crate::pg) struct Task {
    pub(in crate::pg) name: &'static str,
    /// The part of authd that does it
    pub(in crate::pg) part: Part,
    needs: Needs,
}

#[derive(Clone, Copy, Debug)]
enum Needs {
    Of(Statement),
    These(&'static [Need]),
}

impl Task {
    pub(in crate::pg) const ALL: [Self; 36] = [
        Self::asking(Statement::Candidates, Part::SignIn),
        Self::asking(Statement::PinnedCandidates, Part::IdentityPins),
        Self::doing("the end of old pins", Part::IdentityPins, candidates::FORGET),
        Self::asking(Statement::AppByName, Part::Apps),
        Self::asking(Statement::AppById, Part::Apps),
        Self::asking(Statement::Terminal, Part::Apps),
        Self::asking(Statement::Holders, Part::Apps),
        Self::asking(Statement::ListedWorkspaces, Part::Apps),
        Self::asking(Statement::NewSession, Part::Apps),
        Self::asking(Statement::LogOut, Part::Apps),
        Self::doing("the use of a session", Part::Apps, sessions::USE),
        Self::doing("the first use of a session for apps", Part::Apps, sessions::GIVE),
        Self::doing("the name of a user", Part::Apps, sessions::USERNAME),
        Self::doing("sessions that have ended", Part::Apps, sessions::ENDED),
        Self::doing("the end of old sessions for apps", Part::Apps, sessions::FORGET),
        Self::doing("shares with people", Part::Apps, sharing::SHARES),
        Self::doing("sign-in at an OpenID provider", Part::Oidc, provider::SESSIONS),
        Self::doing("the refresh of providers' tokens", Part::TokenRefresh, refresh::TOKENS),
        Self::doing("what visitors were let into", Part::Revocations, revocations::WATCH),
        Self::asking(Statement::Ended, Part::Revocations),
        Self::doing("the proxies", Part::Apps, proxies::PROXIES),
        Self::doing("the keys of app tokens", Part::Apps, crypto_keys::KEYS),
        Self::doing("the keys of nonces", Part::IdentityNonces, crypto_keys::KEYS),
        Self::doing("the record of visits", Part::Apps, journal::NOTE_VISITS),
        Self::doing("the end of visits", Part::Apps, housekeeping::VISIT_ENDS),
        Self::doing("the audit log", Part::Apps, audit_log::READ_LOG),
        Self::doing("names in the audit log", Part::Apps, audit_log::NAMES),
        Self::doing("the list of acts", Part::Apps, acts::READ),
        Self::doing("the record of sign-ins", Part::SignInAudit, acts::NOTE),
        Self::doing("the rotation of keys", Part::KeyRotation, crypto_keys::ROTATION),
        Self::doing("the end of old audit rows", Part::AuditRetention, housekeeping::FORGET),
        Self::doing("the end of old acts", Part::AuditRetention, acts::FORGET),
        Self::asking(Statement::Mirror, Part::AuditMirror),
        Self::asking(Statement::Sessions, Part::Commands),
        Self::doing("a user by name", Part::Commands, accounts::USER_BY_NAME),
        Self::doing("tokens of users and proxies", Part::Commands, accounts::TOKENS),
    ];

    const fn asking(statement: Statement, part: Part) -> Self {
        Self { name: statement.name(), part, needs: Needs::Of(statement) }
    }

    const fn doing(name: &'static str, part: Part, needs: &'static [Need]) -> Self {
        Self { name, part, needs: Needs::These(needs) }
    }

    /// The rights that the task needs in `generation`
    ///
    /// Keys are in authd's own table if the catalog has that and not the control plane's.
    pub(in crate::pg) fn needs(&self, catalog: &Catalog, generation: Generation) -> Vec<Need> {
        let needs = match self.needs {
            Needs::Of(statement) => return statement.needs(generation),
            Needs::These(needs) => need::of_generation(needs, generation),
        };
        if !catalog.has_own_keys() {
            return needs;
        }
        let moved = needs.into_iter().filter(|need| need.table != "dbcrypt_keys");
        let moved = moved.map(|need| match need.table {
            KEYS => Need { table: OWN_KEYS, ..need },
            _ => need,
        });
        moved.collect()
    }

    /// The tables that the task names in any generation
    fn tables(&self) -> Vec<&'static str> {
        let needs = match self.needs {
            Needs::Of(statement) => statement.all_needs(),
            Needs::These(needs) => needs.to_vec(),
        };
        needs.into_iter().map(|need| need.table).collect()
    }

    /// The parts of the tables that the task needs and that are missing
    pub(in crate::pg) fn missing(&self, catalog: &Catalog, generation: Generation) -> Vec<Lack> {
        let mut missing = BTreeSet::new();
        for need in self.needs(catalog, generation) {
            let table = need.table;
            if !catalog.has_table(table) {
                missing.insert(Lack::Table { table });
                continue;
            }
            for column in need.columns().filter(|column| !catalog.has_column(table, column)) {
                missing.insert(Lack::Column { table, column });
            }
        }
        if let (true, Needs::Of(statement)) = (missing.is_empty(), self.needs)
            && let Err(unfit) = statement.fits(catalog, generation)
        {
            missing.insert(Lack::Mark { mark: unfit.missing });
        }
        missing.into_iter().collect()
    }
}

/// The tables that any statement of authd names, or that distinguish generations
pub(super) fn tables() -> Vec<&'static str> {
    let named = Task::ALL.iter().flat_map(Task::tables);
    let marked = Generation::ALL.into_iter().flat_map(Generation::marks);
    let marked = marked.filter_map(|mark| match mark {
        Mark::Column { table, .. } => Some(*table),
        Mark::Label { .. } => None,
    });
    named.chain(marked).chain([OWN_KEYS]).collect::<BTreeSet<_>>().into_iter().collect()
}
