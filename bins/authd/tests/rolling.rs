//! Replicas are replaced one by one behind a load balancer, and clients do not notice

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "says that a test was skipped")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::net::{Client, free_address};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SIGN_IN: &str = "/api/v2/workspaceagents/aws-instance-identity";

/// A process that is killed when it is dropped
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn authd(address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
        command.args(["serve", "--store", "memory", "--listen", &address.to_string()]);
        Self::start(command.args(["--lame-duck-seconds", "2"]))
    }

    /// Stops it with SIGTERM, and waits until it has ended
    async fn stop(mut self) {
        let id = i32::try_from(self.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(Duration::from_secs(60), async {
            while self.0.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        ended.await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_for(address: SocketAddr) {
    let client = Client::new();
    let url = format!("http://{address}/readyz");
    let ready = timeout(Duration::from_secs(60), async {
        while !client.get(&url).await.is_ok_and(|answer| answer.status == 200) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    ready.await.unwrap();
}

/// Waits until the balancer sends requests to both replicas
///
/// nginx does so without knowing whether they answer. haproxy looks, and says what it has seen.
async fn wait_for_use(program: &str, front: SocketAddr) {
    if program == "nginx" {
        return;
    }
    let (client, url) = (Client::new(), format!("http://{front}{STATISTICS};csv"));
    let used = timeout(Duration::from_secs(60), async {
        loop {
            let table = String::from_utf8(client.get(&url).await.unwrap().body.to_vec()).unwrap();
            let up = |server: &&str| server.starts_with("authd,") && server.contains(",UP,");
            // Both replicas, and the backend that consists of them
            if table.lines().filter(up).count() == 3 {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    used.await.unwrap();
}

/// Where haproxy has its table of servers
const STATISTICS: &str = "/statistics";

/// The configuration of a load balancer that keeps its connections
fn configuration(
    program: &str,
    front: SocketAddr,
    replicas: [SocketAddr; 2],
    dir: &Path,
) -> String {
    let [one, two] = replicas;
    let dir = dir.display();
    match program {
        "nginx" => format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/log;
             events {{ worker_connections 512; }}
             http {{
               access_log off;
               client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
               uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
               upstream authd {{ server {one} max_fails=0; server {two} max_fails=0; keepalive 16; }}
               server {{
                 listen {front};
                 location / {{
                   proxy_pass http://authd;
                   proxy_http_version 1.1;
                   proxy_set_header Connection '';
                 }}
               }}
             }}"
        ),
        _ => format!(
            // Without `timeout check`, a replica would be down after an answer that took 200 ms.
            "global\n  maxconn 512\ndefaults\n  mode http\n  timeout connect 5s\n  \
             timeout client 60s\n  timeout server 60s\n  timeout check 60s\nfrontend all\n  \
             bind {front}\n  stats uri {STATISTICS}\n  default_backend authd\nbackend authd\n  \
             option httpchk GET /readyz\n  http-reuse always\n  \
             default-server check inter 200ms fall 1 rise 1\n  \
             server one {one}\n  server two {two}\n"
        ),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = PathBuf::from("/usr/sbin");
    let found = std::env::split_paths(&path).chain([sbin]).map(|folder| folder.join(program));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{program} is missing");
        eprintln!("skipped: {program} is missing");
    }
    found
}

/// Sends requests from eight clients until it is stopped; returns their number and what failed
async fn load(front: SocketAddr, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let mut clients = JoinSet::new();
    for n in 0..8 {
        let stop = Arc::clone(&stop);
        clients.spawn(async move {
            let client = Client::new();
            let (mut count, mut failed) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let answer = client.post_json(&format!("http://{front}{SIGN_IN}"), "{}").await;
                match answer {
                    // What authd says about an empty proof.
                    Ok(answer) if answer.status == 400 => {}
                    Ok(answer) => failed.push(format!("{}: {:?}", answer.status, answer.body)),
                    Err(error) => failed.push(error.to_string()),
                }
                count += 1;
                // Some connections rest for longer than others.
                sleep(Duration::from_millis(n * 7)).await;
            }
            (count, failed)
        });
    }
    let mut all = (0, Vec::new());
    for (count, failed) in clients.join_all().await {
        all.0 += count;
        all.1.extend(failed);
    }
    all
}

async fn replace_all(program: &str) {
    let Some(path) = find(program) else { return };
    let dir = std::env::temp_dir().join(format!("authd-rolling-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&dir).unwrap();
    let (front, replicas) = (free_address(), [free_address(), free_address()]);
    let mut running = replicas.map(|address| Some(Process::authd(address)));
    for address in replicas {
        wait_for(address).await;
    }
    let file = dir.join("configuration");
    std::fs::write(&file, configuration(program, front, replicas, &dir)).unwrap();
    let option = if program == "nginx" { "-c" } else { "-f" };
    let balancer = Process::start(Command::new(path).arg(option).arg(&file));
    wait_for(front).await;

    let stop = Arc::new(AtomicBool::new(false));
    let clients = tokio::spawn(load(front, Arc::clone(&stop)));
    for round in 0..4 {
        let n = round % 2;
        running[n].take().unwrap().stop().await;
        running[n] = Some(Process::authd(replicas[n]));
        wait_for(replicas[n]).await;
        wait_for_use(program, front).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (count, failed) = clients.await.unwrap();
    drop(balancer);
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    std::fs::remove_dir_all(dir).unwrap();
    let first = failed.first();
    assert!(first.is_none(), "{program}: {} of {count}: {first:?}\n{log}", failed.len());
    assert!(count > 100, "{count}");
}

#[tokio::test]
async fn nginx_loses_no_request() {
    replace_all("nginx").await;
}

#[tokio::test]
async fn haproxy_loses_no_request() {
    replace_all("haproxy").await;
}
