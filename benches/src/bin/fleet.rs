//! Writes a document of many workspaces for `authd import`, always the same for one number
//!
//! `cargo run --release -p authd-benches --bin fleet -- 100000 > fleet.json`

use std::io::{self, BufWriter, Write};

use clap::Parser;

/// Write a document of workspaces for `authd import`
#[derive(Parser)]
struct Args {
    /// Number of workspaces, each with a build, an agent and two apps: seven rows
    workspaces: u32,
    /// Number of users, who own the workspaces in turn
    #[arg(long, default_value_t = 1_000)]
    users: u32,
}

fn main() -> io::Result<()> {
    let Args { workspaces, users } = Args::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let users = users.max(1);
    write!(out, "{{\"organizations\": [{{\"name\": \"acme\"}}],\n\"users\": [")?;
    for n in 0..users {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}\n{{\"username\": \"u{n}\", \"organizations\": {{\"acme\": []}}}}")?;
    }
    write!(out, "],\n\"workspaces\": [")?;
    for n in 0..workspaces {
        let comma = if n == 0 { "" } else { "," };
        let owner = n % users;
        write!(
            out,
            "{comma}\n{{\"name\": \"w{n}\", \"owner\": \"u{owner}\", \"organization\": \"acme\", \
             \"builds\": [{{\"number\": 1, \"agents\": [{{\"name\": \"main\", \
             \"instance_id\": \"i-{n:017x}\", \"connected\": true, \"apps\": [\
             {{\"slug\": \"code\", \"url\": \"http://127.0.0.1:13337\", \"subdomain\": true}}, \
             {{\"slug\": \"docs\", \"url\": \"http://127.0.0.1:3000\", \"subdomain\": true, \
             \"sharing_level\": \"authenticated\"}}]}}]}}], \"port_shares\": []}}"
        )?;
    }
    writeln!(out, "]}}")?;
    out.flush()
}
