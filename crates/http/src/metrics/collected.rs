//! Values that are counted elsewhere, encoded as they are when metrics are read

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use store::facts::{Durations, Facts, PoolFacts, QuestionFacts};

use super::host::ProcessFacts;

/// Values of the last reading
#[derive(Debug)]
pub(super) struct Last<T>(Mutex<Option<T>>);

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Last<T> {
    pub(super) fn set(&self, value: Option<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// Encodes whether the database answers, if that is known
#[derive(Debug)]
pub(super) struct DatabaseCollector(pub(super) Arc<Last<bool>>);

impl Collector for DatabaseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let is_up = *self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(is_up) = is_up else { return Ok(()) };
        let help = "Whether the database answered when the metrics were read.";
        let metric = encoder.encode_descriptor("database_up", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(is_up)).encode(metric)
    }
}

/// Encodes facts of the store
#[derive(Debug)]
pub(super) struct StoreCollector(pub(super) Arc<Last<Facts>>);

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let facts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Facts { questions, pools, .. }) = &*facts else { return Ok(()) };
        let asked = |question: &QuestionFacts| [("question", question.question.as_str())];
        let mut write = |name,
                         help,
                         unit: Option<&Unit>,
                         value: &dyn Fn(&QuestionFacts) -> Value|
         -> fmt::Result {
            let kind = questions.first().map(|first| value(first).metric_type());
            let Some(kind) = kind else { return Ok(()) };
            let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
            for facts in questions {
                value(facts).encode(metric.encode_family(&asked(facts))?)?;
            }
            Ok(())
        };
        write(
            "database_statement_duration",
            "From sending a statement to its result, by the question it answers.",
            Some(&Unit::Seconds),
            &|facts| Value::Histogram(facts.durations.clone()),
        )?;
        write(
            "database_statement_failures",
            "Statements that failed or had no answer in time.",
            None,
            &|facts| Value::Counter(facts.failures),
        )?;
        encode_pools(pools, encoder)
    }
}

fn encode_pools(pools: &[PoolFacts], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    type Read = fn(&PoolFacts) -> u64;
    let gauges: [(_, _, Read); 4] = [
        ("database_connections", "Open connections to the database.", |pool| pool.open),
        (
            "database_connections_in_use",
            "Connections to the database that a caller has for itself.",
            |pool| pool.in_use,
        ),
        ("database_connections_max", "Connections that may be open at most.", |pool| pool.limit),
        (
            "database_connection_waiters",
            "Callers that wait for a connection, or to share the next statement.",
            |pool| pool.waiting,
        ),
    ];
    if pools.is_empty() {
        return Ok(());
    }
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for pool in pools {
            Value::Gauge(read(pool)).encode(metric.encode_family(&[("pool", pool.pool)])?)?;
        }
    }
    let mut metric = encoder.encode_descriptor(
        "database_connection_wait",
        "How long callers waited for a connection of their own.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for pool in pools.iter().filter(|pool| pool.waits.count() > 0) {
        let value = Value::Histogram(pool.waits.clone());
        value.encode(metric.encode_family(&[("pool", pool.pool)])?)?;
    }
    Ok(())
}

/// Encodes facts of the process, under the names that Prometheus' own libraries use
#[derive(Debug)]
pub(super) struct ProcessCollector(pub(super) Arc<Last<ProcessFacts>>);

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let facts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(facts) = *facts else { return Ok(()) };
        let mut write = |name, help, unit: Option<&Unit>, value: Value| {
            let metric = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
            value.encode(metric)
        };
        let seconds = Some(&Unit::Seconds);
        let bytes = Some(&Unit::Bytes);
        write(
            "process_cpu",
            "Processor time of the process, in user and in system mode.",
            seconds,
            Value::Seconds(facts.cpu),
        )?;
        write("process_open_fds", "Open file descriptors.", None, Value::Gauge(facts.open_files))?;
        write(
            "process_max_fds",
            "File descriptors that may be open at most.",
            None,
            Value::Gauge(facts.max_files),
        )?;
        write("process_threads", "Threads of the process.", None, Value::Gauge(facts.threads))?;
        write(
            "process_virtual_memory",
            "Size of the address space.",
            bytes,
            Value::Gauge(facts.virtual_memory),
        )?;
        write(
            "process_resident_memory",
            "Memory that is in use.",
            bytes,
            Value::Gauge(facts.resident_memory),
        )?;
        write(
            "process_start_time",
            "When the process started, since the epoch.",
            seconds,
            Value::GaugeSeconds(facts.started),
        )
    }
}

/// The value of one sample or histogram
enum Value {
    Counter(u64),
    Gauge(u64),
    /// A counter
    Seconds(Duration),
    GaugeSeconds(Duration),
    Histogram(Durations),
}

impl EncodeMetric for Value {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(value) => ConstCounter::new(*value).encode(encoder),
            Self::Gauge(value) => {
                ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)).encode(encoder)
            }
            Self::Seconds(value) => ConstCounter::new(value.as_secs_f64()).encode(encoder),
            Self::GaugeSeconds(value) => ConstGauge::new(value.as_secs_f64()).encode(encoder),
            Self::Histogram(durations) => {
                // The encoder writes this bound as `+Inf`.
                let bounds = Durations::BOUNDS.into_iter().chain([f64::MAX]);
                let buckets: Vec<_> = bounds.zip(durations.counts).collect();
                let (sum, count) = (durations.sum.as_secs_f64(), durations.count());
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(_) | Self::Seconds(_) => MetricType::Counter,
            Self::Gauge(_) | Self::GaugeSeconds(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}
