//! The two text formats of metrics, and which of them a client prefers

use std::fmt::Write;

use http::header::{ACCEPT, HeaderMap};

/// A text format of metrics
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposition {
    /// The text format of Prometheus, version 0.0.4
    Text,
    /// `OpenMetrics` 1.0
    OpenMetrics,
}

impl Exposition {
    /// The format that the `Accept` of a request prefers (RFC 9110, section 12.5.1)
    ///
    /// Without a preference, or if no format is acceptable, this is the text format, which every
    /// scraper reads.
    #[must_use]
    pub fn accepted_by(headers: &HeaderMap) -> Self {
        let (mut text, mut open_metrics) = (Weight::default(), Weight::default());
        let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in lists.flat_map(|list| list.split(',')).take(RANGES).filter_map(Range::parse) {
            text.add(range.specificity("text", "plain", "0.0.4"), range.quality);
            let of_open_metrics = match range.version {
                // A scraper that reads only an earlier draft.
                Some(version) if version != "1.0.0" => None,
                _ => range.specificity("application", "openmetrics-text", "1.0.0"),
            };
            // A wildcard is not a wish for the newer format.
            let named = of_open_metrics.filter(|specificity| *specificity > WILDCARD);
            open_metrics.add(named, range.quality);
        }
        match open_metrics.quality > 0 && open_metrics.quality >= text.quality {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The media type of the text
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The text in this format, made from the same in `OpenMetrics`
    pub(crate) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => to_text(&open_metrics),
        }
    }
}

/// An element of `Accept`
#[derive(Clone, Copy, Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    /// In thousandths
    quality: u16,
}

impl<'a> Range<'a> {
    /// Returns `None` for what is not a media range
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let (mut version, mut quality) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            if name.eq_ignore_ascii_case("version") {
                version = Some(value);
            } else if name.eq_ignore_ascii_case("q") {
                quality = thousandths(value)?;
            }
        }
        Some(Self { kind, subtype, version, quality })
    }

    /// How exactly the range names a media type; `None` if it does not contain the type
    fn specificity(&self, kind: &str, subtype: &str, version: &str) -> Option<u8> {
        let is = |range: &str, name: &str| range.eq_ignore_ascii_case(name);
        match (self.kind, self.subtype, self.version) {
            ("*", "*", _) => Some(0),
            (range, "*", _) if is(range, kind) => Some(WILDCARD),
            (range, sub, found) if is(range, kind) && is(sub, subtype) => match found {
                None => Some(WILDCARD + 1),
                Some(found) => (found == version).then_some(WILDCARD + 2),
            },
            _ => None,
        }
    }
}

/// The quality of a media type, from the most specific range that contains it
#[derive(Debug, Default)]
struct Weight {
    specificity: Option<u8>,
    quality: u16,
}

impl Weight {
    fn add(&mut self, specificity: Option<u8>, quality: u16) {
        if specificity.is_some() && specificity >= self.specificity {
            // Of two ranges that are equally specific, the better one counts.
            let is_equal = specificity == self.specificity;
            self.quality = if is_equal { quality.max(self.quality) } else { quality };
            self.specificity = specificity;
        }
    }
}

/// A quality value: `0` to `1` with at most three decimals (RFC 9110, section 12.4.2)
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let is_short = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals = format!("{decimals:0<3}").parse::<u16>().ok().filter(|_| is_short)?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

/// Translates `OpenMetrics` into the text format of Prometheus
///
/// A counter is called like its sample there, with `_total`, and an info is a gauge with `_info`.
/// The text format has neither units nor an end mark.
fn to_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help comes before the type, on which the name depends.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(other, _)| *other == name) {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// More elements of `Accept` than any scraper sends
const RANGES: usize = 32;

/// The specificity of `text/*`
const WILDCARD: u8 = 1;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROMETHEUS_2_42: &str = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;\
        q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
        escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

    #[test]
    fn a_client_gets_the_format_that_it_prefers() {
        use Exposition::{OpenMetrics, Text};
        for (accept, expected) in [
            (PROMETHEUS_2_42, OpenMetrics),
            (PROMETHEUS_3, OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; q=0.5, */*;q=0.1", OpenMetrics),
            ("text/plain;q=0.4, application/openmetrics-text;q=0.4", OpenMetrics),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.4", Text),
            ("text/plain, application/openmetrics-text;q=0.999", Text),
            // The more specific range decides over the other.
            ("application/openmetrics-text, text/plain;q=0.9, text/*;q=1", OpenMetrics),
            ("application/openmetrics-text;q=0.5, text/*;q=0.2, */*;q=1", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.0, text/plain;q=0", Text),
            // Not quality values.
            ("application/openmetrics-text;q=2", Text),
            ("application/openmetrics-text;q=0.5555", Text),
            ("application/openmetrics-text;q=-1", Text),
            ("application/openmetrics-text;q=", Text),
            ("application/*", Text),
            ("*/*", Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("text/plain", Text),
            ("openmetrics", Text),
            ("", Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(Exposition::accepted_by(&headers), expected, "{accept}");
        }
        assert_eq!(Exposition::accepted_by(&HeaderMap::new()), Text);
        // A list may have several lines.
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/plain;q=0.1"));
        headers.append(ACCEPT, HeaderValue::from_static("application/openmetrics-text"));
        assert_eq!(Exposition::accepted_by(&headers), OpenMetrics);
    }

    #[test]
    fn counters_infos_and_units_are_translated() {
        let open_metrics = "# HELP a_b Counts.\n# TYPE a_b counter\na_b_total{c=\"# d\"} 1\n\
            # HELP e The version.\n# TYPE e info\ne_info{version=\"1\"} 1\n\
            # HELP f_seconds Times.\n# TYPE f_seconds histogram\n# UNIT f_seconds seconds\n\
            f_seconds_sum 0.5\nf_seconds_count 1\nf_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP a_b_total Counts.\n# TYPE a_b_total counter\na_b_total{c=\"# d\"} 1\n\
            # HELP e_info The version.\n# TYPE e_info gauge\ne_info{version=\"1\"} 1\n\
            # HELP f_seconds Times.\n# TYPE f_seconds histogram\n\
            f_seconds_sum 0.5\nf_seconds_count 1\nf_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(Exposition::Text.of(open_metrics.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.of(open_metrics.to_owned()), open_metrics);
    }
}
