//! Files stay short, and the modules of a crate do not depend on each other in a ring

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest that a source file may be, in lines
const LONGEST: usize = 460;

/// Files that are longer, relative to the workspace: one that diesel's program writes
const LONGER: &[&str] = &["crates/store/src/pg/schema.rs"];

/// Crates whose first-level modules must not depend on each other in a ring; unit tests may
const WITHOUT_RINGS: &[&str] = &[
    "bins/authd",
    "bins/authd-demo",
    "crates/agent-auth",
    "crates/agent-token",
    "crates/fleet-import",
    "crates/http",
    "crates/identity-fetch",
    "crates/private-postgres",
    "crates/proof-repair",
    "crates/testkit",
];

#[test]
fn source_files_are_short() {
    let root = workspace();
    let mut files = Vec::new();
    for folder in crates(&root) {
        rust_files(&folder.join("src"), &mut files);
    }
    assert!(files.len() > 300, "only {} files", files.len());
    let long =
        files.iter().filter(|file| fs::read_to_string(file).unwrap().lines().count() > LONGEST);
    let long: BTreeSet<_> = long.map(|file| relative(file, &root)).collect();
    let expected = LONGER.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(long, expected, "left: longer than {LONGEST} lines; right: the list of this test");
}

/// What other programs could use belongs in a library
#[test]
fn the_server_is_thin() {
    let mut files = Vec::new();
    rust_files(&workspace().join("bins/authd/src"), &mut files);
    let shipped = |file| without_tests(&fs::read_to_string(file).unwrap()).lines().count();
    let all: usize = files.iter().map(shipped).sum();
    assert!(all < 5_300, "{all} lines");
}

/// An example that no test runs goes stale
#[test]
fn every_example_is_run_by_a_test_of_its_crate() {
    let root = workspace();
    let (mut examples, mut idle) = (0, Vec::new());
    for folder in crates(&root) {
        let Ok(entries) = fs::read_dir(folder.join("examples")) else { continue };
        let mut tests = Vec::new();
        rust_files(&folder.join("tests"), &mut tests);
        let tests: Vec<_> = tests.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // A test includes it: `#[path = "../examples/axum.rs"]`
            let place = format!("examples/{name}");
            examples += 1;
            if !tests.iter().any(|test| test.contains(&place)) {
                idle.push(relative(&path, &root));
            }
        }
    }
    assert!(examples > 0);
    assert!(idle.is_empty(), "no test includes {}", idle.join(", "));
}

#[test]
fn modules_do_not_depend_on_each_other_in_a_ring() {
    let root = workspace();
    let mut rings = Vec::new();
    for folder in WITHOUT_RINGS {
        let modules = Modules::read(&root.join(folder).join("src"));
        assert!(modules.names.len() > 1, "{folder}: {:?}", modules.names);
        rings.extend(modules.ring().map(|ring| format!("{folder}: {ring}")));
    }
    assert!(rings.is_empty(), "{}", rings.join("\n"));
}

fn workspace() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap()
}

fn crates(root: &Path) -> Vec<PathBuf> {
    let entries = ["crates", "bins"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
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

fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()
}

/// The first-level modules of a crate, and which of the others each uses
#[derive(Debug, Default)]
struct Modules {
    names: BTreeSet<String>,
    /// For each name that the root exports, the module that it comes from
    exported: BTreeMap<String, String>,
    /// For each using module and each used one, a file that contains the use
    uses: BTreeMap<String, BTreeMap<String, String>>,
}

impl Modules {
    fn read(source: &Path) -> Self {
        let mut files = Vec::new();
        rust_files(source, &mut files);
        let mut texts: Vec<(String, Vec<String>, String)> = Vec::new();
        for file in files {
            let name = relative(&file, source);
            let path: Vec<_> = name
                .trim_end_matches(".rs")
                .split('/')
                .filter(|part| !["lib", "main", "mod"].contains(part))
                .map(str::to_owned)
                .collect();
            // Tests may use any module.
            if !path.iter().any(|part| part == "tests") {
                texts.push((name, path, without_tests(&fs::read_to_string(file).unwrap())));
            }
        }
        Self::of(&texts)
    }

    /// Reads files, each given as its name, its path as a module, and its text
    fn of(files: &[(String, Vec<String>, String)]) -> Self {
        let mut modules = Self {
            names: files.iter().filter_map(|(_, path, _)| path.first().cloned()).collect(),
            ..Self::default()
        };
        for (_, _, text) in files.iter().filter(|(_, path, _)| path.is_empty()) {
            for statement in text.split(';').filter(|text| text.contains("pub use ")) {
                for path in paths(statement, "use ") {
                    let path = path.strip_prefix(&["crate".to_owned()][..]).unwrap_or(&path);
                    if let [module, .., name] = path {
                        modules.exported.insert(name.clone(), module.clone());
                    }
                }
            }
        }
        for (name, path, text) in files {
            for used in modules.used(path, text) {
                let user = path.first().map_or(ROOT, |module| module).to_owned();
                if used != user {
                    modules
                        .uses
                        .entry(user)
                        .or_default()
                        .entry(used)
                        .or_insert_with(|| name.clone());
                }
            }
        }
        modules
    }

    /// The first-level modules that a file uses; `path` is the file's path as a module
    fn used(&self, path: &[String], text: &str) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for start in ["crate::", "super::"] {
            for of in paths(text, start) {
                let supers = of.iter().take_while(|part| *part == "super").count();
                // The path stays within the module.
                if supers > 0 && path.len() > supers {
                    continue;
                }
                // A name that the root exports counts as its module's.
                if let Some(first) = of.get(supers).filter(|_| !path.is_empty()) {
                    let module = self.names.get(first).or_else(|| self.exported.get(first));
                    used.insert(module.map_or(ROOT, |module| module).to_owned());
                }
            }
        }
        // Imports of the root itself, which it needs only if it contains items.
        if path.is_empty() {
            let private = text.split(';').filter(|text| !text.contains("pub use "));
            for path in private.flat_map(|text| paths(text, "use ")) {
                let path = path.strip_prefix(&["crate".to_owned()][..]).unwrap_or(&path);
                used.extend(path.first().and_then(|first| self.names.get(first)).cloned());
            }
        }
        used
    }

    /// The shortest ring, with the files that contain the uses
    fn ring(&self) -> Option<String> {
        let mut paths: Vec<Vec<&str>> =
            self.uses.keys().map(|module| vec![module.as_str()]).collect();
        let mut seen = BTreeSet::new();
        // Breadth first, so the first ring that is found is the shortest.
        let mut at = 0;
        while let Some(path) = paths.get(at).cloned() {
            at += 1;
            let (first, last) = (path[0], path[path.len() - 1]);
            for next in self.uses.get(last).into_iter().flat_map(BTreeMap::keys) {
                if next == first {
                    let steps = path.iter().zip(path.iter().skip(1).chain([&first]));
                    let steps = steps.map(|(a, b)| format!("{a} -> {b} in {}", self.uses[*a][*b]));
                    return Some(steps.collect::<Vec<_>>().join(", "));
                }
                if seen.insert((first, next.as_str())) {
                    paths.push([path.clone(), vec![next.as_str()]].concat());
                }
            }
        }
        None
    }
}

const ROOT: &str = "(root)";

/// The code before the unit tests, without comments and string literals
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut kept = String::new();
    for line in code.lines() {
        let mut quoted = false;
        let mut previous = ' ';
        for (at, c) in line.char_indices() {
            if !quoted && line[at..].starts_with("//") {
                break;
            }
            if c == '"' && previous != '\\' && previous != '\'' {
                quoted = !quoted;
            } else if !quoted {
                kept.push(c);
            }
            previous = c;
        }
        kept.push('\n');
    }
    kept
}

/// The paths that begin with `start`, one for each branch of a group
///
/// Returned paths include `super`, but not `crate` and `use`.
fn paths(text: &str, start: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(start) {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        // `super::super::` is one path, and `$crate::` is expanded in other crates.
        if before.is_alphanumeric() || "_$:".contains(before) {
            continue;
        }
        let from = match start {
            "crate::" | "use " => at + start.len(),
            _ => at,
        };
        branches(&mut text[from..].chars().peekable(), &[], &mut found);
    }
    found
}

fn branches(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: &[String],
    found: &mut Vec<Vec<String>>,
) {
    let mut path = before.to_vec();
    loop {
        let mut part = String::new();
        while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '*') {
            part.push(c);
        }
        if !part.is_empty() {
            path.push(part);
        }
        match (rest.peek().copied(), path.len()) {
            (Some(':'), _) => {
                rest.next();
                // A single colon ends the path, such as before a type.
                if rest.next_if_eq(&':').is_none() {
                    break;
                }
            }
            (Some('{'), _) => {
                rest.next();
                while rest.peek().is_some_and(|c| *c != '}') {
                    while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
                    if rest.peek().is_some_and(|c| *c != '}') {
                        branches(rest, &path, found);
                        // Skips a name after `as`.
                        while rest.next_if(|c| !",}".contains(*c)).is_some() {}
                    }
                }
                rest.next();
                return;
            }
            _ => break,
        }
    }
    found.push(path);
}

#[test]
fn paths_are_read_with_every_branch() {
    let found = |text, start| -> Vec<String> {
        paths(text, start).iter().map(|path| path.join("::")).collect()
    };
    let text = "use crate::{a, b::{C, d::E as F},\n g::*}; let x: crate::h::I = $crate::j::k();";
    assert_eq!(found(text, "crate::"), ["a", "b::C", "b::d::E", "g::*", "h::I"]);
    assert_eq!(
        found("use super::super::a::B; super::c()", "super::"),
        ["super::super::a::B", "super::c"]
    );
    assert_eq!(found("pub use crate::a::B; mod c;", "use "), ["crate::a::B"]);
    assert_eq!(
        without_tests("a // b\n\"c\" d '\"' e\n#[cfg(test)]\nmod tests {\n f"),
        "a \n d '\"' e\n"
    );
}

#[test]
fn a_ring_is_found_and_named() {
    let file = |name: &str, text: &str| {
        let path = name.trim_end_matches(".rs").split('/');
        let path = path.filter(|part| !["lib", "mod"].contains(part)).map(str::to_owned).collect();
        (name.to_owned(), path, text.to_owned())
    };
    let ring = |files: &[_]| Modules::of(files).ring();
    let root = file("lib.rs", "mod a; mod b; pub use crate::a::A; pub use b::B;");
    // Two modules that use each other, one by a name of the root and one by a path.
    let a =
        file("a/inner/deep.rs", "use super::super::super::b::C; use super::d; use crate::a::x;");
    let b = file("b.rs", "fn f(a: crate::A) {}");
    let named = "a -> b in a/inner/deep.rs, b -> a in b.rs";
    assert_eq!(ring(&[root.clone(), a.clone(), b]).as_deref(), Some(named));
    assert_eq!(ring(&[root, a, file("b.rs", "use crate::b::A;")]), None);
    // An item of the root is used by a module that the root uses.
    let root = file("lib.rs", "mod a; use crate::a::A; pub trait T {}");
    let named = "(root) -> a in lib.rs, a -> (root) in a.rs";
    assert_eq!(ring(&[root, file("a.rs", "impl crate::T for A {}")]).as_deref(), Some(named));
}
