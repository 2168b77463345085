use std::path::PathBuf;

use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use postgres_openssl::MakeTlsConnector;

use crate::Error;

/// How a database URL wants its connections secured
///
/// The modes are libpq's, with fewer shades: connections are either in the clear or
/// secured in full, the server's certificate and its name included.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// `disable`, `allow`, `prefer`, or no word on it: what an active attacker can
    /// choose is no security
    Clear,
    /// `require`, `verify-ca`, `verify-full`: a server that cannot prove its name is
    /// refused
    Tls {
        /// `sslrootcert`: who vouches for the server; the system's authorities if nothing
        /// is said, or `system`
        roots: Option<PathBuf>,
    },
}

impl Security {
    /// Takes what a URL says of security out of it, as tokio-postgres knows little of it
    pub(super) fn of(url: &str) -> Result<(Self, String), Error> {
        let mut secured = false;
        let mut roots = None;
        let mut keep =
            |parameter: &str, decode: fn(&str) -> Option<String>| match parameter.split_once('=') {
                Some(("sslmode", mode)) => {
                    secured = match mode {
                        "require" | "verify-ca" | "verify-full" => true,
                        "allow" | "disable" | "prefer" => false,
                        _ => return Err(Error::InvalidUrl),
                    };
                    Ok(false)
                }
                Some(("sslrootcert", "system")) => Ok(false),
                Some(("sslrootcert", path)) => {
                    roots = Some(PathBuf::from(decode(path).ok_or(Error::InvalidUrl)?));
                    Ok(false)
                }
                _ => Ok(true),
            };
        let rest = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let (base, query) = url.split_once('?').unwrap_or((url, ""));
            let mut kept = Vec::new();
            for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
                if keep(parameter, percent_decoded)? {
                    kept.push(parameter);
                }
            }
            match kept.is_empty() {
                true => base.to_owned(),
                false => format!("{base}?{}", kept.join("&")),
            }
        } else {
            // Values in quotes may hold blanks; they pass through piece by piece, as no
            // piece of ours is quoted.
            let mut kept = Vec::new();
            for parameter in url.split(' ') {
                if keep(parameter, |path| Some(path.to_owned()))? {
                    kept.push(parameter);
                }
            }
            kept.join(" ")
        };
        let security = if secured { Self::Tls { roots } } else { Self::Clear };
        Ok((security, rest))
    }

    /// What secures the connections, if anything does
    pub(super) fn connector(&self) -> Result<Option<MakeTlsConnector>, Error> {
        let Self::Tls { roots } = self else { return Ok(None) };
        let unusable = |error: openssl::error::ErrorStack| Error::Tls { reason: error.to_string() };
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(unusable)?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(unusable)?;
        if let Some(roots) = roots {
            let unreadable = |error: openssl::error::ErrorStack| Error::Tls {
                reason: format!("`{}` holds no certificates: {error}", roots.display()),
            };
            // In place of the system's: whoever names one authority means no other.
            let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(unusable)?;
            let pem = std::fs::read(roots).map_err(|error| Error::Tls {
                reason: format!("`{}` cannot be read: {error}", roots.display()),
            })?;
            let certificates = openssl::x509::X509::stack_from_pem(&pem).map_err(unreadable)?;
            if certificates.is_empty() {
                return Err(unreadable(openssl::error::ErrorStack::get()));
            }
            for certificate in certificates {
                store.add_cert(certificate).map_err(unusable)?;
            }
            builder.set_cert_store(store.build());
        }
        Ok(Some(MakeTlsConnector::new(builder.build())))
    }
}

/// The text behind percent signs, if it is a text
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_of_security_is_taken_out_of_it() {
        let tls = |roots: Option<&str>| Security::Tls { roots: roots.map(PathBuf::from) };
        for (url, security, rest) in [
            ("postgresql://h/d", Security::Clear, "postgresql://h/d"),
            ("postgresql://h/d?sslmode=disable", Security::Clear, "postgresql://h/d"),
            ("postgresql://h/d?sslmode=require", tls(None), "postgresql://h/d"),
            (
                "postgres://h/d?a=b&sslmode=verify-full&sslrootcert=%2Fca%20s.pem&c=d",
                tls(Some("/ca s.pem")),
                "postgres://h/d?a=b&c=d",
            ),
            ("postgres://h/d?sslmode=verify-ca&sslrootcert=system", tls(None), "postgres://h/d"),
            ("host=h sslmode=verify-full user='a b'", tls(None), "host=h user='a b'"),
            ("host=h sslmode=require sslrootcert=/ca.pem", tls(Some("/ca.pem")), "host=h"),
        ] {
            assert_eq!(Security::of(url), Ok((security, rest.to_owned())), "{url}");
        }
        for bad in ["postgres://h?sslmode=sure", "postgres://h?sslrootcert=%f", "sslmode="] {
            assert_eq!(Security::of(bad), Err(Error::InvalidUrl), "{bad}");
        }
    }
}
