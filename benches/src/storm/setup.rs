use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use testkit::Folder;
use testkit::net::free_address;
use tokio::task::spawn_blocking;

use super::StormError;
use super::agents::{Agent, arrivals};
use super::attacks::source;
use super::database::Database;
use super::mint::Clouds;
use super::options::{CloudName, Options};
use super::process::raise_descriptors;
use super::random::Random;
use super::server::{Launch, find};
use super::servers::Servers;

/// All that is needed before the first agent arrives
pub(super) struct Setup {
    pub(super) database: Database,
    pub(super) servers: Servers,
    pub(super) fleet: Vec<Agent>,
    pub(super) forgers: Vec<Agent>,
    /// The request of a flood
    pub(super) flood: Bytes,
    pub(super) warnings: Vec<String>,
    pub(super) folder: Folder,
}

impl Setup {
    pub(super) async fn new(options: &Options) -> Result<Self, StormError> {
        let authd = find(options.authd.as_deref())?;
        let (soft_limit, limit) = raise_descriptors();
        let needed = options.agents + options.forgers() + options.attackers();
        let warnings = limit.filter(|limit| usize::try_from(*limit).is_ok_and(|n| n < needed));
        let warnings = warnings.map(|limit| {
            format!(
                "{needed} connections may be open at a time, and the limit of descriptors is \
                 {limit}: raise it with `ulimit -n`"
            )
        });
        let folder =
            Folder::create("authd-storm").map_err(StormError::io("creating a temporary folder"))?;
        let database = Database::start(options.postgres_bin.as_deref()).await?;
        let launch = Launch::new(authd, database.url(), folder.path(), options, soft_limit);

        let (trust, minting) = (launch.trust().to_owned(), options.clone());
        let minting = spawn_blocking(move || mint(&minting, &trust));
        launch.migrate().await?;
        database.fill(options).await?;
        let tokens = database.tokens(options).await?;
        let Requests { agents, forged, flood } =
            minting.await?.map_err(StormError::io("writing the trust folder"))?;

        let mut random = Random::new(options.seed);
        let mut machines: Vec<_> = agents.into_iter().zip(tokens.into_iter().map(Some)).collect();
        random.shuffle(&mut machines);
        let fleet = arrive(machines, AGENTS, 1, options.window(), &mut random);
        let forged: Vec<_> = forged.into_iter().map(|request| (request, None)).collect();
        let shared = options.clients_per_address.max(1);
        let forgers = arrive(forged, FORGERS, shared, options.window(), &mut random);

        let addresses = (0..options.replicas).map(|_| free_address()).collect();
        let servers = Servers::start(launch, addresses).await?;
        let warnings = warnings.into_iter().collect();
        Ok(Self { database, servers, fleet, forgers, flood, warnings, folder })
    }
}

/// Requests in the order of the fleet
struct Requests {
    agents: Vec<Bytes>,
    forged: Vec<Bytes>,
    flood: Bytes,
}

/// Mints all proofs beforehand, on the processors that there are
fn mint(options: &Options, trust: &Path) -> std::io::Result<Requests> {
    #[expect(clippy::disallowed_methods, reason = "authd compares the proofs with its own clock")]
    let now = SystemTime::now();
    let clouds = Arc::new(Clouds::generate(now));
    clouds.publish(trust)?;
    let cloud = |number: usize| {
        let cloud = options.clouds.get(number % options.clouds.len().max(1));
        cloud.copied().unwrap_or(CloudName::Aws)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = options.agents.div_ceil(threads).max(1);
    let agents = std::thread::scope(|scope| {
        let starts = (0..options.agents).step_by(part);
        let workers: Vec<_> = starts
            .map(|start| {
                let (clouds, end) = (&clouds, (start + part).min(options.agents));
                scope.spawn(move || {
                    let numbers = start..end;
                    numbers.map(|n| clouds.request(cloud(n), n)).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    // They differ in what they are about; more of them would only take longer to mint.
    let forged = (0..options.forgers().min(FORGERIES)).map(|n| clouds.forgery(cloud(n), n));
    let forged: Vec<_> = forged.collect();
    let forged = forged.iter().cycle().take(options.forgers()).cloned().collect();
    Ok(Requests { agents, forged, flood: clouds.forgery(CloudName::Aws, 0) })
}

fn arrive(
    machines: Vec<(Bytes, Option<String>)>,
    network: u8,
    clients_per_address: usize,
    window: Duration,
    random: &mut Random,
) -> Vec<Agent> {
    let times = arrivals(machines.len(), window, random);
    let machines = machines.into_iter().zip(times).enumerate();
    let agents = machines.map(|(n, ((request, token), arrival))| Agent {
        from: source(network, n / clients_per_address),
        request,
        arrival,
        token,
    });
    agents.collect()
}

/// The second byte of the first address of agents, of which a million need 16
const AGENTS: u8 = 16;
/// The same for forgers
const FORGERS: u8 = 64;
/// How many different forgeries are minted
const FORGERIES: usize = 1_000;
