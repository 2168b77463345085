use std::collections::HashSet;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Verifies the certificate of a server as webpki does, and also accepts a trusted certificate
/// that the server itself presents
///
/// `openssl req -x509` makes a self-signed certificate that says it is an authority. Sites use
/// such a certificate for the server and also give it to clients as the authority. webpki does not
/// accept an authority as a server; curl, OpenSSL and Go do.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    /// The certificates that `chains` trusts
    trusted: HashSet<CertificateDer<'static>>,
}

impl ServerVerifier {
    pub(crate) const fn new(
        chains: Arc<WebPkiServerVerifier>,
        trusted: HashSet<CertificateDer<'static>>,
    ) -> Self {
        Self { chains, trusted }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki verifies the dates of a certificate before whether it is an authority, and
            // has errors of their own for dates.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
