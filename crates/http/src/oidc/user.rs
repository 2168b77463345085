//! What a provider's claims mean here

use oidc_client::Identity;
use serde_json::Value;

use super::config::OidcConfig;
use super::refusal::OidcRefusal;

/// A user as a provider describes them
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) username: String,
    pub(super) email: String,
    pub(super) groups: Option<Vec<String>>,
    pub(super) roles: Option<Vec<String>>,
}

/// Reads the claims of a user
///
/// # Errors
///
/// Fails if the address is missing, is not verified although it has to be, or is of another domain.
pub(super) fn describe(identity: &Identity, config: &OidcConfig) -> Result<Described, OidcRefusal> {
    let email = identity.text(&config.email_field).map(str::trim).filter(|email| is_email(email));
    let email = email.ok_or(OidcRefusal::NO_EMAIL)?;
    let is_verified = match identity.claim("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // Some providers write all claims as texts.
        Some(Value::String(text)) => text == "true",
        _ => false,
    };
    if !is_verified && !config.ignore_email_verified {
        return Err(OidcRefusal::EMAIL_NOT_VERIFIED);
    }
    let domain = email.rsplit('@').next().unwrap_or_default();
    let domains = &config.email_domains;
    let is_allowed =
        domains.iter().any(|allowed| allowed.trim_start_matches('@').eq_ignore_ascii_case(domain));
    if !domains.is_empty() && !is_allowed {
        return Err(OidcRefusal::EMAIL_DOMAIN);
    }
    let name = identity.text(&config.username_field).map(username).filter(|name| !name.is_empty());
    // A provider leaves out a claim that would be an empty list.
    let list = |field: &Option<String>| {
        field.as_ref().map(|field| identity.list(field).unwrap_or_default())
    };
    let groups = list(&config.group_field).map(|names| {
        let names = names.iter().map(|name| config.group(name));
        let names = names.filter(|name| !name.is_empty() && !name.contains('\0'));
        names.map(str::to_owned).take(MAX_GROUPS).collect()
    });
    Ok(Described {
        username: name.unwrap_or_else(|| username(email)),
        email: email.to_owned(),
        groups,
        roles: list(&config.user_role_field).map(|values| config.roles(&values)),
    })
}

/// The name of a user made of a claim: letters, digits and single hyphens, at most 32 characters
///
/// Of an e-mail address, the part before the `@` counts. Names of hosts are made of the names of
/// users, with two hyphens in between.
fn username(text: &str) -> String {
    let local = text.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for c in local.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(32);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "user".to_owned() } else { name.to_owned() }
}

fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && text.len() <= 254
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// More than a session could use
const MAX_GROUPS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_fit_into_names_of_hosts() {
        for (text, name) in [
            ("alice", "alice"),
            ("Alice.Smith@example.com", "alice-smith"),
            ("a__b--c", "a-b-c"),
            ("-x-", "x"),
            ("Ünal", "nal"),
            ("李", "user"),
            ("", "user"),
        ] {
            assert_eq!(username(text), name, "{text}");
        }
        assert_eq!(username(&"ab-".repeat(20)).len(), 32);
        assert_eq!(username(&format!("{}-x", "a".repeat(31))), "a".repeat(31));
    }

    #[test]
    fn addresses_have_two_parts() {
        assert!(is_email("a@b") && is_email("\"a@b\"@c.example"));
        for text in ["", "a", "@b", "a@", "a b@c", "a@b\r\n"] {
            assert!(!is_email(text), "{text}");
        }
        assert!(!is_email(&format!("{}@b", "a".repeat(254))));
    }
}
