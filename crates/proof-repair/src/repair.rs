use std::fmt;
use std::time::SystemTime;

use identity_fetch::{Identity, Proof};
use identity_verify::{Cloud, Reason, Rejection};

use crate::captured::CapturedProof;
use crate::variants::{self, Variant};

/// What is wrong with the texts of a rejected proof
///
/// `Display` says it in one sentence, for the person who captured the proof.
#[derive(Debug)]
#[non_exhaustive]
pub enum Repair {
    /// These changes make the proof valid
    Changes {
        /// The changes, each as a clause such as "the byte order mark of the document is removed"
        changes: Vec<String>,
        /// Why the genuine proof is rejected even so
        then: Option<Rejection>,
    },
    /// A text that cannot be part of a proof of its kind, and what it probably is
    Mistaken(&'static str),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (changes, then) = match self {
            Self::Changes { changes, then } => (changes, then),
            Self::Mistaken(text) => return f.write_str(text),
        };
        write!(
            f,
            "the proof is valid once {}; it has to be sent as it was served, byte for byte",
            changes.join(", and ")
        )?;
        match then {
            Some(rejection) => write!(f, " (and is then rejected: {rejection})"),
            None => Ok(()),
        }
    }
}

impl CapturedProof {
    /// Looks for the fewest changes that make the proof valid
    ///
    /// `rejection` is the result for the unchanged texts. A change is returned only if a trusted
    /// signature then verifies, so a forgery has no repair. Without a result, either no such
    /// change is known, or the proof is genuine and rejected for another reason.
    pub async fn repair(
        &self,
        cloud: Cloud,
        identity: &Identity,
        rejection: &Rejection,
        now: SystemTime,
    ) -> Option<Repair> {
        if !may_be_changed(rejection) {
            return None;
        }
        let mut candidates = self.candidates(cloud);
        candidates.retain(|candidate| !candidate.changes.is_empty());
        candidates.sort_by_key(|candidate| candidate.changes.len());
        for Candidate { proof, changes } in candidates {
            match identity.verify(&proof, now).await {
                Ok(_) => return Some(Repair::Changes { changes, then: None }),
                Err(then) if !may_be_changed(&then) => {
                    return Some(Repair::Changes { changes, then: Some(then) });
                }
                Err(_) => {}
            }
        }
        let lacks_document = cloud == Cloud::Aws && self.document.is_none();
        let is_bare = self.pkcs7.as_deref().is_some_and(variants::is_bare_signature);
        (lacks_document && is_bare).then_some(Repair::Mistaken(
            "the message is a bare signature as `/signature` serves it, not a PKCS#7 message: give \
             it as the signature, with the document",
        ))
    }

    /// The proofs that the texts may have been, in any order
    fn candidates(&self, cloud: Cloud) -> Vec<Candidate> {
        match cloud {
            Cloud::Aws => self.of_aws(),
            Cloud::Azure => {
                let text = self.signature.as_deref().or(self.pkcs7.as_deref()).unwrap_or_default();
                let variants = variants::of_base64(text, &["signature"]).into_iter();
                variants
                    .map(|variant| Candidate {
                        changes: variant.described("the signature"),
                        proof: Proof::Azure { signature: variant.bytes },
                    })
                    .collect()
            }
            Cloud::Google => {
                let text = self.token.as_deref().unwrap_or_default();
                let fields = ["json_web_token", "token", "access_token", "id_token"];
                variants::of_base64(text, &fields)
                    .into_iter()
                    .map(|variant| Candidate {
                        changes: variant.described("the token"),
                        proof: Proof::Google { token: variant.bytes },
                    })
                    .collect()
            }
        }
    }

    fn of_aws(&self) -> Vec<Candidate> {
        let documents = self.document.as_deref().map(variants::of_document).unwrap_or_default();
        let messages = |text: &[u8]| variants::of_base64(text, &["pkcs7"]);
        let signatures = |text: &[u8]| variants::of_base64(text, &["signature"]);
        let mut found = Vec::new();
        if let Some(text) = &self.signature {
            for signature in signatures(text) {
                for document in &documents {
                    let mut changes = document.described("the document");
                    changes.extend(signature.described("the signature"));
                    found.push(Candidate::of_document(document, &signature, changes));
                }
            }
            for message in messages(text).into_iter().filter(|v| variants::is_pkcs7(&v.bytes)) {
                let mut changes = vec![
                    "the signature, which is a PKCS#7 message as `/rsa2048` or `/pkcs7` serves \
                     it, is given as `pkcs7`"
                        .to_owned(),
                ];
                changes.extend(message.described("the text"));
                found.push(Candidate::of_pkcs7(&message, None, changes));
            }
        }
        if let Some(text) = &self.pkcs7 {
            for message in messages(text) {
                let changes = message.described("the message");
                for document in &documents {
                    let mut changes = changes.clone();
                    changes.extend(document.described("the document"));
                    found.push(Candidate::of_pkcs7(&message, Some(document), changes));
                }
                let mut without = changes;
                if self.document.is_some() {
                    // The document in the message is the one that is verified.
                    without.push(
                        "the document beside the message is left out or is the signed one"
                            .to_owned(),
                    );
                }
                found.push(Candidate::of_pkcs7(&message, None, without));
            }
            for signature in signatures(text).into_iter().filter(|v| !variants::is_pkcs7(&v.bytes))
            {
                for document in &documents {
                    let mut changes = vec![
                        "the message, which is a signature as `/signature` serves it, is given as \
                         `signature`"
                            .to_owned(),
                    ];
                    changes.extend(signature.described("the text"));
                    changes.extend(document.described("the document"));
                    found.push(Candidate::of_document(document, &signature, changes));
                }
            }
        }
        found
    }
}

/// A proof, and the changes to the captured texts that lead to it
struct Candidate {
    proof: Proof,
    changes: Vec<String>,
}

impl Candidate {
    fn of_document(document: &Variant, signature: &Variant, changes: Vec<String>) -> Self {
        let (document, signature) = (document.bytes.clone(), signature.bytes.clone());
        Self { proof: Proof::AwsDocument { document, signature }, changes }
    }

    fn of_pkcs7(message: &Variant, document: Option<&Variant>, changes: Vec<String>) -> Self {
        let (pkcs7, document) = (message.bytes.clone(), document.map(|text| text.bytes.clone()));
        Self { proof: Proof::AwsPkcs7 { pkcs7, document }, changes }
    }
}

/// Whether the texts may have been changed
///
/// A genuine proof has its original texts, except for a document beside a PKCS#7 message.
fn may_be_changed(rejection: &Rejection) -> bool {
    !rejection.is_genuine() || rejection.reason() == Reason::DocumentMismatch
}
