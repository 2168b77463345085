use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509NameBuilder};

/// A certificate for `localhost` that is its own issuer, and its key
pub(crate) struct Certificate {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) der: Vec<u8>,
}

impl Certificate {
    /// One that expires so many days from now, perhaps in the past
    pub(crate) fn expiring_in(days: i64) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key: PKey<Private> = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "localhost").unwrap();
        let name = name.build();
        let now = std::process::Command::new("date").arg("+%s").output().unwrap().stdout;
        let now: i64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
        let at = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();

        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&at(days.min(0) - 1)).unwrap();
        builder.set_not_after(&at(days)).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build();
        Self {
            certificate: certificate.to_pem().unwrap(),
            key: key.private_key_to_pem_pkcs8().unwrap(),
            der: certificate.to_der().unwrap(),
        }
    }
}

/// A folder with a certificate and its key, as a secret of Kubernetes: symbolic links through one
/// that is replaced
pub(crate) struct Mounted {
    pub(crate) folder: PathBuf,
    version: u32,
}

impl Mounted {
    pub(crate) fn new(name: &str, certificate: &Certificate) -> Self {
        let folder = std::env::temp_dir().join(format!("authd-tls-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut mounted = Self { folder, version: 0 };
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("current").join(file), mounted.path(file))
                .unwrap();
        }
        mounted.replace(&certificate.certificate, &certificate.key);
        mounted
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Puts other files in place, both at the same moment
    pub(crate) fn replace(&mut self, certificate: &[u8], key: &[u8]) {
        self.version += 1;
        let version = self.version.to_string();
        fs::create_dir(self.path(&version)).unwrap();
        fs::write(self.path(&version).join("tls.crt"), certificate).unwrap();
        fs::write(self.path(&version).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&version, self.path("next")).unwrap();
        fs::rename(self.path("next"), self.path("current")).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
