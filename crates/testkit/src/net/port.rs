#![allow(clippy::unwrap_used)] // a test without a port has failed

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// An address of this machine on which a program that a test starts can listen
///
/// Nothing listens there yet, and for a minute the system chooses the port for no other listener and
/// no connection: a connection that was closed remains on it, in the state TIME-WAIT. A program that
/// names the port can listen nevertheless, if it sets `SO_REUSEADDR`, as servers do. Without the
/// connection, another test could get the port before the program listens.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    // The side that closes first is the one that remains.
    drop(listener.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    address
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::free_address;

    #[test]
    fn an_address_is_given_once_and_can_be_listened_on() {
        let addresses: Vec<_> = (0..500).map(|_| free_address()).collect();
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), addresses.len());
        for address in addresses {
            TcpListener::bind(address).unwrap();
        }
    }
}
