//! `allocations`: counts the allocations of operations, for the program `report`
//!
//! It is a program of its own, since an allocator that counts makes every allocation slower.

use std::io::{self, Write as _};

use authd_benches::report::Report;
use authd_benches::{Effort, Setting, suites};

fn main() -> io::Result<()> {
    let is_counted = |id: &str| suites::WITH_ALLOCATIONS.contains(&id);
    let suites: Vec<_> = suites::ALL.into_iter().filter(|suite| is_counted(suite.id)).collect();
    let mut setting = Setting::new(Effort::Check);
    setting.allocations = Some(|operation| allocation_counter::measure(operation).count_total);
    let report = Report::run(&suites, &setting, |_, _| {});
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)
}
