//! The result, for people and for programs.

use std::fs;

use hdrhistogram::Histogram;
use replicamq_protocols::stomp::Version;
use serde::Serialize;

use super::BenchArgs;
use super::tally::Tally;
use crate::terminal::table;

/// Linux counts CPU time in hundredths of a second, whatever its tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The names are part of the interface of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    label: String,
    broker: String,
    stomp: &'static str,
    producers: u32,
    consumers: u32,
    queues: u32,
    size: u32,
    in_flight: u32,
    persistent: bool,
    ack: &'static str,
    /// Measured messages with a receipt.
    pub(super) sent: u64,
    /// From the first measured send to the last of these receipts.
    sent_seconds: f64,
    sent_per_second: f64,
    sent_mib_per_second: f64,
    /// Measured messages that arrived.
    pub(super) received: u64,
    received_seconds: f64,
    received_per_second: f64,
    receipt_latency_us: Latency,
    delivery_latency_us: Latency,
    /// With a receipt, and never arrived; warm-up included.
    pub(super) lost: u64,
    /// Arrived twice without the redelivered mark; warm-up included.
    pub(super) duplicated: u64,
    redelivered: u64,
    /// Of another run, found in the queues and removed.
    foreign: u64,
    /// What this tool took from the broker.
    own_cpu_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            min: histogram.min(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 52 bits"
)]
fn rate((count, took_ns): (u64, u64)) -> (f64, f64) {
    let seconds = took_ns as f64 / 1e9;
    let rate = if took_ns == 0 {
        0.0
    } else {
        count as f64 / seconds
    };
    ((seconds * 1e3).round() / 1e3, (rate * 10.0).round() / 10.0)
}

/// User and system time of this process.
fn own_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may contain blanks; it ends with the last parenthesis.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

impl Report {
    pub(super) fn new(args: &BenchArgs, broker: &str, version: Version, tally: &Tally) -> Self {
        let (sent_seconds, sent_per_second) = rate(tally.sends());
        let (received_seconds, received_per_second) = rate(tally.arrivals());
        Self {
            label: args.label.clone(),
            broker: broker.to_owned(),
            stomp: version.as_str(),
            producers: args.producers.get(),
            consumers: args.consumers,
            queues: args.queues(),
            size: args.size,
            in_flight: args.in_flight.get(),
            persistent: args.persistent,
            ack: args.ack.header(),
            sent: tally.sends().0,
            sent_seconds,
            sent_per_second,
            sent_mib_per_second: (sent_per_second * f64::from(args.size) / 1_048_576.0 * 100.0)
                .round()
                / 100.0,
            received: tally.arrivals().0,
            received_seconds,
            received_per_second,
            receipt_latency_us: Latency::from(&tally.receipt_latency()),
            delivery_latency_us: Latency::from(&tally.delivery_latency()),
            lost: if args.consumers == 0 {
                0
            } else {
                tally.missing()
            },
            duplicated: tally.duplicated(),
            redelivered: tally.redelivered(),
            foreign: tally.foreign(),
            own_cpu_seconds: own_cpu_seconds(),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let name = if self.label.is_empty() {
            "bench"
        } else {
            &self.label
        };
        let persistence = if self.persistent {
            "persistent"
        } else {
            "non-persistent"
        };
        let mut lines = vec![
            format!("{name}: {} over STOMP {}", self.broker, self.stomp),
            format!(
                "{} producers with {} in flight, {} consumers ({}), {} queues, {} bytes, {persistence}",
                self.producers, self.in_flight, self.consumers, self.ack, self.queues, self.size
            ),
            String::new(),
            format!(
                "sent      {:>10} in {:.1} s: {:.0}/s, {:.1} MiB/s",
                self.sent, self.sent_seconds, self.sent_per_second, self.sent_mib_per_second
            ),
        ];
        if self.consumers > 0 {
            lines.push(format!(
                "received  {:>10} in {:.1} s: {:.0}/s",
                self.received, self.received_seconds, self.received_per_second
            ));
        }
        lines.push(String::new());
        let mut rows = vec![self.receipt_latency_us.cells("send to receipt")];
        if self.consumers > 0 {
            rows.push(self.delivery_latency_us.cells("send to delivery"));
        }
        lines.extend(table(
            &[
                "LATENCY, ms",
                "MIN",
                "MEAN",
                "P50",
                "P90",
                "P99",
                "P99.9",
                "MAX",
            ],
            &rows,
        ));
        lines.push(String::new());
        lines.push(format!(
            "lost {}, duplicated {}, redelivered {}; this tool used {:.1} s of CPU",
            self.lost, self.duplicated, self.redelivered, self.own_cpu_seconds
        ));
        if self.foreign > 0 {
            lines.push(format!(
                "removed {} messages of other runs from the queues: they cost time, measure again",
                self.foreign
            ));
        }
        lines
    }
}

impl Latency {
    fn cells(&self, name: &str) -> Vec<String> {
        let ms = |us: u64| format!("{}.{:02}", us / 1_000, us % 1_000 / 10);
        vec![
            name.to_owned(),
            ms(self.min),
            format!("{:.2}", self.mean / 1_000.0),
            ms(self.p50),
            ms(self.p90),
            ms(self.p99),
            ms(self.p999),
            ms(self.max),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up_in_quantiles() {
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        for us in 1..=1_000 {
            histogram.record(us).unwrap();
        }
        let latency = Latency::from(&histogram);
        assert_eq!(
            (latency.min, latency.p50, latency.p90, latency.max),
            (1, 500, 900, 1_000)
        );
        assert_eq!((latency.p99, latency.p999), (990, 999));
        assert!((latency.mean - 500.5).abs() < 0.5);
        assert_eq!(latency.cells("x")[3], "0.50");
    }

    #[test]
    fn nothing_measured_is_no_division_by_zero() {
        assert_eq!(rate((0, 0)), (0.0, 0.0));
        assert_eq!(rate((3_000, 1_500_000_000)), (1.5, 2_000.0));
        let empty: Histogram<u64> = Histogram::new_with_bounds(1, 10, 3).unwrap();
        assert_eq!(Latency::from(&empty).max, 0);
    }

    #[test]
    fn the_own_cpu_time_is_found() {
        assert!(own_cpu_seconds() >= 0.0);
        assert!(fs::read_to_string("/proc/self/stat").is_ok());
    }
}
