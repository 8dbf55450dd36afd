//! One plot as inline SVG: lines or stacked areas over time or over quantiles. Colours are the page's, by class.

use std::fmt::Write;

use super::scale::Scale;
use crate::load::numbers::plain;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 232.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// A named series. A point without a value is a gap.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the page's colours.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Lines,
    /// Each on top of those before it.
    Stacked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    Seconds,
    Quantiles,
}

#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// What the values are, such as `ms`.
    pub(super) unit: &'static str,
    pub(super) style: Style,
    pub(super) across: Across,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) series: Vec<Series>,
    /// Instants at which a stage ends.
    pub(super) marks: Vec<f64>,
}

impl Plot {
    /// A figure with its title and legend.
    pub(super) fn figure(&self) -> String {
        let legend: Vec<String> = self.series.iter().map(legend).collect();
        format!(
            "<figure><figcaption><b>{}</b> <span class=\"unit\">{}</span><span class=\"legend\">{}</span></figcaption>{}</figure>\n",
            escape(self.title),
            escape(self.unit),
            legend.concat(),
            self.svg(),
        )
    }

    fn svg(&self) -> String {
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(self.title));
        self.axes(&mut svg);
        match self.style {
            Style::Lines => self.series.iter().for_each(|series| self.line(series, &mut svg)),
            Style::Stacked => self.areas(&mut svg),
        }
        svg.push_str("</svg>");
        svg
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String) {
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.y.ticks() {
            let y = self.y(tick);
            add(svg, &format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            add(
                svg,
                &format!("<text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{}</text>", LEFT - 7.0, y + 3.5, plain(tick)),
            );
        }
        for mark in &self.marks {
            add(svg, &format!("<path class=\"mark\" d=\"M{:.1} {TOP}V{floor}\"/>", self.x(*mark)));
        }
        for tick in self.x.ticks() {
            let x = self.x(tick);
            let text = match self.across {
                Across::Seconds => format!("{} s", plain(tick)),
                Across::Quantiles => percentile(tick),
            };
            add(svg, &format!("<path class=\"tick\" d=\"M{x:.1} {floor}v4\"/>"));
            // The last one would stand beyond the edge.
            let anchor = if x > right - RIGHT { "end" } else { "middle" };
            let (x, y) = (if x > right - RIGHT { right + RIGHT - 2.0 } else { x }, floor + 17.0);
            add(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{anchor}\">{text}</text>"));
        }
        add(svg, &format!("<path class=\"axis\" d=\"M{LEFT} {floor}H{right}\"/>"));
    }

    fn line(&self, series: &Series, svg: &mut String) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in &series.points {
            match y {
                Some(y) => {
                    let letter = if pen_down { 'L' } else { 'M' };
                    add(&mut path, &format!("{letter}{:.1} {:.1}", self.x(*x), self.y(*y)));
                    if !pen_down {
                        // A point alone is a dot.
                        path.push_str("h0");
                    }
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        add(
            svg,
            &format!(
                "<path class=\"line c{}\" d=\"{path}\"><title>{}</title></path>",
                series.colour,
                escape(&series.name)
            ),
        );
    }

    fn areas(&self, svg: &mut String) {
        let mut floor: Vec<f64> = vec![0.0; self.series.iter().map(|series| series.points.len()).max().unwrap_or(0)];
        for series in &self.series {
            let mut upper = String::new();
            let mut lower = Vec::new();
            for ((x, y), below) in series.points.iter().zip(&mut floor) {
                let top = *below + y.unwrap_or(0.0);
                let letter = if upper.is_empty() { 'M' } else { 'L' };
                add(&mut upper, &format!("{letter}{:.1} {:.1}", self.x(*x), self.y(top)));
                lower.push(format!("L{:.1} {:.1}", self.x(*x), self.y(*below)));
                *below = top;
            }
            lower.reverse();
            let name = escape(&series.name);
            let colour = series.colour;
            add(
                svg,
                &format!(
                    "<path class=\"area c{colour}\" d=\"{upper}{}Z\"><title>{name}</title></path>",
                    lower.concat()
                ),
            );
            add(svg, &format!("<path class=\"line c{colour}\" d=\"{upper}\"/>"));
        }
    }
}

fn legend(series: &Series) -> String {
    format!("<span><i class=\"c{}\"></i>{}</span>", series.colour, escape(&series.name))
}

/// `p50`, `p99.9`.
fn percentile(quantile: f64) -> String {
    let text = format!("{:.4}", quantile * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn add(svg: &mut String, text: &str) {
    // Writing to a String cannot fail.
    svg.write_str(text).unwrap_or_default();
}

/// Text in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(style: Style, points: &[&[Option<f64>]]) -> String {
        let series = |(colour, values): (usize, &&[Option<f64>])| {
            let points = (0_u32..).zip(values.iter()).map(|(at, value)| (f64::from(at), *value)).collect();
            Series { name: format!("<{colour}>"), colour, points }
        };
        let plot = Plot {
            title: "a & b",
            unit: "ms",
            style,
            across: Across::Seconds,
            x: Scale::until(3.0),
            y: Scale::linear(10.0),
            series: points.iter().enumerate().map(series).collect(),
            marks: vec![1.0],
        };
        plot.figure()
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let figure = plot(Style::Lines, &[&[Some(1.0), Some(2.0), None, Some(4.0)]]);
        let (_, path) = figure.split_once("class=\"line c0\" d=\"").expect("a line");
        let path = path.split('"').next().expect("its path");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
    }

    #[test]
    fn areas_lie_on_each_other_and_names_are_escaped() {
        let figure = plot(Style::Stacked, &[&[Some(2.0), Some(2.0)], &[Some(3.0), Some(8.0)]]);
        // The top of the second at x = 1 is 2 + 8, the top of the plot.
        assert!(figure.contains(&format!(" {TOP:.1}")), "{figure}");
        assert!(figure.contains("a &amp; b") && figure.contains("&lt;1&gt;") && !figure.contains("<1>"), "{figure}");
    }

    #[test]
    fn quantiles_are_named_as_percentiles() {
        for (quantile, expected) in [(0.0, "p0"), (0.5, "p50"), (0.9, "p90"), (0.999, "p99.9"), (0.9999, "p99.99")] {
            assert_eq!(percentile(quantile), expected);
        }
    }
}
