//! Collects all wrong answers of a test

use std::fmt::Debug;

use testkit::Release;

#[derive(Default)]
pub struct Wrong(Vec<String>);

impl Wrong {
    pub fn unless_same<T: Debug + PartialEq>(
        &mut self,
        release: Release,
        question: &impl Debug,
        found: &T,
        expected: &T,
    ) {
        if found != expected {
            self.0.push(format!("{release}: {question:?} is answered {found:?}, not {expected:?}"));
        }
    }

    pub fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} wrong answers:\n{}", self.0.len(), self.0.join("\n"));
    }
}
