//! Runs suites of the report at length, and lets criterion compare their sides with an earlier run

use authd_benches::{Case, Effort, Finding, Setting, Suite, Until, report};
use criterion::Criterion;

pub(crate) fn main(suites: &[&Suite]) {
    let setting = Setting::new(Effort::from_args());
    let mut criterion = Criterion::default().configure_from_args();
    for suite in suites {
        println!("{}", report::head(suite.title));
        let mut cases = (suite.prepare)(&setting);
        for (row, case) in suite.rows.iter().zip(&mut cases) {
            let measured = case.measure(&setting);
            println!("{}", report::line(&Finding::of(suite, row, measured, setting.effort)));
        }
        let mut group = criterion.benchmark_group(suite.id);
        for (row, case) in suite.rows.iter().zip(&mut cases) {
            // Other figures need more than one side at a time.
            let Case::Duel(duel) = case else { continue };
            for (name, side) in [("ours", &mut duel.ours), ("floor", &mut duel.floor)] {
                group.bench_function(format!("{}, {}/{name}", row.name, row.floor), |bencher| {
                    bencher.iter_custom(|n| side(Until::Operations(n)).elapsed);
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
