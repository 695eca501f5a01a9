//! How a part of the program writes its numbers down.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet},
    metrics::MetricType,
};

type Tell = Box<dyn Fn(&mut Encoder<'_>) -> fmt::Result + Send + Sync>;

/// A part that tells its numbers when it is asked.
pub(super) struct Part(Tell);

impl Part {
    pub(super) fn new(
        tell: impl Fn(&mut Encoder<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(tell))
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Part")
    }
}

impl Collector for Part {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Encoder(encoder))
    }
}

/// Writes metrics down. A name is told at most once; `help` is a sentence without a full stop.
///
/// # Errors
///
/// Each method fails when the format cannot hold the value, which is then the end of the answer.
#[allow(
    missing_debug_implementations,
    reason = "what it wraps has none that says anything"
)]
pub struct Encoder<'a>(DescriptorEncoder<'a>);

#[allow(clippy::missing_errors_doc, reason = "it is said once, at the type")]
impl Encoder<'_> {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// A gauge for each set of labels.
    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A value that only grows. The name ends with `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = name.trim_end_matches("_total");
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A counter of something that is no whole number, such as seconds.
    pub fn counter_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let name = name.trim_end_matches("_total");
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A counter for each set of labels.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let name = name.trim_end_matches("_total");
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    /// A histogram for each set of labels: the sum, and how many lie in each bucket, by its upper bound. The last bound
    /// is infinite.
    pub(super) fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, buckets) in values {
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}
