use std::io::Read;
use std::path::Path;

use super::text;
use crate::cli::{VerifyArgs, VerifyCloud};
use crate::commands::CommandError;
use identity_fetch::Proof;

/// The bytes of the files that were given, each under its option
///
/// Not `Debug`: a proof is a bearer document.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) document: Option<Vec<u8>>,
    pub(super) signature: Option<Vec<u8>>,
    pub(super) pkcs7: Option<Vec<u8>>,
    pub(super) token: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn read(args: &VerifyArgs) -> Result<Self, CommandError> {
        let read = |path: &Option<_>| path.as_deref().map(read).transpose();
        Ok(Self {
            document: read(&args.document)?,
            signature: read(&args.signature)?,
            pkcs7: read(&args.pkcs7)?,
            token: read(&args.token)?,
        })
    }

    /// The proof that the options make up
    pub(super) fn proof(&self, cloud: VerifyCloud) -> Result<Proof, CommandError> {
        let Self { document, signature, pkcs7, token } = self.clone();
        let expected = match (cloud, document, signature, pkcs7, token) {
            (VerifyCloud::Aws, Some(document), Some(signature), None, None) => {
                return Ok(Proof::AwsDocument { document, signature });
            }
            (VerifyCloud::Aws, Some(document), Some(signature), Some(pkcs7), None) => {
                return Ok(Proof::AwsBoth { pkcs7, document, signature });
            }
            (VerifyCloud::Aws, document, None, Some(pkcs7), None) => {
                return Ok(Proof::AwsPkcs7 { pkcs7, document });
            }
            (VerifyCloud::Azure, None, Some(signature), None, None)
            | (VerifyCloud::Azure, None, None, Some(signature), None) => {
                return Ok(Proof::Azure { signature });
            }
            (VerifyCloud::Google, None, None, None, Some(token)) => {
                return Ok(Proof::Google { token });
            }
            (VerifyCloud::Aws, None, Some(signature), None, None)
                if text::is_message(&signature) =>
            {
                "`--signature` holds a PKCS#7 message: give it as `--pkcs7`"
            }
            (VerifyCloud::Aws, ..) => {
                "`aws` takes `--document` and `--signature`, or `--pkcs7`, or all three"
            }
            (VerifyCloud::Azure, ..) => "`azure` takes `--signature`",
            (VerifyCloud::Google, ..) => "`google` takes `--token`",
        };
        Err(CommandError::Usage(expected.to_owned()))
    }

    /// The same without the PEM lines around a message, and whether there were any
    ///
    /// AWS's own manual adds them, so that OpenSSL reads the message.
    pub(super) fn without_pem_lines(mut self) -> (Self, bool) {
        let message = self.pkcs7.as_deref().and_then(text::without_pem_lines);
        let had_any = message.is_some();
        if let Some(message) = message {
            self.pkcs7 = Some(message);
        }
        (self, had_any)
    }
}

/// The bytes as they are: a line break at the end may be what is wrong
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let unreadable = |error| CommandError::ProofFile { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(LARGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    Ok(bytes)
}

/// No machine sends more
const LARGEST_FILE: u64 = 1 << 20;
