//! Samples as lines of the embedded metric format. A line holds one value of each dimension, so samples whose
//! dimensions contradict each other go to different lines, and as few as possible are made. Every value is a
//! number, a word of ours or a name of a checked grammar: nothing needs escaping.

use std::fmt::Write as _;

use super::{Metric, NAMESPACE, Sample};
use crate::domain::{ProviderName, Timestamp};

/// What goes into one line.
#[derive(Default)]
struct Line<'a> {
    provider: Option<&'a ProviderName>,
    outcome: Option<&'static str>,
    samples: Vec<&'a Sample>,
}

impl<'a> Line<'a> {
    fn takes(&self, sample: &Sample) -> bool {
        let agree = |own: Option<&str>, other: Option<&str>| {
            own.is_none() || other.is_none() || own == other
        };
        let name = |provider: Option<&'a ProviderName>| provider.map(ProviderName::as_str);
        agree(name(self.provider), sample.provider.as_ref().map(ProviderName::as_str))
            && agree(self.outcome, sample.outcome)
            && self.samples.iter().all(|taken| taken.metric != sample.metric)
    }

    fn take(&mut self, sample: &'a Sample) {
        self.provider = self.provider.or(sample.provider.as_ref());
        self.outcome = self.outcome.or(sample.outcome);
        self.samples.push(sample);
    }
}

/// The lines of one invocation, each with its end.
pub(super) fn lines(samples: &[Sample], labels: [&str; 3], at: Timestamp) -> String {
    let mut lines: Vec<Line<'_>> = Vec::with_capacity(2);
    for sample in samples {
        match lines.iter_mut().find(|line| line.takes(sample)) {
            Some(line) => line.take(sample),
            None => {
                let mut line = Line::default();
                line.take(sample);
                lines.push(line);
            }
        }
    }
    let mut text = String::with_capacity(1_024);
    for line in &lines {
        // Writing to a text cannot fail.
        let _ = write_line(&mut text, line, labels, at);
    }
    text
}

fn write_line(
    text: &mut String,
    line: &Line<'_>,
    [stage, function, version]: [&str; 3],
    at: Timestamp,
) -> std::fmt::Result {
    write!(text, "{{\"_aws\":{{\"Timestamp\":{},\"CloudWatchMetrics\":[", at.millis())?;
    for (position, sample) in line.samples.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        write!(text, "{comma}{{\"Namespace\":\"{NAMESPACE}\",\"Dimensions\":[[\"Stage\"]")?;
        write_dimensions(text, sample)?;
        let (name, unit) = (sample.metric.as_str(), sample.metric.unit());
        write!(text, "],\"Metrics\":[{{\"Name\":\"{name}\",\"Unit\":\"{unit}\"}}]}}")?;
    }
    write!(text, "]}},\"Stage\":\"{stage}\"")?;
    if line.samples.iter().any(|sample| sample.metric.is_of_a_function()) {
        write!(text, ",\"Function\":\"{function}\"")?;
    }
    if line.samples.iter().any(|sample| sample.metric == Metric::Failures) {
        write!(text, ",\"Version\":\"{version}\"")?;
    }
    if let Some(provider) = line.provider {
        write!(text, ",\"Provider\":\"{provider}\"")?;
    }
    if let Some(outcome) = line.outcome {
        write!(text, ",\"Outcome\":\"{outcome}\"")?;
    }
    for sample in &line.samples {
        write!(text, ",\"{}\":", sample.metric.as_str())?;
        write_values(text, sample)?;
    }
    text.write_str("}\n")
}

/// The second set of dimensions, beside the roll-up over the stage.
fn write_dimensions(text: &mut String, sample: &Sample) -> std::fmt::Result {
    let named = [
        ("Function", sample.metric.is_of_a_function()),
        ("Version", sample.metric == Metric::Failures),
        ("Provider", sample.provider.is_some()),
        ("Outcome", sample.outcome.is_some()),
    ];
    if named.iter().all(|(_, given)| !given) {
        return Ok(());
    }
    text.write_str(",[\"Stage\"")?;
    for (name, _) in named.iter().filter(|(_, given)| *given) {
        write!(text, ",\"{name}\"")?;
    }
    text.write_char(']')
}

fn write_values(text: &mut String, sample: &Sample) -> std::fmt::Result {
    if let [value] = sample.values[..] {
        return write_value(text, sample.metric, value);
    }
    for (position, value) in sample.values.iter().enumerate() {
        text.write_char(if position == 0 { '[' } else { ',' })?;
        write_value(text, sample.metric, *value)?;
    }
    text.write_char(']')
}

fn write_value(text: &mut String, metric: Metric, value: u64) -> std::fmt::Result {
    if metric.in_halves() {
        let half = if value % 2 == 1 { ".5" } else { "" };
        return write!(text, "{}{half}", value / 2);
    }
    write!(text, "{value}")
}
