//! Every scenario of `docs/scenarios.md` is named by a test, and tests name no others

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Scenarios that no test names: authd does not carry the traffic of apps, so it cannot count it
const OF_THE_DATA_PLANE: [u16; 1] = [181];

#[test]
fn tests_name_the_scenarios_of_the_document() {
    let root = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
    let document = fs::read_to_string(root.join("docs/scenarios.md")).unwrap();
    let listed: Vec<u16> = document.lines().filter_map(entry).collect();
    assert!(listed.len() > 150, "only {} scenarios", listed.len());
    assert!(listed.is_sorted_by(|a, b| a < b), "not in ascending order, or listed twice");

    let mut files = Vec::new();
    rust_files(&root.join("bins"), &mut files);
    rust_files(&root.join("crates"), &mut files);
    let mut named = BTreeSet::new();
    // This file has comments in strings.
    for file in files.into_iter().filter(|file| !file.ends_with(file!())) {
        named.extend(fs::read_to_string(file).unwrap().lines().flat_map(scenarios));
    }
    let listed: BTreeSet<u16> = listed.into_iter().collect();
    let unnamed: BTreeSet<u16> = listed.difference(&named).copied().collect();
    let unlisted: Vec<_> = named.difference(&listed).collect();
    assert_eq!(unnamed, OF_THE_DATA_PLANE.into(), "left: listed, and not named by a test");
    assert!(unlisted.is_empty(), "named by a test, and not listed: {unlisted:?}");
}

#[test]
fn comments_are_read_as_they_are_written() {
    for (line, expected) in [
        ("// scenario 113", &[113][..]),
        ("    // scenario 256, 258: the name is trimmed", &[256, 258]),
        ("    // The rows behind scenarios 256 and 259", &[256, 259]),
        ("// scenario 1, on every release since v2.24", &[1]),
        ("let text = \"scenario 7\";", &[]),
        ("// a scenario of its own", &[]),
    ] {
        assert_eq!(scenarios(line), expected, "{line}");
    }
}

/// The number of a line such as `114. …`
fn entry(line: &str) -> Option<u16> {
    line.split_once(". ")?.0.parse().ok()
}

/// The numbers that a comment lists directly behind the word
fn scenarios(line: &str) -> Vec<u16> {
    let Some((_, comment)) = line.split_once("//") else { return Vec::new() };
    let Some((_, list)) = comment.split_once("scenario") else { return Vec::new() };
    list.trim_start_matches('s')
        .split([' ', ',', ':'])
        .filter(|word| !word.is_empty() && *word != "and")
        .map_while(|word| word.parse().ok())
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
