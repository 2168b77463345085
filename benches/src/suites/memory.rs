//! Resident memory of the real program
//!
//! A storm of machines that sign in, each over a connection that stays open, as HTTP clients keep
//! theirs. Both are measured at rest, when memory that was freed has gone back to the system: idle some
//! seconds after `/readyz` answers, and the other some seconds after the last machine has its token,
//! while all connections are open.

use std::cell::OnceCell;
use std::rc::Rc;

use clap::Parser;
use rustix::process::{Resource, getrlimit};

use crate::storm::{self, Options, Report};
use crate::{Binary, Case, Effort, Goal, Measurement, Row, Setting, Suite, Unit, report};

/// Memory of the real program
pub static MEMORY: Suite = Suite {
    id: "memory",
    title: "Memory of `authd serve`",
    feature: None,
    rows: &[
        Row::limit("idle", Unit::Megabytes, Goal::Below(20.0)),
        Row::limit(
            "10,000 open connections after one sign-in each",
            Unit::Megabytes,
            Goal::Below(120.0),
        ),
    ],
    prepare,
};

fn prepare(_: &Setting) -> Vec<Case> {
    let storm = Rc::new(OnceCell::new());
    let case = |memory: fn(&storm::ServerReport) -> [f64; 2]| {
        let storm = Rc::clone(&storm);
        Case::Figure(Box::new(move |setting: &Setting| {
            let report: &Report = storm.get_or_init(|| run(setting));
            let [resident, anonymous] = memory(&report.servers[0]).map(|mib| mib * 1.048_576);
            let (agents, signed_in) = (report.honest.agents, report.honest.signed_in);
            let mut note = format!(
                "{anonymous:.1} MB without the pages of files; {signed_in} of {agents} machines \
                 signed in"
            );
            report.warnings.iter().for_each(|warning| note += &format!("; {warning}"));
            Measurement::of(vec![(None, resident)]).with_note(note)
        }))
    };
    vec![
        case(|server| [server.resident_before_mib, server.anonymous_before_mib]),
        case(|server| [server.resident_after_mib, server.anonymous_after_mib]),
    ]
}

fn run(setting: &Setting) -> Report {
    let authd = match &setting.binary {
        Binary::At(path) => path.clone(),
        Binary::Build => report::build_authd(),
    };
    let connections = setting.connections;
    let rest = if setting.effort == Effort::Check { 0 } else { REST };
    let args = [
        "storm".to_owned(),
        format!("--authd={}", authd.display()),
        format!("--agents={connections}"),
        // Slow machines get the time that they need: a machine comes again if it is not answered.
        format!("--window-ms={connections}"),
        "--deadline-seconds=300".to_owned(),
        "--retry-seconds=1".to_owned(),
        "--builds=2".to_owned(),
        "--clouds=aws".to_owned(),
        "--log=null".to_owned(),
        "--keep-connections".to_owned(),
        format!("--rest-seconds={rest}"),
        format!("--linger-seconds={rest}"),
        format!("--server-arg=--max-connections={}", connections + 1_000),
        format!("--server-descriptors={}", descriptors(connections)),
    ];
    let options = Args::try_parse_from(args).unwrap().options;
    setting.runtime.block_on(storm::run(&options)).unwrap()
}

/// Longer than the allocator keeps memory that was freed, in seconds
const REST: u64 = 15;

/// Enough for the connections, if the system allows that
fn descriptors(connections: usize) -> u64 {
    let wanted = u64::try_from(connections).unwrap() + 2_000;
    getrlimit(Resource::Nofile).maximum.map_or(wanted, |limit| limit.min(wanted))
}

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
}
