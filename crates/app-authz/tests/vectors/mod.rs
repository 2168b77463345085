//! Cases of role-based decisions; `README.md` says where they come from

/// The cases that are part of the repository, one a line
pub(crate) const KEPT: &str = include_str!("rbac/cases.jsonl");

/// The cases of `rbac/cases.jsonl` in the folder that `AUTHD_VECTORS` names, one a line
///
/// Without that variable returns `None`, after a line of output that says so.
pub(crate) fn more() -> Option<String> {
    let Some(folder) = std::env::var_os("AUTHD_VECTORS") else {
        println!("`AUTHD_VECTORS` is not set: only the cases of the repository are tested");
        return None;
    };
    let file = std::path::Path::new(&folder).join("rbac/cases.jsonl");
    Some(std::fs::read_to_string(file).unwrap())
}
