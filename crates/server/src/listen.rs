use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};
use tracing::debug;

use crate::stream::Stream;
use crate::tls::Tls;

/// Where to listen: an address with a port, or the path of a Unix socket
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/authd/authd.sock`
    Unix(PathBuf),
}

/// The text is not where one can listen
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "neither an address with a port, such as `127.0.0.1:8080` or `[::]:8080`, nor `unix:` and an \
     absolute path"
)]
pub struct ParseListenAddressError;

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(ParseListenAddressError),
            None => text.parse().map(Self::Tcp).map_err(|_| ParseListenAddressError),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// Listens, with the longest queue that the kernel allows
    ///
    /// A Unix socket gets the permissions `socket_mode` before a client can connect. A socket file
    /// on which no process listens any more is replaced. The file is removed when the listener is
    /// dropped. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the address is in use, also by another process on the Unix socket, if the path
    /// holds something other than a socket, or if the system does not allow it.
    pub fn bind(&self, socket_mode: u32) -> io::Result<Listener> {
        match self {
            Self::Tcp(address) => {
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4(),
                    SocketAddr::V6(_) => TcpSocket::new_v6(),
                }?;
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                let inner = Inner::Tcp(socket.listen(BACKLOG)?, Holder::Us);
                Ok(Listener { inner, tls: None })
            }
            Self::Unix(path) => bind_unix(path, socket_mode),
        }
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Listener> {
    refuse_to_replace(path)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let socket = UnixSocket::new_stream()?;
    socket.bind(&new)?;
    // Connections are refused until the socket listens, so none is made with other permissions.
    let placed = fs::set_permissions(&new, Permissions::from_mode(mode))
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|listener| fs::rename(&new, path).map(|()| listener));
    let listener = placed.inspect_err(|_| drop(fs::remove_file(&new)))?;
    let file = SocketFile::at(path)?;
    Ok(Listener { inner: Inner::Unix(listener, Some(file)), tls: None })
}

/// Fails unless nothing is at the path, or a socket on which no process listens
fn refuse_to_replace(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

/// The file of a Unix socket, which is removed with its listener
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    number: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), number: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The successor of this process may have replaced it.
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.number)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Accepts connections on an address
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener, Holder),
    Unix(UnixListener, Option<SocketFile>),
}

/// Whether other processes may listen on the same socket, such as systemd and our successor
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Us,
    Others,
}

impl Listener {
    /// The same listener, whose clients speak TLS
    ///
    /// Clients of a Unix socket do not.
    #[must_use]
    pub fn with_tls(self, tls: &Tls) -> Self {
        let tls = matches!(self.inner, Inner::Tcp(..)).then(|| tls.clone());
        Self { tls, ..self }
    }

    /// Where it listens; `None` if the system does not say
    #[must_use]
    pub fn address(&self) -> Option<ListenAddress> {
        match &self.inner {
            Inner::Tcp(listener, _) => listener.local_addr().ok().map(ListenAddress::Tcp),
            // It was bound at another path.
            Inner::Unix(_, Some(file)) => Some(ListenAddress::Unix(file.path.clone())),
            Inner::Unix(listener, None) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(|path| ListenAddress::Unix(path.to_owned()))
            }
        }
    }

    /// Whether its clients speak TLS
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What its clients speak TLS with
    pub(crate) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Waits for a connection; the peer of a Unix socket has no address
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.inner {
            Inner::Tcp(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Inner::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    /// Lets no further client begin to connect, unless other processes may listen on the socket too
    ///
    /// Connections that have begun still arrive. The system would reset those that arrive after the
    /// last was accepted and before the socket is closed, and a request on them would be lost.
    pub(crate) fn refuse_new(&mut self) {
        match &mut self.inner {
            Inner::Tcp(listener, Holder::Us) => {
                if let Err(error) = drop_first_packets(listener) {
                    debug!(%error, "a connection may be reset when the socket is closed");
                }
            }
            Inner::Tcp(_, Holder::Others) => {}
            Inner::Unix(_, file) => *file = None,
        }
    }

    /// The next connection that has arrived
    ///
    /// Asks the system: tokio learns of a connection only a moment after it has arrived.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none has.
    pub(crate) fn arrived(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let accept = |listener: SockRef<'_>| {
            let (socket, peer) = listener.accept()?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>((socket, peer.as_socket()))
        };
        match &self.inner {
            Inner::Tcp(listener, _) => {
                let (socket, peer) = accept(listener.into())?;
                Ok((Stream::Tcp(TcpStream::from_std(socket.into())?), peer))
            }
            Inner::Unix(listener, _) => {
                let (socket, _) = accept(listener.into())?;
                Ok((Stream::Unix(UnixStream::from_std(socket.into())?), None))
            }
        }
    }
}

/// Drops the packets with which clients begin to connect
///
/// A client sends its first packet again after a second (RFC 6298, section 2). The socket is closed by
/// then, so that the client is refused, and a load balancer tries another server.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_first_packets(listener: &TcpListener) -> io::Result<()> {
    use socket2::SockFilter;

    // The program sees each packet from its TCP header on (RFC 9293, section 3.1), whose byte 13 has
    // SYN (2) and ACK (16). `packet(7)` in FreeBSD and `linux/filter.h` have the numbers.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),       // load the byte
        SockFilter::new(0x54, 0, 0, 2 | 16),   // and with both flags
        SockFilter::new(0x15, 0, 1, 2),        // unless SYN alone is set, skip one
        SockFilter::new(0x06, 0, 0, 0),        // drop the packet
        SockFilter::new(0x06, 0, 0, u32::MAX), // keep the whole packet
    ];
    SockRef::from(listener).attach_filter(&filter)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drop_first_packets(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { inner: Inner::Tcp(listener, Holder::Others), tls: None }
    }
}

/// The file of the socket stays when the listener is dropped
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { inner: Inner::Unix(listener, None), tls: None }
    }
}

/// More than `net.core.somaxconn` usually allows
const BACKLOG: u32 = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:8080", "[::]:443", "unix:/run/authd/authd.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "8080", ":8080", "localhost:80", "127.0.0.1", "unix:", "unix:a.sock"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ParseListenAddressError), "{text}");
        }
    }
}
