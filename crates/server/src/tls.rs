//! TLS with clients: the certificate, its replacement while connections are open, and handshakes

mod files;
mod limited;
mod validity;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use fair_share::{Source, TurnSettings, Turns};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::{error, info, warn};

pub use self::files::TlsError;
use self::files::{Files, Stamp};
pub(crate) use self::limited::Limited;
use crate::stream::Stream;

/// A certificate and its key, with which listeners speak TLS 1.2 and 1.3
///
/// Both are files, and can be replaced while connections are open. Clones share everything.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    config: Arc<ServerConfig>,
    used: Arc<Used>,
    /// Places for the signatures of handshakes
    turns: Turns,
    failed: AtomicU64,
}

/// The certificate in use
struct Used(Mutex<InUse>);

#[derive(Clone)]
struct InUse {
    certificate: Arc<CertifiedKey>,
    expires: SystemTime,
    /// The files as they were last read, successfully or not
    seen: Stamp,
}

impl Tls {
    /// Reads a certificate, which is followed by its issuers, and its key, both in PEM
    ///
    /// Neither the names nor the dates of the certificate are checked.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or has no certificate or key, or if the key is not that of the
    /// certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let provider = Arc::new(ring::default_provider());
        let seen = files.stamp();
        let (certificate, expires) = files.read(&provider)?;
        let used = Arc::new(Used(Mutex::new(InUse { certificate, expires, seen })));
        let config = configuration(provider, Arc::clone(&used)).map_err(TlsError::Unusable)?;
        let turns = Turns::new(TurnSettings {
            places: available_parallelism().map_or(1, Into::into),
            longest_wait: LONGEST_WAIT,
            waiting_bytes: usize::MAX,
        });
        let failed = AtomicU64::new(0);
        Ok(Self(Arc::new(Shared { files, config: Arc::new(config), used, turns, failed })))
    }

    /// When the certificate in use expires, or the first of its issuers does
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.0.used.lock().expires
    }

    /// How many handshakes have failed, which is usually the fault of clients
    ///
    /// A handshake that takes too long, or makes room for another connection, is not counted here,
    /// but in [`Counts`](crate::Counts).
    #[must_use]
    pub fn failed_handshakes(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Reads the files again, for handshakes that begin later
    ///
    /// If the files are not usable, the earlier certificate stays in use, and a line of the log has
    /// the reason. If the certificate expires within [`EXPIRY_WARNING`] after `now`, another
    /// line warns of that. Call it within a tokio runtime.
    pub async fn reload(&self, now: SystemTime) {
        let tls = self.clone();
        let read = spawn_blocking(move || {
            let seen = tls.0.files.stamp();
            tls.0.used.lock().seen = seen;
            let (certificate, expires) = tls.0.files.read(tls.0.config.crypto_provider())?;
            *tls.0.used.lock() = InUse { certificate, expires, seen };
            Ok(())
        });
        let read = read.await.unwrap_or_else(|panic| Err(TlsError::Interrupted(panic.to_string())));
        match read {
            Ok(()) => {
                info!("the certificate was read again");
                self.log_expiry(now);
            }
            Err(error) => error!(%error, "the certificate stays as it was"),
        }
    }

    /// Reads the files again whenever they have changed, and warns every day of a certificate that
    /// expires soon
    ///
    /// The files are looked at every five seconds. A replaced symbolic link, as Kubernetes makes
    /// it, is a change. `clock` says what time it is. Drop the future to stop it. Call it within a
    /// tokio runtime with timers.
    pub async fn watch(&self, clock: impl Fn() -> SystemTime) {
        self.log_expiry(clock());
        let mut warned = Instant::now();
        loop {
            sleep(LOOK).await;
            let tls = self.clone();
            let changed = spawn_blocking(move || tls.0.files.stamp() != tls.0.used.lock().seen);
            if changed.await.unwrap_or(false) {
                self.reload(clock()).await;
                warned = Instant::now();
            } else if warned.elapsed() >= DAY {
                self.log_expiry(clock());
                warned = Instant::now();
            }
        }
    }

    fn log_expiry(&self, now: SystemTime) {
        let Ok(left) = self.expires().duration_since(now) else {
            error!("the certificate of this server has expired: clients refuse it");
            return;
        };
        let days = left.as_secs() / DAY.as_secs();
        if left < EXPIRY_WARNING {
            warn!(days, "the certificate of this server expires soon");
        } else {
            info!(days, "the certificate of this server is valid");
        }
    }

    /// Sets up TLS with a client
    ///
    /// The signature, which takes a processor for a millisecond or more, is made on a thread that may
    /// be slow. Sources take turns for it, so that a storm of handshakes of one does not stop those of
    /// others, nor requests.
    pub(crate) async fn accept(&self, stream: TcpStream, source: Source) -> io::Result<Stream> {
        let accepted = self.handshake(stream, source).await;
        if accepted.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    async fn handshake(&self, stream: TcpStream, source: Source) -> io::Result<Stream> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        // No record of TLS begins with a letter.
        if first.iter().all(u8::is_ascii_alphabetic) {
            let _ = stream.try_write(NOT_TLS);
            // What is left unread would reset the connection before the client has the answer.
            let _ = stream.try_read(&mut [0; 4096]);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client does not speak TLS",
            ));
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), Limited::new(stream)).await?;
        let turn = self.0.turns.take(source, 0).await.map_err(io::Error::other)?;
        let config = Arc::clone(&self.0.config);
        let signed = spawn_blocking(move || {
            let _turn = turn;
            hello.into_stream(config)
        });
        let mut stream = signed.await.map_err(io::Error::other)?.await?;
        let (limited, session) = stream.get_mut();
        limited.set_unlimited();
        session.set_buffer_limit(Some(BUFFER));
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn configuration(
    provider: Arc<CryptoProvider>,
    used: Arc<Used>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(used);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl Used {
    fn lock(&self) -> MutexGuard<'_, InUse> {
        // Nothing under this lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Used {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().certificate))
    }
}

/// Without the key
impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Used").field("expires", &self.lock().expires).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

const NOT_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 36\r\n\r\nThis port speaks TLS: use https://.\n";

/// How often the files are looked at
const LOOK: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(86_400);

/// How long before a certificate expires the warnings begin: tools that renew it do so earlier
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);

/// The longest that a handshake waits for its turn; the whole may take as long as a head
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Bytes of answers that a connection keeps encrypted while its client does not read
const BUFFER: usize = 16 * 1024;
