//! Cancels a statement that the server is executing

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, NoTls};

use super::tls::MakeTlsConnector;

/// The address of a session's server, for another connection to it
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Tcp {
        address: SocketAddr,
        /// The name for which its certificate must be valid
        name: String,
    },
    Socket(PathBuf),
}

/// Asks the server to cancel the statement of the session with `token`
///
/// Returns when the other side has closed the connection of the request, as libpq does: until
/// then a pooler may still be looking for the server. PgBouncer 1.18 fails an assertion if the
/// client disconnects earlier, as tokio-postgres' own function does.
pub(super) async fn cancel(
    token: &CancelToken,
    endpoint: &Endpoint,
    tls: Option<&MakeTlsConnector>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match endpoint {
        Endpoint::Tcp { address, name } => {
            ask(token, TcpStream::connect(address).await?, name, tls).await
        }
        Endpoint::Socket(path) => ask(token, UnixStream::connect(path).await?, "", tls).await,
    }
}

async fn ask<S>(
    token: &CancelToken,
    stream: S,
    name: &str,
    tls: Option<&MakeTlsConnector>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin + 'static,
{
    match tls {
        None => token.cancel_query_raw(WaitForEof(stream), NoTls).await?,
        Some(tls) => {
            let tls = MakeTlsConnect::<S>::make_tls_connect(&mut tls.clone(), name)?;
            token.cancel_query_raw(stream, WaitingConnector(tls)).await?;
        }
    }
    Ok(())
}

/// A stream whose shutdown waits until the other side closes the connection
struct WaitForEof<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for WaitForEof<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WaitForEof<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for WaitForEof<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

/// Opens TLS streams of that kind
struct WaitingConnector<T>(T);

impl<S, T> TlsConnect<S> for WaitingConnector<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = WaitForEof<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async move { connecting.await.map(WaitForEof) })
    }
}
