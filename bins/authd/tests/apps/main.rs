//! App access over HTTP: who opens which app, and what they are told

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod access;
mod api;
mod attacks;
mod audit;
mod forward;
mod issue;
mod keys;
mod kill;
mod limits;
mod path;
mod ports;
mod real;
mod redirect;
mod releases;
mod sessions;
mod subdomain;
#[path = "../common/upstream.rs"]
mod upstream;
mod world;
