use std::fmt;

use identity_fetch::Proof;
use identity_verify::Cloud;

use crate::variants;

/// The texts of a captured proof, byte for byte
///
/// `Debug` prints which texts there are, and nothing of them.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CapturedProof {
    /// AWS: the instance identity document
    pub document: Option<Vec<u8>>,
    /// AWS: the signature of the document. Azure: the field `signature` of the attested data
    pub signature: Option<Vec<u8>>,
    /// AWS: the PKCS#7 message of `/rsa2048`
    pub pkcs7: Option<Vec<u8>>,
    /// Google: the identity token
    pub token: Option<Vec<u8>>,
}

impl CapturedProof {
    /// Returns the proof that the texts make up, unchanged; `None` if they are not the texts of
    /// a proof of `cloud`
    #[must_use]
    pub fn proof(&self, cloud: Cloud) -> Option<Proof> {
        let Self { document, signature, pkcs7, token } = self.clone();
        match (cloud, document, signature, pkcs7, token) {
            (Cloud::Aws, Some(document), Some(signature), None, None) => {
                Some(Proof::AwsDocument { document, signature })
            }
            (Cloud::Aws, Some(document), Some(signature), Some(pkcs7), None) => {
                Some(Proof::AwsBoth { pkcs7, document, signature })
            }
            (Cloud::Aws, document, None, Some(pkcs7), None) => {
                Some(Proof::AwsPkcs7 { pkcs7, document })
            }
            (Cloud::Azure, None, Some(signature), None, None)
            | (Cloud::Azure, None, None, Some(signature), None) => Some(Proof::Azure { signature }),
            (Cloud::Google, None, None, None, Some(token)) => Some(Proof::Google { token }),
            _ => None,
        }
    }

    /// Removes the PEM lines around [`pkcs7`](Self::pkcs7), and returns whether there were any
    ///
    /// AWS's own manual adds them, so that OpenSSL can read the message.
    pub fn remove_pem_lines(&mut self) -> bool {
        let message = self.pkcs7.as_deref().and_then(variants::without_pem_lines);
        let had_any = message.is_some();
        if had_any {
            self.pkcs7 = message;
        }
        had_any
    }
}

impl fmt::Debug for CapturedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, signature, pkcs7, token } = self;
        f.debug_struct("CapturedProof")
            .field("document", &document.is_some())
            .field("signature", &signature.is_some())
            .field("pkcs7", &pkcs7.is_some())
            .field("token", &token.is_some())
            .finish()
    }
}
