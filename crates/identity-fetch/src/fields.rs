use std::error::Error;
use std::fmt;

use identity_verify::Cloud;

use crate::Proof;

impl Proof {
    /// Makes the proof of the fields that a machine sent, by their names on the wire
    ///
    /// `field` returns the bytes of a field; an empty field counts as missing. The names are
    /// `document`, `signature` and `pkcs7` for AWS, `signature` for Azure and `json_web_token` for
    /// Google. AWS's machines send a `pkcs7` message, a `document` with its `signature`, or all
    /// three. Nothing is verified.
    ///
    /// # Errors
    ///
    /// Fails if a field is missing that the cloud's proof needs.
    pub fn from_fields(
        cloud: Cloud,
        mut field: impl FnMut(&'static str) -> Option<Vec<u8>>,
    ) -> Result<Self, MissingFields> {
        let mut field = |name| field(name).filter(|bytes| !bytes.is_empty());
        match cloud {
            Cloud::Aws => match (field("pkcs7"), field("signature"), field("document")) {
                (Some(pkcs7), Some(signature), Some(document)) => {
                    Ok(Self::AwsBoth { pkcs7, document, signature })
                }
                (Some(pkcs7), _, document) => Ok(Self::AwsPkcs7 { pkcs7, document }),
                (None, Some(signature), Some(document)) => {
                    Ok(Self::AwsDocument { document, signature })
                }
                (None, signature, document) => {
                    let missing =
                        [("signature", signature.is_none()), ("document", document.is_none())];
                    let missing = missing.into_iter().filter(|(_, is_missing)| *is_missing);
                    Err(MissingFields(missing.map(|(name, _)| name).collect()))
                }
            },
            Cloud::Azure => match field("signature") {
                Some(signature) => Ok(Self::Azure { signature }),
                None => Err(MissingFields(vec!["signature"])),
            },
            Cloud::Google => match field("json_web_token") {
                Some(token) => Ok(Self::Google { token }),
                None => Err(MissingFields(vec!["json_web_token"])),
            },
        }
    }
}

/// A machine sent too few fields for a proof of its cloud
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFields(Vec<&'static str>);

impl MissingFields {
    /// Returns the names of the missing fields
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }
}

impl fmt::Display for MissingFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "required: {}", self.0.join(", "))
    }
}

impl Error for MissingFields {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_make_the_proof_of_their_cloud() {
        let aws = |fields: &[&str], expected| (Cloud::Aws, fields.join(" "), expected);
        for (cloud, sent, expected) in [
            aws(&["document", "signature"], Ok("AwsDocument d s")),
            aws(&["pkcs7"], Ok("AwsPkcs7 p")),
            aws(&["pkcs7", "document"], Ok("AwsPkcs7 p d")),
            aws(&["pkcs7", "signature"], Ok("AwsPkcs7 p")),
            aws(&["pkcs7", "document", "signature"], Ok("AwsBoth p d s")),
            aws(&["document"], Err("required: signature")),
            aws(&["signature"], Err("required: document")),
            aws(&["json_web_token"], Err("required: signature, document")),
            (Cloud::Azure, "signature".to_owned(), Ok("Azure s")),
            (Cloud::Azure, "pkcs7 document".to_owned(), Err("required: signature")),
            (Cloud::Google, "json_web_token".to_owned(), Ok("Google j")),
            (Cloud::Google, "signature".to_owned(), Err("required: json_web_token")),
        ] {
            let field = |name: &'static str| match sent.split(' ').any(|sent| sent == name) {
                true => name.as_bytes().get(..1).map(<[u8]>::to_vec),
                // As a form sends a field that was left empty.
                false => Some(Vec::new()),
            };
            let proof = Proof::from_fields(cloud, field);
            assert!(proof.as_ref().map_or(true, |proof| proof.cloud() == cloud));
            let found = proof.as_ref().map(written).map_err(ToString::to_string);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{cloud} {sent}");
            let absent = Proof::from_fields(cloud, |name| field(name).filter(|f| !f.is_empty()));
            assert_eq!(absent.as_ref().map(written).ok(), found.ok());
        }
    }

    fn written(proof: &Proof) -> String {
        let (name, fields): (_, Vec<&[u8]>) = match proof {
            Proof::AwsDocument { document, signature } => {
                ("AwsDocument", vec![document, signature])
            }
            Proof::AwsPkcs7 { pkcs7, document: None } => ("AwsPkcs7", vec![pkcs7]),
            Proof::AwsPkcs7 { pkcs7, document: Some(document) } => {
                ("AwsPkcs7", vec![pkcs7, document])
            }
            Proof::AwsBoth { pkcs7, document, signature } => {
                ("AwsBoth", vec![pkcs7, document, signature])
            }
            Proof::Azure { signature } => ("Azure", vec![signature]),
            Proof::Google { token } => ("Google", vec![token]),
        };
        let fields = fields.into_iter().map(|field| format!(" {}", field.escape_ascii()));
        fields.fold(name.to_owned(), |text, field| text + &field)
    }
}
