use std::time::SystemTime;

use crate::{
    asn1::{
        BIT_STRING, BOOLEAN, GENERALIZED_TIME, IA5_STRING, INTEGER, Malformed, OBJECT_IDENTIFIER,
        OCTET_STRING, PRINTABLE_STRING, Reader, Rules, SEQUENCE, SET, UTC_TIME, UTF8_STRING, Value,
        context,
    },
    time,
};

/// The fields of an X.509 certificate of any version (RFC 5280, 4.1), unverified
///
/// webpki verifies certificates. This view is for fields that webpki does not expose, and
/// for the certificates of AWS, which webpki refuses for their version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certificate<'a> {
    /// The serial number's bytes
    pub(crate) serial: &'a [u8],
    /// The issuer's name, as encoded
    pub(crate) issuer: &'a [u8],
    /// The subject's name, as encoded
    pub(crate) subject: &'a [u8],
    /// The SubjectPublicKeyInfo, as encoded
    pub(crate) spki: &'a [u8],
    validity: Value<'a>,
    extensions: Option<Value<'a>>,
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(der, Rules::Der);
        let certificate = outer.read(SEQUENCE)?;
        outer.finish()?;
        let mut fields = certificate.open()?.read(SEQUENCE)?.open()?;
        let _version = fields.optional(context(0))?;
        let serial = fields.read(INTEGER)?.body;
        let _signature = fields.read(SEQUENCE)?;
        let issuer = fields.read(SEQUENCE)?.raw;
        let validity = fields.read(SEQUENCE)?;
        let subject = fields.read(SEQUENCE)?.raw;
        let spki = fields.read(SEQUENCE)?.raw;
        let extensions = loop {
            match fields.is_empty() {
                true => break None,
                false => match fields.any()? {
                    value if value.tag == context(3) => break Some(value),
                    _unique_id => {}
                },
            }
        };
        fields.finish()?;
        Ok(Self { serial, issuer, subject, spki, validity, extensions })
    }

    /// The first and the last second in which it is valid
    pub(crate) fn validity(&self) -> Result<(SystemTime, SystemTime), Malformed> {
        let mut times = self.validity.open()?;
        let not_before = moment(times.any()?).ok_or(Malformed)?;
        let not_after = moment(times.any()?).ok_or(Malformed)?;
        times.finish()?;
        Ok((not_before, not_after))
    }

    /// Every common name of the subject
    pub(crate) fn common_names(&self) -> Result<Vec<&'a str>, Malformed> {
        common_names(self.subject)
    }

    /// Every alternative name of the subject (RFC 5280, 4.2.1.6): `None` for one that is not
    /// the name of a host
    pub(crate) fn alternative_names(&self) -> Result<Vec<Option<&'a str>>, Malformed> {
        let mut found = Vec::new();
        let Some(value) = self.extension(SUBJECT_ALT_NAME)? else { return Ok(found) };
        let mut names = Reader::new(value, Rules::Der).read(SEQUENCE)?.open()?;
        while !names.is_empty() {
            let name = names.any()?;
            let is_host = name.tag == DNS_NAME;
            found.push(std::str::from_utf8(name.body).ok().filter(|_| is_host));
        }
        Ok(found)
    }

    /// Whether it may issue certificates (RFC 5280, 4.2.1.9)
    pub(crate) fn is_authority(&self) -> Result<bool, Malformed> {
        let Some(value) = self.extension(BASIC_CONSTRAINTS)? else { return Ok(false) };
        let mut fields = Reader::new(value, Rules::Der).read(SEQUENCE)?.open()?;
        Ok(fields.optional(BOOLEAN)?.is_some_and(|value| value.body == [0xff]))
    }

    /// Whether its key may sign certificates, as far as its key usage says
    /// (RFC 5280, 4.2.1.3)
    pub(crate) fn may_certify(&self) -> Result<bool, Malformed> {
        let Some(value) = self.extension(KEY_USAGE)? else { return Ok(true) };
        let bits = Reader::new(value, Rules::Der).read(BIT_STRING)?.body;
        Ok(matches!(bits, [_unused, first, ..] if first & KEY_CERT_SIGN != 0))
    }

    /// Where its issuer's certificate can be fetched (RFC 5280, 4.2.2.1)
    pub(crate) fn issuer_urls(&self) -> Result<Vec<&'a str>, Malformed> {
        let mut urls = Vec::new();
        let Some(value) = self.extension(AUTHORITY_INFO_ACCESS)? else { return Ok(urls) };
        let mut descriptions = Reader::new(value, Rules::Der).read(SEQUENCE)?.open()?;
        while !descriptions.is_empty() {
            let mut description = descriptions.read(SEQUENCE)?.open()?;
            let method = description.read(OBJECT_IDENTIFIER)?.body;
            let location = description.any()?;
            if method == CA_ISSUERS && location.tag == URI {
                urls.push(std::str::from_utf8(location.body).map_err(|_| Malformed)?);
            }
        }
        Ok(urls)
    }

    /// The value of an extension, the first if it stands there twice
    fn extension(&self, wanted: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(explicit) = self.extensions else { return Ok(None) };
        let mut extensions = explicit.open()?.read(SEQUENCE)?.open()?;
        while !extensions.is_empty() {
            let mut extension = extensions.read(SEQUENCE)?.open()?;
            let id = extension.read(OBJECT_IDENTIFIER)?.body;
            let _critical = extension.optional(BOOLEAN)?;
            let value = extension.read(OCTET_STRING)?.body;
            if id == wanted {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// Every common name in a name as encoded
pub(crate) fn common_names(name: &[u8]) -> Result<Vec<&str>, Malformed> {
    let mut names = Vec::new();
    let mut outer = Reader::new(name, Rules::Der);
    let mut relative = outer.read(SEQUENCE)?.open()?;
    while !relative.is_empty() {
        let mut attributes = relative.read(SET)?.open()?;
        while !attributes.is_empty() {
            let mut attribute = attributes.read(SEQUENCE)?.open()?;
            let kind = attribute.read(OBJECT_IDENTIFIER)?.body;
            let value = attribute.any()?;
            if kind == COMMON_NAME {
                names.push(text(value)?);
            }
        }
    }
    Ok(names)
}

fn moment(value: Value<'_>) -> Option<SystemTime> {
    match value.tag {
        UTC_TIME => time::utc_time(value.body),
        GENERALIZED_TIME => time::generalized_time(value.body),
        _ => None,
    }
}

fn text<'a>(value: Value<'a>) -> Result<&'a str, Malformed> {
    match value.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => {
            std::str::from_utf8(value.body).map_err(|_| Malformed)
        }
        _ => Err(Malformed),
    }
}

/// The GeneralName choice `[2]`
const DNS_NAME: u8 = 0x82;

/// The GeneralName choice `[6]`
const URI: u8 = 0x86;

/// 2.5.4.3 (X.520)
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// 2.5.29.15 (RFC 5280, 4.2.1.3)
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

/// Bit 5, counted from the highest of the first octet
const KEY_CERT_SIGN: u8 = 0x04;

/// 2.5.29.17 (RFC 5280, 4.2.1.6)
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// 2.5.29.19 (RFC 5280, 4.2.1.9)
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// 1.3.6.1.5.5.7.1.1 (RFC 5280, 4.2.2.1)
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];

/// 1.3.6.1.5.5.7.48.2 (RFC 5280, 4.2.2.1)
const CA_ISSUERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
