use std::path::Path;

use super::{Host, Secret};
use crate::Error;
use crate::error::InContext;

/// Looks a password up in a password file
///
/// Lines are `HOST:PORT:DATABASE:USER:PASSWORD`, where `*` matches anything and `\` escapes a `:`
/// or a `\`. The first line that matches decides. For a socket the host is its folder or
/// `localhost`. See PostgreSQL's manual, section "The Password File". The mode of the file is
/// not checked.
///
/// # Errors
///
/// [`Error::Unavailable`] if the file cannot be read, or no line matches.
pub(super) fn password(
    file: &Path,
    host: &Host,
    database: &str,
    user: &str,
) -> Result<Secret, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| {
        let context = format!("passfile `{}`", file.display());
        Error::unavailable(InContext { context, source })
    })?;
    let port = host.port.to_string();
    let wanted = [host.names_in_passfile(), vec![port], vec![database.into()], vec![user.into()]];
    let password = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        let password = fields.pop().filter(|_| fields.len() == wanted.len())?;
        let fits = fields
            .iter()
            .zip(&wanted)
            .all(|(field, names)| field == "*" || names.iter().any(|name| name == field));
        fits.then_some(password)
    });
    password.map(Secret).ok_or_else(|| {
        Error::unavailable(format!("passfile `{}` has no line for it", file.display()))
    })
}

/// The first four fields of a line, and the password
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let is_end = character == ':' && fields.len() < FIELDS;
        match fields.last_mut() {
            _ if is_end => fields.push(String::new()),
            Some(field) if character == '\\' => field.extend(characters.next()),
            Some(field) => field.push(character),
            None => {}
        }
    }
    fields
}

const FIELDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = std::env::temp_dir().join(format!("authd-pass-{}", uuid::Uuid::new_v4()));
        std::fs::write(
            &file,
            "# a comment\n\nbroken:line\ndb:5432:coder:authd:pa\\:ss:w\\\\ord\n\
             localhost:*:*:authd:socket\n*:*:*:other:any\n",
        )
        .unwrap();
        let ask = |host: &Host, database, user| {
            password(&file, host, database, user).map(|password| password.reveal().to_owned())
        };
        let db = Host::tcp("db", 5432);
        assert_eq!(ask(&db, "coder", "authd").unwrap(), "pa:ss:w\\ord");
        assert_eq!(ask(&Host::socket("/run/pg"), "x", "authd").unwrap(), "socket");
        assert_eq!(ask(&Host::tcp("db", 1), "x", "other").unwrap(), "any");
        for error in [ask(&db, "x", "authd"), ask(&Host::tcp("db", 1), "coder", "authd")] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("has no line") && !error.contains("ord"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        let error = ask(&db, "coder", "authd").unwrap_err().to_string();
        assert!(error.contains("authd-pass-"), "{error}");
    }
}
