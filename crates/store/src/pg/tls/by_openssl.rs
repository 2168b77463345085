use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};

use super::{Identity, Pem, Tls, Version};
use crate::Error;
use crate::error::InContext;
use crate::pg::url::Secret;

impl Tls {
    /// Builds the TLS configuration, for which it reads the files
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], which names the file.
    pub(in crate::pg) fn connector(&self) -> Result<MakeTlsConnector, Error> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(unusable)?;
        builder.set_min_proto_version(Some(self.oldest.into())).map_err(unusable)?;
        builder.set_max_proto_version(self.newest.map(Into::into)).map_err(unusable)?;
        if let Some(roots) = &self.roots {
            // Replaces the system's: an operator who names an authority trusts no other.
            let mut store = X509StoreBuilder::new().map_err(unusable)?;
            for certificate in roots.certificates("sslrootcert")? {
                store.add_cert(certificate).map_err(unusable)?;
            }
            builder.set_cert_store(store.build());
        }
        if let Some(identity) = &self.identity {
            identity.show(&mut builder)?;
        }
        if self.direct {
            set_postgresql_alpn(&mut builder).map_err(unusable)?;
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        let sends_name = self.sends_name;
        connector.set_callback(move |configuration, _| {
            configuration.set_use_server_name_indication(sends_name);
            Ok(())
        });
        Ok(connector)
    }
}

impl Identity {
    fn show(&self, builder: &mut SslConnectorBuilder) -> Result<(), Error> {
        let mut certificates = self.certificate.certificates("sslcert")?.into_iter();
        let own =
            certificates.next().ok_or_else(|| self.certificate.fault("sslcert", "is empty"))?;
        let key = self.private_key()?;
        if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
            let certificate = self.certificate.place("sslcert");
            return Err(self.key.fault(
                "sslkey",
                format_args!("is not the key of the first certificate in {certificate}"),
            ));
        }
        builder.set_certificate(&own).map_err(unusable)?;
        builder.set_private_key(&key).map_err(unusable)?;
        for issuer in certificates {
            builder.add_extra_chain_cert(issuer).map_err(unusable)?;
        }
        Ok(())
    }

    fn private_key(&self) -> Result<PKey<Private>, Error> {
        let pem = self.key.read("sslkey")?;
        // Without a callback OpenSSL asks for the passphrase on the terminal.
        let mut was_asked = false;
        let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
            was_asked = true;
            let passphrase = self.passphrase.as_ref().map_or("", Secret::reveal).as_bytes();
            let fits = buffer.get_mut(..passphrase.len());
            Ok(fits.map(|start| start.copy_from_slice(passphrase)).map_or(0, |()| passphrase.len()))
        });
        key.map_err(|_| {
            let fault = match (was_asked, &self.passphrase) {
                (true, None) => "is encrypted, and there is no `sslpassword`",
                (true, Some(_)) => "cannot be decrypted with the `sslpassword`",
                (false, _) => "holds no private key in PEM form",
            };
            self.key.fault("sslkey", fault)
        })
    }
}

impl Pem {
    fn read(&self, parameter: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|source| {
                let context = format!("{} cannot be read", self.place(parameter));
                Error::Tls { reason: InContext { context, source }.into() }
            }),
            Self::Inline(text) => Ok(text.reveal().as_bytes().to_vec()),
        }
    }

    fn certificates(&self, parameter: &str) -> Result<Vec<X509>, Error> {
        let certificates = X509::stack_from_pem(&self.read(parameter)?);
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.fault(parameter, "holds no certificates in PEM form")),
        }
    }

    fn fault(&self, parameter: &str, fault: impl std::fmt::Display) -> Error {
        Error::Tls { reason: format!("{} {fault}", self.place(parameter)).into() }
    }

    /// Its description in an error
    fn place(&self, parameter: &str) -> String {
        match self {
            Self::File(path) => format!("`{}` ({parameter})", path.display()),
            Self::Inline(_) => format!("the text of `{parameter}`"),
        }
    }
}

impl From<Version> for SslVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls1_2 => Self::TLS1_2,
            Version::Tls1_3 => Self::TLS1_3,
        }
    }
}

fn unusable(error: ErrorStack) -> Error {
    Error::Tls { reason: error.into() }
}
