//! Splits the two forms of a database URL into names and values

use super::invalid;
use crate::Error;

/// A name and a value, as written
///
/// Without `Debug`, as the value may be a password.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether the name may be part of a password that was not quoted or encoded
    pub(super) follows_secret: bool,
}

/// Splits a `postgresql://` URL or a `NAME=VALUE` list into its parameters
///
/// The parts of a URL before its `?` become `user`, `password`, `host`, `port` and `dbname`.
/// Hosts and ports are lists with commas, as in libpq. The order is that of the text.
/// The forms are described in PostgreSQL's manual, section "Connection Strings".
pub(super) fn parameters(text: &str) -> Result<Vec<Parameter>, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("it is empty"));
    }
    let mut found = Parameters::default();
    match without_scheme(text) {
        Some(rest) => url(rest, &mut found)?,
        None if text.split('=').next().is_some_and(|start| start.contains("://")) => {
            return Err(invalid("it must begin with `postgresql://` or `postgres://`"));
        }
        None => list(text, &mut found)?,
    }
    Ok(found.list)
}

/// Whether a URL has an `@` in its path or query, as after a password with a `/` or `?` that
/// is not encoded
///
/// Errors must not quote such a URL: what looks like a name may be part of the password.
pub(super) fn has_stray_at(text: &str) -> bool {
    without_scheme(text.trim())
        .and_then(|rest| rest.find(['/', '?']).map(|end| rest[end..].contains('@')))
        .unwrap_or(false)
}

fn without_scheme(text: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))
}

#[derive(Default)]
struct Parameters {
    list: Vec<Parameter>,
}

impl Parameters {
    /// Adds a parameter that the text has not named before
    fn add(&mut self, name: String, value: String) -> Result<(), Error> {
        if self.list.iter().any(|parameter| parameter.name == name) {
            return Err(invalid(format_args!("{} is given twice", self.quoted(&name))));
        }
        let follows_secret =
            self.list.last().is_some_and(|last| SECRETS.contains(&last.name.as_str()));
        self.list.push(Parameter { name, value, follows_secret });
        Ok(())
    }

    fn quoted(&self, name: &str) -> String {
        let secret = self.list.last().is_some_and(|last| SECRETS.contains(&last.name.as_str()));
        quoted(name, secret)
    }
}

/// The name of a parameter in an error, unless it may be part of a password
pub(super) fn quoted(name: &str, follows_secret: bool) -> String {
    let is_name = name.len() <= LONGEST_NAME
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if is_name && !name.is_empty() && !follows_secret {
        format!("`{name}`")
    } else {
        "a parameter".to_owned()
    }
}

/// The part of a URL after its scheme
fn url(rest: &str, found: &mut Parameters) -> Result<(), Error> {
    let (head, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = head.split_once('/').unwrap_or((head, ""));
    if path.contains('@') {
        return Err(invalid(ENCODE_PASSWORD));
    }
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let decoded = |text| decoded(text, "the user or the password");
        found.add("user".to_owned(), decoded(user)?)?;
        if let Some(password) = password {
            found.add("password".to_owned(), decoded(password)?)?;
        }
    }

    let mut query_parameters = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let Some((name, value)) = piece.split_once('=') else {
            return Err(invalid("after `?`, something is not `NAME=VALUE`"));
        };
        query_parameters.push((decoded(name, "the name of a parameter")?, value));
    }
    // A host in the query replaces the others, as in libpq: that is how sockets are named.
    let names = |name: &str| query_parameters.iter().any(|(other, _)| other == name);
    let (names_host, names_port) = (names("host"), names("port"));
    if !hosts.is_empty() {
        let (hosts, ports) = authority_hosts(hosts)?;
        if !names_host {
            found.add("host".to_owned(), hosts)?;
        }
        if !names_port && (!names_host || !ports.contains(',')) {
            found.add("port".to_owned(), ports)?;
        }
    }
    if !path.is_empty() {
        found.add("dbname".to_owned(), decoded(path, "the name of the database")?)?;
    }
    for (name, value) in query_parameters {
        let value = decoded(value, &found.quoted(&name))?;
        // The name in JDBC, which libpq accepts as well.
        let (name, value) = match (name.as_str(), value.as_str()) {
            ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
            _ => (name, value),
        };
        found.add(name, value)?;
    }
    Ok(())
}

/// Hosts and ports of a URL, each a list with commas; a missing port is empty
fn authority_hosts(text: &str) -> Result<(String, String), Error> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (host, port) = match entry.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) if port.starts_with(':') => (host, Some(&port[1..])),
                _ => return Err(invalid("a host that begins with `[` does not end with `]`")),
            },
            None => match entry.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (entry, None),
            },
        };
        hosts.push(decoded(host, "a host")?);
        ports.push(decoded(port.unwrap_or_default(), "a port")?);
    }
    Ok((hosts.join(","), ports.join(",")))
}

/// A list of `NAME=VALUE`, separated by blanks
fn list(text: &str, found: &mut Parameters) -> Result<(), Error> {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            let place = match found.list.last() {
                Some(last) => format!("what follows {}", quoted(&last.name, last.follows_secret)),
                None => "it".to_owned(),
            };
            return Err(invalid(format_args!(
                "{place} is neither a URL nor `NAME=VALUE`; \
                 a value that holds blanks stands in single quotes"
            )));
        };
        let (value, after) = value(after.trim_start(), &found.quoted(name))?;
        found.add(name.to_owned(), value)?;
        rest = after.trim_start();
    }
    Ok(())
}

/// The value at the beginning of `text`, and what follows it
fn value<'a>(text: &'a str, name: &str) -> Result<(String, &'a str), Error> {
    let (in_quotes, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if in_quotes => return Ok((value, &text[at + 1..])),
            c if c.is_whitespace() && !in_quotes => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if in_quotes {
        return Err(invalid(format_args!("the value of {name} has no closing quote")));
    }
    Ok((value, ""))
}

/// Decodes percent-encoding
fn decoded(text: &str, place: &str) -> Result<String, Error> {
    percent_decoded(text).ok_or_else(|| {
        invalid(format_args!(
            "in {place}, `%` is not followed by two hexadecimal digits of UTF-8 text; \
             a `%` itself is written `%25`"
        ))
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            // `from_str_radix` would take a sign.
            let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    // The protocol terminates texts with a zero byte.
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Parameters whose values are secrets
const SECRETS: [&str; 3] = ["password", "sslpassword", "sslkey"];

/// The longest name, as PostgreSQL's identifiers
const LONGEST_NAME: usize = 63;

pub(super) const ENCODE_PASSWORD: &str = "an `@` stands after the host, so nothing is quoted here; \
     in a user or password, `/`, `?`, `#` and `@` are written `%2F`, `%3F`, `%23` and `%40`";
