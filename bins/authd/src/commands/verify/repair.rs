use std::fmt;
use std::time::SystemTime;

use identity_verify::{Reason, Rejection};

use super::files::Files;
use super::text::{self, Variant};
use crate::cli::VerifyCloud;
use identity_fetch::{Identity, Proof};

/// What is wrong with the files of a refused proof
#[derive(Debug)]
pub(super) enum Repair {
    /// These changes make the proof hold
    Changes {
        changes: Vec<String>,
        /// Why a genuine proof is refused all the same
        rest: Option<Rejection>,
    },
    /// A file that can hold no proof of its kind, and what it may be
    Guess(&'static str),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (changes, rest) = match self {
            Self::Changes { changes, rest } => (changes, rest),
            Self::Guess(guess) => return f.write_str(guess),
        };
        write!(
            f,
            "the proof holds once {}; it has to be sent as it was served, byte for byte",
            changes.join(", and ")
        )?;
        match rest {
            Some(rest) => write!(f, " (and is then refused: {rest})"),
            None => Ok(()),
        }
    }
}

/// Whether another form of the files could hold
///
/// A genuine proof is as it was served, but for a document that stands beside it.
pub(super) fn is_worth_a_search(rejection: &Rejection) -> bool {
    !rejection.is_genuine() || rejection.reason() == Reason::DocumentMismatch
}

/// Looks for the fewest changes that make the proof of `files` hold
///
/// A change counts only because a trusted signature then verifies, so a forgery has no
/// repair.
pub(super) async fn find(
    identity: &Identity,
    files: &Files,
    cloud: VerifyCloud,
    now: SystemTime,
) -> Option<Repair> {
    let mut candidates = match cloud {
        VerifyCloud::Aws => of_aws(files),
        VerifyCloud::Azure => {
            let given = files.signature.as_deref().or(files.pkcs7.as_deref())?;
            let variants = text::of_base64(given, &["signature"]);
            variants
                .into_iter()
                .map(|v| {
                    (Proof::Azure { signature: v.bytes }, described("the signature", &v.changes))
                })
                .collect()
        }
        VerifyCloud::Google => {
            let given = files.token.as_deref()?;
            let fields = ["json_web_token", "token", "access_token", "id_token"];
            let variants = text::of_base64(given, &fields).into_iter().flat_map(without_line_break);
            variants
                .map(|v| (Proof::Google { token: v.bytes }, described("the token", &v.changes)))
                .collect()
        }
    };
    candidates.retain(|(_, changes)| !changes.is_empty());
    candidates.sort_by_key(|(_, changes)| changes.len());
    for (proof, changes) in candidates {
        match identity.verify(&proof, now).await {
            Ok(_) => return Some(Repair::Changes { changes, rest: None }),
            Err(rest) if !is_worth_a_search(&rest) => {
                return Some(Repair::Changes { changes, rest: Some(rest) });
            }
            Err(_) => {}
        }
    }
    let lacks_document = matches!(cloud, VerifyCloud::Aws) && files.document.is_none();
    let is_bare = files.pkcs7.as_deref().is_some_and(text::is_bare_signature);
    (lacks_document && is_bare).then_some(Repair::Guess(
        "`--pkcs7` holds a bare signature as `/signature` serves it, not a PKCS#7 message: give it \
         as `--signature`, with the document",
    ))
}

type Candidate = (Proof, Vec<String>);

fn of_aws(files: &Files) -> Vec<Candidate> {
    let documents = files.document.as_deref().map(text::of_document).unwrap_or_default();
    let messages = |given: &[u8]| text::of_base64(given, &["pkcs7"]);
    let signatures = |given: &[u8]| text::of_base64(given, &["signature"]);
    let mut found = Vec::new();
    if let Some(given) = &files.signature {
        for signature in signatures(given) {
            for document in &documents {
                let mut changes = described("the document", &document.changes);
                changes.extend(described("the signature", &signature.changes));
                let (document, signature) = (document.bytes.clone(), signature.bytes.clone());
                found.push((Proof::AwsDocument { document, signature }, changes));
            }
        }
        for message in messages(given).into_iter().filter(|v| text::is_message(&v.bytes)) {
            let mut changes = vec![
                "the signature, which is a PKCS#7 message as `/rsa2048` or `/pkcs7` serves it, is \
                 given as `pkcs7`"
                    .to_owned(),
            ];
            changes.extend(described("the text", &message.changes));
            found.push((Proof::AwsPkcs7 { pkcs7: message.bytes, document: None }, changes));
        }
    }
    if let Some(given) = &files.pkcs7 {
        for message in messages(given) {
            let changes = described("the message", &message.changes);
            let pkcs7 = message.bytes;
            for document in &documents {
                let mut changes = changes.clone();
                changes.extend(described("the document", &document.changes));
                let (pkcs7, document) = (pkcs7.clone(), Some(document.bytes.clone()));
                found.push((Proof::AwsPkcs7 { pkcs7, document }, changes));
            }
            let mut without = changes;
            if files.document.is_some() {
                // The one in the message is the one that counts.
                without.push(
                    "the document beside the message is left out or is the signed one".to_owned(),
                );
            }
            found.push((Proof::AwsPkcs7 { pkcs7, document: None }, without));
        }
        for signature in signatures(given).into_iter().filter(|v| !text::is_message(&v.bytes)) {
            for document in &documents {
                let mut changes = vec![
                    "the message, which is a signature as `/signature` serves it, is given as \
                     `signature`"
                        .to_owned(),
                ];
                changes.extend(described("the text", &signature.changes));
                changes.extend(described("the document", &document.changes));
                let (document, signature) = (document.bytes.clone(), signature.bytes.clone());
                found.push((Proof::AwsDocument { document, signature }, changes));
            }
        }
    }
    found
}

/// A token is one line, and a line break behind it is not a part of it
fn without_line_break(variant: Variant) -> Vec<Variant> {
    let trimmed = variant.bytes.trim_ascii();
    if trimmed.len() == variant.bytes.len() {
        return vec![variant];
    }
    let mut changes = variant.changes.clone();
    changes.push("the line break at the end of {} is taken off");
    vec![Variant { bytes: trimmed.to_vec(), changes }, variant]
}

fn described(what: &str, changes: &[&str]) -> Vec<String> {
    changes.iter().map(|change| change.replace("{}", what)).collect()
}
