use std::net::SocketAddr;
use std::time::Duration;

use super::StormError;
use super::options::LogTo;
use super::process::Usage;
use super::report::{LogReport, ServerReport, rounded};
use super::server::{Launch, Server, Stopped};
use super::tally::milliseconds;

/// The processes of authd that run, and those that have ended
#[derive(Debug)]
pub(super) struct Servers {
    launch: Launch,
    running: Vec<Running>,
    ended: Vec<ServerReport>,
}

#[derive(Debug)]
struct Running {
    server: Server,
    /// When it was ready
    before: Usage,
    /// When the last agent was in
    after: Option<Usage>,
}

impl Servers {
    pub(super) async fn start(
        launch: Launch,
        addresses: Vec<SocketAddr>,
    ) -> Result<Self, StormError> {
        let mut servers = Self { launch, running: Vec::new(), ended: Vec::new() };
        for address in addresses {
            let running = servers.launch(address).await?;
            servers.running.push(running);
        }
        Ok(servers)
    }

    async fn launch(&self, address: SocketAddr) -> Result<Running, StormError> {
        let server = self.launch.start(address).await?;
        Ok(Running { before: server.usage(), after: None, server })
    }

    /// Lets all rest for so long, and takes their use of the machine from then on
    pub(super) async fn rest(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        for running in &mut self.running {
            running.before = running.server.usage();
        }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.running.iter().map(|running| running.server.address()).collect()
    }

    /// Replaces one process after the other, each at its address once the last one is ready
    pub(super) async fn roll(&mut self) -> Result<(), StormError> {
        for n in 0..self.running.len() {
            let old = self.running.remove(n);
            let address = old.server.address();
            self.ended.push(old.stop(true).await?);
            let new = self.launch(address).await?;
            self.running.insert(n, new);
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    }

    /// Notes what the processes use now, while the attacks go on
    pub(super) fn measure(&mut self) {
        for running in &mut self.running {
            running.after = Some(running.server.usage());
        }
    }

    /// Stops all processes
    pub(super) async fn end(
        mut self,
        log: LogTo,
    ) -> Result<(Vec<ServerReport>, Option<LogReport>), StormError> {
        let addresses = self.addresses();
        for running in self.running {
            self.ended.push(running.stop(false).await?);
        }
        let mut written = LogReport::default();
        for address in addresses {
            if log == LogTo::File {
                let path = self.launch.log_file(address);
                let reading = format!("reading {}", path.display());
                written.add(&std::fs::read(path).map_err(StormError::io(reading))?);
            }
        }
        Ok((self.ended, (log == LogTo::File).then_some(written)))
    }
}

impl Running {
    async fn stop(self, restarted: bool) -> Result<ServerReport, StormError> {
        let Self { server, before, after } = self;
        let Stopped { usage, took, status } = server.stop().await?;
        let after = after.unwrap_or(usage);
        Ok(ServerReport {
            resident_before_mib: rounded(before.resident),
            anonymous_before_mib: rounded(before.anonymous),
            resident_peak_mib: rounded(after.peak),
            resident_after_mib: rounded(after.resident),
            anonymous_after_mib: rounded(after.anonymous),
            cpu_seconds: rounded(after.processor - before.processor),
            restarted,
            stopped_in_ms: milliseconds(took),
            ended: status.to_string(),
        })
    }
}

/// How long a load balancer may take to see that a replica is ready
const BETWEEN: Duration = Duration::from_millis(500);
