//! App access over HTTP

#![allow(clippy::print_stdout, reason = "a test reports what it skips")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod access;
mod acts;
mod addresses;
mod alone;
mod api;
mod app;
mod attacks;
mod audit;
mod authorize;
mod beside;
mod carried;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "../common/command.rs"]
mod command;
mod control_plane;
mod ended;
mod everyday;
mod faithful;
mod forward;
mod hosts;
mod issue;
mod keys;
mod kill;
mod limits;
mod lines;
#[path = "../common/log.rs"]
mod log;
mod long;
mod names;
mod oidc;
mod origins;
mod pages;
mod path;
mod people;
mod planted;
mod ports;
mod provider;
mod proxy;
mod purpose;
mod real;
mod recent;
mod redirect;
mod refresh;
mod releases;
mod revocations;
mod seals;
mod sessions;
mod shares;
mod sign_in;
mod strangers;
mod subdomain;
#[path = "../common/upstream.rs"]
mod upstream;
mod world;
