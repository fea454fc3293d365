//! What the numbers of a line are made with, and the bars they are held to.

use std::time::Duration;

use serde_json::Value;

/// A bound of a number, inclusive.
#[derive(Clone, Copy, Debug)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// Every bar: measurement, key, bound.
const BARS: [(&str, &str, Bar); 10] = [
    ("relay", "ratio", Bar::AtLeast(0.5)),
    ("relay", "gas_ratio", Bar::AtMost(0.65)),
    ("react", "react_p50_ms", Bar::AtMost(20.0)),
    ("react", "react_p99_ms", Bar::AtMost(100.0)),
    ("react", "preflight_p50_ms", Bar::AtMost(5.0)),
    ("dispatch", "dispatch_p50_ms", Bar::AtMost(500.0)),
    ("dispatch", "lost", Bar::AtMost(0.0)),
    ("rush", "ratio", Bar::AtMost(2.0)),
    ("memory", "provider_rss_mib", Bar::AtMost(200.0)),
    ("memory", "agent_rss_mib", Bar::AtMost(200.0)),
];

/// What a line misses, a sentence each.
pub(crate) fn missed(line: &Value) -> Vec<String> {
    let mut missed = Vec::new();
    for (_, key, bar) in BARS.iter().filter(|(bench, ..)| line["bench"] == *bench) {
        let found = line[*key].as_f64();
        let (holds, bound) = match *bar {
            Bar::AtLeast(least) => (found.is_some_and(|found| found >= least), format!("at least {least}")),
            Bar::AtMost(most) => (found.is_some_and(|found| found <= most), format!("at most {most}")),
        };
        if !holds {
            missed.push(format!("{key} is {}, its bar {bound}", line[*key]));
        }
    }
    missed
}

/// Nearest rank, milliseconds; infinite when nothing was measured, which meets no bar.
pub(crate) fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(f64::INFINITY, |time| rounded(time.as_secs_f64() * 1_000.0))
}

/// Three places.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
