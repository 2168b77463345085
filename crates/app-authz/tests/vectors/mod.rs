//! The decision vectors that stand beside the checkout

use std::path::PathBuf;

/// The text of a vector file, or nothing where there are no vectors
///
/// Their absence is said aloud, and an error where `AUTHD_REQUIRE_VECTORS` is `1`.
pub(crate) fn read(file: &str) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if !folder.is_dir() {
        assert!(
            std::env::var_os("AUTHD_REQUIRE_VECTORS").is_none_or(|required| required != "1"),
            "no vectors at {}",
            folder.display()
        );
        println!("NO VECTORS at {}: only the cases kept here were run", folder.display());
        return None;
    }
    Some(std::fs::read_to_string(folder.join(file)).unwrap())
}
