//! Reads the Prometheus text that every program answers on `/metrics`.

/// One answer, as (name, labels, value).
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<(String, String, f64)>,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { samples: lines.filter_map(sample).collect() }
    }

    /// The sum over all samples of this name whose labels contain every one of `labels`, each written as `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.samples.iter().filter(|sample| matches(sample, name, labels)).map(|(_, _, value)| value).sum()
    }

    /// The values of this name by the value of one label, in the label's order.
    pub fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let start = format!("{label}=\"");
        let mut found: Vec<(String, f64)> = Vec::new();
        for (_, labels, value) in self.samples.iter().filter(|sample| matches(sample, name, &[])) {
            let Some((_, rest)) = labels.split_once(&start) else { continue };
            let key = rest.split('"').next().unwrap_or_default();
            match found.iter_mut().find(|(known, _)| known == key) {
                Some((_, sum)) => *sum += value,
                None => found.push((key.to_owned(), *value)),
            }
        }
        found.sort_by(|left, right| left.0.cmp(&right.0));
        found
    }
}

fn matches(sample: &(String, String, f64), name: &str, labels: &[&str]) -> bool {
    sample.0 == name && labels.iter().all(|label| sample.1.contains(label))
}

fn sample(line: &str) -> Option<(String, String, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name.to_owned(), labels.trim_end_matches('}').to_owned(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let text =
            "# TYPE a counter\na{program=\"lb\",backend=\"x:1\"} 3\na{program=\"lb\",backend=\"y:2\"} 4\nab 5\na 1\n\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[]), 8.0);
        assert_eq!(metrics.sum("a", &["backend=\"y:2\"", "program=\"lb\""]), 4.0);
        assert_eq!(metrics.sum("b", &[]), 0.0);
        assert_eq!(metrics.by_label("a", "backend"), [("x:1".to_owned(), 3.0), ("y:2".to_owned(), 4.0)]);
    }
}
