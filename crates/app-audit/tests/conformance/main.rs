//! The checks pass what keeps the rules, and fail each implementation that breaks one

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod acts;
mod visits;

#[path = "../../examples/own_journal.rs"]
#[allow(dead_code, reason = "the test does not call `main`")]
mod example;

use std::sync::Mutex;

use app_audit::Page;
use app_audit::conformance::Broken;

/// Checks that each mistake breaks the rules listed with it, and that each rule is broken by one
macro_rules! assert_broken {
    ($with:ident; $($mistakes:ident: $rule:ident),+) => {
        let mut tried = std::collections::BTreeSet::new();
        let mut all = std::collections::BTreeSet::new();
        $(
            for (mistake, rules) in $mistakes {
                for rule in *rules {
                    let checked = rule.check($with(*mistake)).await;
                    crate::broken(checked, rule.name(), &format!("{mistake:?}"));
                    tried.insert(rule.name());
                }
            }
            all.extend($rule::ALL.iter().map(|rule| rule.name()));
        )+
        assert_eq!(tried, all);
    };
}
use assert_broken;

/// Asserts that a check found the rule broken
fn broken(checked: Result<(), Broken>, rule: &str, mistake: &str) {
    let Err(broken) = checked else { panic!("{mistake} does not break `{rule}`") };
    assert_eq!(broken.rule(), rule);
    assert!(broken.to_string().starts_with(&format!("the rule `{rule}` is broken: ")), "{broken}");
}

/// Returns the page of a log that counts the rows that it has returned, instead of looking where
/// the last page ended: a mistake
fn page_by_offset<R>(all: Vec<R>, page: Page, returned: &Mutex<usize>) -> Vec<R> {
    let mut returned = returned.lock().unwrap();
    if page.cursor().is_none() {
        *returned = 0;
    }
    let limit = usize::try_from(page.limit()).unwrap();
    let rows: Vec<R> = all.into_iter().skip(*returned).take(limit).collect();
    *returned += rows.len();
    rows
}
