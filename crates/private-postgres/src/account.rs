use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::Error;

/// The account that the server runs as
///
/// PostgreSQL refuses to run as root, and processes in containers often are root. Such a process
/// runs the server under another account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    name: String,
    /// The user and group id; `None` for those of this process
    ids: Option<(u32, u32)>,
}

impl Account {
    /// The account for a new server: that of this process, or if it is root, `postgres` or `nobody`
    pub(crate) fn for_new_data() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self { name: "of this process".to_owned(), ids: None };
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self { name: name.to_owned(), ids: Some(ids(&passwd, name)?) }))
            .unwrap_or_else(|| Self { name: "nobody".to_owned(), ids: Some(NOBODY) })
    }

    /// The account that owns `data`
    ///
    /// It may differ from the account that a new server would get now.
    pub(crate) fn of_existing(data: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::for_new_data());
        }
        let owner = fs::metadata(data).map_err(Error::io("looking at", data))?;
        Ok(Self { name: owner.uid().to_string(), ids: Some((owner.uid(), owner.gid())) })
    }

    /// A command that runs as this account, with only the variables it needs
    ///
    /// `PGDATA` and its like would redirect the server. Without `TZ`, `initdb` reads the whole
    /// time zone database to find out what the system's zone is.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("TZ", "UTC").env("LC_ALL", "C");
        for kept in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes this account the owner of `path`
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        match self.ids {
            Some((uid, gid)) => {
                chown(path, Some(uid), Some(gid)).map_err(Error::io("changing the owner of", path))
            }
            None => Ok(()),
        }
    }

    /// Checks that this account may enter every folder above `path`
    ///
    /// The server's own message would name only the last folder.
    pub(crate) fn reaches(&self, path: &Path) -> Result<(), Error> {
        let Some((uid, gid)) = self.ids else { return Ok(()) };
        for folder in path.ancestors().skip(1) {
            let found = fs::metadata(folder).map_err(Error::io("looking at", folder))?;
            let may_enter = match (found.uid() == uid, found.gid() == gid) {
                (true, _) => 0o100,
                (_, true) => 0o010,
                _ => 0o001,
            };
            if found.mode() & may_enter == 0 {
                let account = self.name.clone();
                return Err(Error::OutOfReach { path: folder.to_owned(), account });
            }
        }
        Ok(())
    }
}

/// The user and group id of `name` in the text of `/etc/passwd`
fn ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find_map(|mut fields| {
        (fields.next() == Some(name)).then(|| fields.skip(1)) // the password
    })?;
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

const NOBODY: (u32, u32) = (65_534, 65_534);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_the_line_with_exactly_that_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres2:x:1:1::/:/bin/sh\n\
                      broken\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids(passwd, "postgres"), Some((101, 104)));
        assert_eq!(ids(passwd, "nobody"), None);
        assert_eq!(ids(passwd, "broken"), None);
    }
}
