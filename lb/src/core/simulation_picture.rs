//! What the simulations show, as docs/pickers.svg: a bar for each way of picking on each trace.

use std::fmt::Write as _;

use super::{Outcome, Trace, outcomes};
use crate::core::pick::Policy;

const WIDTH: usize = 860;
const NAMES: f64 = 160.0;
const BARS: f64 = 480.0;
const ROW: usize = 24;
const SECTION: usize = 34;

pub(super) fn draw() -> String {
    let traces = [
        (Trace::Even, "Three equal backends"),
        (Trace::OneSlow, "One is ten times slower"),
        (Trace::Flapping, "One is ten times slower for every other five seconds"),
        (Trace::ColdStart, "One comes later, and is ten times slower for its first thousand requests"),
    ];
    let drawn = traces.map(|(trace, title)| (title, outcomes(trace)));
    let most = drawn.iter().flat_map(|(_, outcomes)| outcomes).map(|outcome| outcome.p99).max().unwrap();
    let (mut body, mut top) = (String::new(), 44);
    for (title, outcomes) in &drawn {
        writeln!(body, r#"<text x="16" y="{}" font-weight="600">{title}</text>"#, top + 20).unwrap();
        top += SECTION;
        for (policy, outcome) in Policy::ALL.iter().zip(outcomes) {
            bar(&mut body, top, *policy, outcome, BARS / most.as_secs_f64());
            top += ROW;
        }
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {}" font-family="system-ui, sans-serif" font-size="13"
 fill="#1f2328" role="img" aria-label="Answer times by way of picking, simulated">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="28">99th percentile of answer times, and by how much shares of requests differ from those of speed at most</text>
{body}</svg>
"##,
        top + 16
    )
}

fn bar(body: &mut String, top: usize, policy: Policy, outcome: &Outcome, scale: f64) {
    let (name, color) = (policy.name(), if policy == Policy::PeakEwma { "#1f6feb" } else { "#9aa4b2" });
    let (middle, width) = (top + ROW / 2, outcome.p99.as_secs_f64() * scale);
    let says = format!("{:.1} ms, {:.0} %", outcome.p99.as_secs_f64() * 1e3, outcome.load_error * 100.0);
    let (name_x, says_x) = (NAMES - 8.0, NAMES + width + 8.0);
    writeln!(
        body,
        r#"<text x="{name_x}" y="{y}" text-anchor="end">{name}</text>
<rect x="{NAMES}" y="{}" width="{width:.1}" height="16" rx="2" fill="{color}"/>
<text x="{says_x:.1}" y="{y}">{says}</text>"#,
        middle - 8,
        y = middle + 4,
    )
    .unwrap();
}
