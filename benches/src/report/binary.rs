use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Report;
use crate::Finding;

/// Builds `authd` as it is packaged, or as this program if that is not optimised, and returns its
/// path
///
/// Cargo builds the binaries of a program's own package alone. If `AUTHD_BINARY` names a file, that
/// is returned and nothing is built.
///
/// # Panics
///
/// If cargo fails.
#[allow(clippy::unwrap_used, reason = "without the program nothing can be measured")]
pub fn build_authd() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || match std::env::var_os("AUTHD_BINARY") {
        Some(path) => path.into(),
        None => build("authd", "authd", "dist").unwrap(),
    };
    BUILT.get_or_init(build).clone()
}

/// The rows whose allocations can be counted, as the program `allocations` counts them, which cargo
/// builds if it is not `given`
///
/// # Errors
///
/// Fails if the program cannot be built or does not end well.
pub fn count_allocations(given: Option<&Path>) -> io::Result<Vec<Finding>> {
    let program = match given {
        Some(path) => path.to_owned(),
        None => build(env!("CARGO_PKG_NAME"), "allocations", "release")?,
    };
    let output = Command::new(program).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("counting allocations: {message}")));
    }
    let report: Report = serde_json::from_slice(&output.stdout)?;
    Ok(report.rows)
}

/// Builds a program of this workspace in a profile, or as this program if that is not optimised, and
/// returns its path
fn build(package: &str, name: &str, profile: &str) -> io::Result<PathBuf> {
    let profile = if cfg!(debug_assertions) { "dev" } else { profile };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name, "--profile", profile]);
    // Set for this program only. Build scripts that look at them would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    if !cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
        return Err(io::Error::other(format!("cargo could not build `{name}`")));
    }
    let mut folder = std::env::current_exe()?;
    folder.pop();
    // Tests and benchmarks are one folder below.
    if folder.ends_with("deps") {
        folder.pop();
    }
    if !cfg!(debug_assertions) {
        folder.set_file_name(profile);
    }
    Ok(folder.join(name))
}
