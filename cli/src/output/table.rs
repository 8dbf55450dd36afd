//! Tables that fit their terminal: what may be long gives way first, with an ellipsis, and no line is longer than the terminal is wide. Pure.

use console::{measure_text_width, truncate_str};

/// Columns are two blanks apart.
const GAP: usize = 2;
/// A column that gives way keeps so much, or the width of its head.
const KEPT: usize = 8;

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As wide as it is.
    Text,
    /// As wide as it is, at the right.
    Number,
    /// Cut where the terminal is too narrow; the longest first.
    Long,
}

/// Heads, and rows below them. Cells may have colours.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Kind); N],
    rows: Vec<[String; N]>,
    hidden: [bool; N],
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&'static str, Kind); N], rows: impl IntoIterator<Item = [String; N]>) -> Self {
        Self { columns, rows: rows.into_iter().collect(), hidden: [false; N] }
    }

    /// Leaves out a column in which every cell says what goes without saying.
    #[must_use]
    pub(crate) fn without(mut self, column: usize, goes_without_saying: &str) -> Self {
        self.hidden[column] = self.rows.iter().all(|row| row[column] == goes_without_saying);
        self
    }

    /// The lines, each of at most `width` columns.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let heads = self.columns.map(|(head, _)| head.to_owned());
        let mut widths = [0; N];
        for row in self.rows.iter().chain([&heads]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = measure_text_width(cell).max(*width);
            }
        }
        for (width, hidden) in widths.iter_mut().zip(self.hidden) {
            *width = if hidden { 0 } else { *width };
        }
        self.fit(&mut widths, width);
        std::iter::once(&heads).chain(&self.rows).map(|row| self.line(row, &widths, width)).collect()
    }

    fn fit(&self, widths: &mut [usize; N], available: usize) {
        let shown = widths.iter().filter(|width| **width > 0).count();
        let available = available.saturating_sub(GAP * shown.saturating_sub(1));
        let gives = |column: usize| self.columns[column].1 == Kind::Long;
        for (column, width) in widths.iter_mut().enumerate().filter(|(column, _)| gives(*column)) {
            // What no terminal could show is not taken away one by one.
            *width = (*width).min(available.max(least(self.columns[column].0)));
        }
        while widths.iter().sum::<usize>() > available {
            let may = |column: &usize| gives(*column) && widths[*column] > least(self.columns[*column].0);
            let Some(longest) = (0..N).filter(may).max_by_key(|column| widths[*column]) else { return };
            widths[longest] -= 1;
        }
    }

    fn line(&self, row: &[String; N], widths: &[usize; N], available: usize) -> String {
        let mut line = String::new();
        let cells = row.iter().zip(widths).zip(self.columns).filter(|((_, width), _)| **width > 0);
        for (place, ((cell, width), (_, kind))) in cells.enumerate() {
            let cell = truncate_str(cell, *width, "…");
            let padding = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
            let gap = " ".repeat(if place == 0 { 0 } else { GAP });
            line.push_str(&match kind {
                Kind::Number => format!("{gap}{padding}{cell}"),
                Kind::Text | Kind::Long => format!("{gap}{cell}{padding}"),
            });
        }
        line.truncate(line.trim_end().len());
        truncate_str(&line, available, "…").into_owned()
    }
}

fn least(head: &str) -> usize {
    measure_text_width(head).max(KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<5> {
        let columns =
            [("JOB", Kind::Text), ("TASK", Kind::Long), ("QUEUE", Kind::Text), ("N", Kind::Number), ("", Kind::Long)];
        let row = |task: &str, number: &str, remark: &str| {
            ["01890000-0000-7000-8000-000000000001", task, "default", number, remark].map(str::to_owned)
        };
        let rows = [
            row("report_1", "7", "waiting for a worker"),
            row("a_task_with_a_rather_long_name", "1000", "späte Größe"),
        ];
        Table::new(columns, rows)
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        for width in [1, 10, 40, 60, 72, 80, 100, 120, 200] {
            for line in table().lines(width) {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_longest_gives_way_first_and_nothing_is_cut_without_need() {
        let wide = table().lines(usize::MAX);
        assert!(wide[1].ends_with("waiting for a worker") && !wide.iter().any(|line| line.contains('…')), "{wide:#?}");
        let lines = table().lines(90);
        assert!(lines[1].contains("report_1  ") && lines[2].contains("a_task_with_a_rat…"), "{lines:#?}");
        assert!(lines[2].contains("01890000-0000-7000-8000-000000000001"), "{lines:#?}");
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let lines = table().lines(120);
        let at = |line: &str, text: &str| line.find(text).map(|at| at + text.len());
        assert_eq!(at(&lines[0], " N"), at(&lines[1], " 7"));
        assert_eq!(at(&lines[0], " N"), at(&lines[2], "1000"));
        let colourful = console::style("report_1").green().force_styling(true).to_string();
        let row = [colourful, "x".to_owned()];
        let lines = Table::new([("TASK", Kind::Text), ("", Kind::Text)], [row]).lines(80);
        assert_eq!(measure_text_width(&lines[1]), "report_1  x".len());
    }

    #[test]
    fn what_goes_without_saying_is_left_out() {
        let lines = table().without(2, "default").lines(120);
        assert!(!lines.iter().any(|line| line.contains("QUEUE") || line.contains("default")), "{lines:#?}");
        assert!(table().without(1, "report_1").lines(120)[0].contains("TASK"));
    }
}
