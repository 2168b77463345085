use std::path::PathBuf;

/// How a private server is started
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The folder of `initdb` and `postgres`
    ///
    /// If it is not set, they are looked for in `PATH`, then in Debian's
    /// `/usr/lib/postgresql/*/bin`, the newest version first.
    pub binaries: Option<PathBuf>,
    /// The superuser role of a new server; by default `postgres`
    ///
    /// Must stay the same as long as the data of a persistent server is kept. `initdb`
    /// refuses some names, such as those that begin with `pg_`. A persistent server also shows
    /// the name in process lists.
    pub superuser: String,
    /// Whether an ephemeral server writes to disk before it answers a commit, as a persistent one
    /// does; by default it does not
    ///
    /// For measurements: without it a commit costs almost nothing.
    pub durable: bool,
}

impl Settings {
    /// The same settings, with [`binaries`](Self::binaries) as given
    #[must_use]
    pub fn binaries(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binaries = Some(folder.into());
        self
    }

    /// The same settings, with [`superuser`](Self::superuser) as given
    #[must_use]
    pub fn superuser(mut self, name: impl Into<String>) -> Self {
        self.superuser = name.into();
        self
    }

    /// The same settings, with [`durable`](Self::durable) as given
    #[must_use]
    pub const fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { binaries: None, superuser: "postgres".to_owned(), durable: false }
    }
}
