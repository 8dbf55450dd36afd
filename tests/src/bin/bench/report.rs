//! What the bench says while it works.

use crate::record::Run;

pub(crate) fn progress(section: &str, name: &str, run: &Run) {
    say(&format!(
        "{section:<9} {name:<32} {:>8.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>7.1} us CPU each, generator {:.1}",
        run.per_second(),
        run.p50_ms,
        run.p99_ms,
        run.total_us(),
        run.generator_us
    ));
}

#[expect(clippy::print_stdout, reason = "the figures are the program's result")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
