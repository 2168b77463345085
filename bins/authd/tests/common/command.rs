//! The commands of the real binary

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::Database;

/// Runs a command on a database: its exit status, standard output and standard error
pub async fn on(database: &Database, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(args).args(["--log-level", "error", "--database-url", database.url()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Runs `authd verify`
pub fn verify(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("verify").args(args).env_remove("AUTHD_TRUST_DIR").output().unwrap()
}

/// A folder for one test, removed when it is dropped
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("authd-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file into the folder, and returns its path
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        text(&path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A path as an argument
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
