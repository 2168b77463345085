use std::collections::hash_map::RandomState;
use std::fs::DirBuilder;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use crate::Error;
use crate::account::Account;

/// The URL of `database` for `user`, on the server whose socket is in `folder`
pub(crate) fn url(folder: &Path, database: &str, user: &str) -> String {
    let [database, folder, user] =
        [database.as_bytes(), folder.as_os_str().as_bytes(), user.as_bytes()].map(percent_encoded);
    format!("postgresql:///{database}?host={folder}&user={user}")
}

fn percent_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut encoded = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Creates a folder with a short path that only `account` may enter
pub(crate) fn temporary_folder(account: &Account) -> Result<PathBuf, Error> {
    loop {
        // The standard library's source of randomness: the keys of a hash map.
        let random = RandomState::new().build_hasher().finish();
        let name = format!("postgres-{random:016x}");
        let folder = Some(env::temp_dir().join(&name))
            .filter(|folder| fits_a_socket(folder))
            .unwrap_or_else(|| Path::new("/tmp").join(&name));
        account.reaches(&folder)?;
        // Fails if the name is taken, so that the folder is never one that another account
        // has prepared.
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                created.map_err(Error::io("creating", &folder))?;
                account.own(&folder)?;
                return Ok(folder);
            }
        }
    }
}

/// Whether a socket in `folder` has a path that the system accepts
pub(crate) fn fits_a_socket(folder: &Path) -> bool {
    folder.join(SOCKET).as_os_str().len() <= MAX_SOCKET_PATH
}

/// The name of the socket of a server on port 5432
pub(crate) const SOCKET: &str = ".s.PGSQL.5432";
/// `sockaddr_un.sun_path` without its closing NUL on macOS; Linux has four bytes more
const MAX_SOCKET_PATH: usize = 103;

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Config, Host};

    use super::*;

    #[test]
    fn any_bytes_become_a_url() {
        let url = url(Path::new("/tmp/a b&c?ä"), "my db", "o'neill");
        assert_eq!(url, "postgresql:///my%20db?host=/tmp/a%20b%26c%3F%C3%A4&user=o%27neill");
        let config: Config = url.parse().unwrap();
        assert_eq!(config.get_hosts(), [Host::Unix("/tmp/a b&c?ä".into())]);
        assert_eq!((config.get_dbname(), config.get_user()), (Some("my db"), Some("o'neill")));
    }
}
