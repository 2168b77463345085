//! The published decisions, which are not part of the repository

use std::path::Path;

/// The text of a file in the folder `AUTHD_VECTORS`; if that is not set, `None` and a message
pub(crate) fn read(file: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("AUTHD_VECTORS") else {
        println!("`AUTHD_VECTORS` is not set: only the cases kept here were run");
        return None;
    };
    Some(std::fs::read_to_string(Path::new(&folder).join(file)).unwrap())
}
