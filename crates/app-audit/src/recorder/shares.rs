use std::collections::HashMap;

use crate::source::Source;

/// How many entries of each source wait, so that none takes the whole queue
///
/// The bound depends on the room that is left: a source may have a third of it, and all anonymous
/// sources together as much as is left. A source that goes on thus ends at a quarter of the queue,
/// any number of anonymous ones at half of it, and an honest visitor finds room in each case.
#[derive(Debug, Default)]
pub(super) struct Shares {
    waiting: HashMap<Source, usize>,
    anonymous: usize,
}

impl Shares {
    /// Returns whether one more entry of `source` may wait, if there is room for `free`
    pub(super) fn has_room(&self, source: Source, free: usize) -> bool {
        let own = self.waiting.get(&source).copied().unwrap_or_default();
        let is_small = |count: usize, of_free: usize| count < ALWAYS.max(of_free);
        free > 0
            && is_small(own, free / 3)
            && (!source.is_anonymous() || is_small(self.anonymous, free))
    }

    pub(super) fn add(&mut self, source: Source) {
        *self.waiting.entry(source).or_default() += 1;
        self.anonymous += usize::from(source.is_anonymous());
    }

    pub(super) fn remove(&mut self, source: Source) {
        if let Some(count) = self.waiting.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&source);
            }
        }
        self.anonymous -= usize::from(source.is_anonymous());
    }
}

/// As many entries may wait of any source while there is room at all
const ALWAYS: usize = 16;
