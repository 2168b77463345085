//! A real nginx in front of authd

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::world::World;

const NGINX: &str = "/usr/sbin/nginx";

pub fn is_installed() -> bool {
    Path::new(NGINX).exists()
}

/// nginx with the example of `docs/proxies`, and authd in place of a dashboard
pub struct Nginx {
    _process: Child,
    folder: PathBuf,
}

impl Nginx {
    /// `host` is the dashboard's, and `apps` the server that reaches agents
    pub async fn start(world: &World, (host, port): (&str, u16), apps: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("authd-nginx-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(folder.join("logs")).unwrap();
        let authd = world.url.strip_prefix("http://").unwrap();
        let mut config = include_str!("../../../../docs/proxies/nginx.conf").to_owned();
        for (here, there) in [
            ("127.0.0.1:8080", authd),
            ("127.0.0.1:3000", authd),
            ("127.0.0.1:9000", apps),
            ("listen 80", &format!("listen 127.0.0.1:{port}")),
            ("apps.example.com", "test.coder.com"),
            ("coder.example.com", host),
        ] {
            config = config.replace(here, there);
        }
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        // One process, so that killing it leaves no workers.
        let process = Command::new(NGINX)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr", "-g"])
            .arg(format!("daemon off; master_process off; pid {}/pid;", folder.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { _process: process, folder };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nginx does not listen")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
