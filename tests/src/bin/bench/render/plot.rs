//! A record as one picture: a bar for each contender's median, a tick for each run.

use std::fmt::Write as _;

use crate::balancer::matrix;
use crate::record::{Contender, Record, Run, Section};

const WIDTH: f64 = 860.0;
const NAMES: f64 = 240.0;
const BARS: f64 = 480.0;
const ROW: f64 = 26.0;
const HEAD: f64 = 44.0;
const OURS: &str = "#1f6feb";
const THEIRS: &str = "#9aa4b2";

/// What is drawn of a section: the title, the value, and how its number is written.
type Panel = (&'static str, fn(&Run) -> f64);

fn panel(section: &str) -> Option<Panel> {
    match section {
        "jobs" => Some(("No-op jobs per second, from submit to done (more is better)", Run::per_second)),
        "reads" => Some(("CPU µs per read that a cache answers (less is better)", Run::total_us)),
        name if name == matrix::FIRST.section() => {
            Some(("CPU µs per request through a balancer (less is better)", Run::total_us))
        }
        _ => None,
    }
}

pub(super) fn draw(record: &Record) -> String {
    let mut body = String::new();
    let mut top = 12.0;
    for section in &record.sections {
        if let Some((title, value)) = panel(&section.name) {
            top = draw_section(&mut body, top, section, title, value);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" \
         role=\"img\" aria-label=\"The contenders side by side\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Gives the top of what comes below it.
fn draw_section(body: &mut String, top: f64, section: &Section, title: &str, value: fn(&Run) -> f64) -> f64 {
    let most = section.contenders.iter().map(|contender| contender.least_and_most(value).1).fold(0.0, f64::max);
    let scale = if most > 0.0 { BARS / most } else { 0.0 };
    push(body, &format!("<text x=\"16\" y=\"{:.0}\" font-weight=\"600\" fill=\"#1f2328\">{title}</text>", top + 20.0));
    let mut y = top + HEAD - 12.0;
    for contender in &section.contenders {
        draw_bar(body, y, contender, value, scale);
        y += ROW;
    }
    y + 16.0
}

fn draw_bar(body: &mut String, y: f64, contender: &Contender, value: fn(&Run) -> f64, scale: f64) {
    let is_ours = contender.name.starts_with("Longshore") || contender.name == "lb";
    let (median, color) = (contender.median(value), if is_ours { OURS } else { THEIRS });
    let (middle, width) = (y + ROW / 2.0, median * scale);
    let name = escaped(&contender.name);
    push(
        body,
        &format!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#1f2328\">{name}</text>",
            NAMES - 8.0,
            middle + 4.0
        ),
    );
    push(
        body,
        &format!(
            "<rect x=\"{NAMES:.0}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"16\" rx=\"2\" fill=\"{color}\"/>",
            middle - 8.0
        ),
    );
    for run in &contender.runs {
        let x = NAMES + value(run) * scale;
        push(
            body,
            &format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#1f2328\" stroke-opacity=\"0.45\"/>",
                middle - 5.0,
                middle + 5.0
            ),
        );
    }
    let right = NAMES + contender.least_and_most(value).1.max(median) * scale + 8.0;
    let number = if median < 100.0 { format!("{median:.1}") } else { format!("{median:.0}") };
    push(body, &format!("<text x=\"{right:.0}\" y=\"{:.0}\" fill=\"#1f2328\">{number}</text>", middle + 4.0));
}

fn push(body: &mut String, line: &str) {
    writeln!(body, "{line}").expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
