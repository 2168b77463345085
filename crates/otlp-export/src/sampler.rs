use std::str::FromStr;

use authd_http::RequestSpan;

/// Which requests are exported
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the decision of the caller counts, if there is one
    pub follows_parent: bool,
    /// The part of all other traces that is exported, from 0 to 1
    pub ratio: f64,
}

/// Those that the caller has sampled, and all without a caller
impl Default for Sampler {
    fn default() -> Self {
        Self { follows_parent: true, ratio: 1.0 }
    }
}

impl Sampler {
    /// Whether the request is exported
    ///
    /// The ratio is decided by the trace's id, so that all services decide alike.
    #[must_use]
    pub fn samples(&self, span: &RequestSpan) -> bool {
        match span.parent {
            Some(parent) if self.follows_parent => parent.is_sampled,
            _ => {
                // The last seven bytes of an id are random (W3C Trace Context, level 2).
                let random = u64::try_from(span.trace_id & RANDOM).unwrap_or(u64::MAX);
                // The largest numbers are rounded to 1.
                self.ratio >= 1.0 || to_unit(random) < self.ratio
            }
        }
    }

    /// The same, with the ratio as given; [`None`] if the ratio is not from 0 to 1
    pub(crate) fn with_ratio(self, ratio: &str) -> Option<Self> {
        let ratio: f64 = ratio.trim().parse().ok()?;
        (0.0..=1.0).contains(&ratio).then_some(Self { ratio, ..self })
    }
}

/// A number of 56 bits as one from 0 to below 1
fn to_unit(number: u64) -> f64 {
    // Of 56 bits an `f64` has 53, and two 32-bit halves convert without loss.
    let high = u32::try_from(number >> 24).unwrap_or(u32::MAX);
    let low = u32::try_from(number & 0x00ff_ffff).unwrap_or(u32::MAX);
    f64::from(high) / 2f64.powi(32) + f64::from(low) / 2f64.powi(56)
}

/// The names of [`OTEL_TRACES_SAMPLER`](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)
impl FromStr for Sampler {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (follows_parent, name) = match text.strip_prefix("parentbased_") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let ratio = match name {
            "always_on" | "traceidratio" => 1.0,
            "always_off" => 0.0,
            _ => return Err(()),
        };
        Ok(Self { follows_parent, ratio })
    }
}

const RANDOM: u128 = (1 << 56) - 1;
