//! Judges what the two client scripts print: they run unchanged, so their output is all there is.

use anyhow::{Context, Result, ensure};

/// Requests of each kind that `test.py` sends in parallel.
const OF_EACH: usize = 20;

/// All 40 answers are 2xx; on a run after the first, every GET was answered from a cache.
pub(super) fn check_parallel_run(output: &str, first: bool) -> Result<()> {
    for kind in ["GET", "POST"] {
        // Threads print at the same time, each its text and then the end of its line: several texts may share a line.
        let start = format!("[{kind} ");
        let printed = output.split(&start).skip(1);
        let answered =
            printed.filter(|text| text.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("] Status: 2"));
        ensure!(answered.count() == OF_EACH, "not every {kind} was answered 2xx:\n{output}");
    }
    let cached = output.matches("| Cached: True").count();
    ensure!(
        first || cached == OF_EACH,
        "only {cached} of {OF_EACH} GETs were cached on a run after the first:\n{output}"
    );
    Ok(())
}

/// After a first read of any kind: cached, deleted, not cached.
pub(super) fn check_invalidation_run(output: &str) -> Result<()> {
    let answers: Vec<&str> = output.lines().filter(|line| line.contains("esponse: {")).collect();
    let &[first, second, deleted, after] = answers.as_slice() else {
        anyhow::bail!("four answers expected:\n{output}");
    };
    ensure!(first.contains("'cached': "), "the first read has no `cached`: {first}");
    ensure!(second.contains("'cached': True"), "the second read should be cached: {second}");
    ensure!(deleted.contains("'status': 'deleted'"), "the key should be deleted: {deleted}");
    ensure!(after.contains("'cached': False"), "the read after the invalidation should come from the store: {after}");
    Ok(())
}

/// Between the gateways that served the requests of one run, the busiest served at most one more than the least busy.
pub(super) fn check_spread(before: &[(String, f64)], after: &[(String, f64)], gateways: usize) -> Result<()> {
    let earlier = |name: &str| before.iter().find(|(known, _)| known == name).map_or(0.0, |(_, count)| *count);
    let served: Vec<(&str, f64)> = after.iter().map(|(name, count)| (name.as_str(), count - earlier(name))).collect();
    ensure!(served.len() == gateways, "{gateways} gateways should have served: {served:?}");
    let most = served.iter().map(|(_, count)| *count).reduce(f64::max).context("no gateway")?;
    let least = served.iter().map(|(_, count)| *count).reduce(f64::min).context("no gateway")?;
    ensure!(most - least <= 1.0, "uneven: {served:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parallel_run(status: u16, cached: &str) -> String {
        let mut output = "Starting GET requests...\n".to_owned();
        for number in 0..OF_EACH {
            output += &format!(
                "[GET {number}] Status: {status} | Cached: {cached}\n[POST {number}] Status: 202 | Response: {{}}\n"
            );
        }
        output
    }

    #[test]
    fn parallel_run_needs_all_answers_and_then_caches() {
        assert!(check_parallel_run(&parallel_run(200, "False"), true).is_ok());
        assert!(check_parallel_run(&parallel_run(200, "True").replace('\n', ""), false).is_ok(), "all on one line");
        assert!(check_parallel_run(&parallel_run(200, "False"), false).is_err());
        assert!(check_parallel_run(&parallel_run(200, "True"), false).is_ok());
        assert!(check_parallel_run(&parallel_run(503, "True"), true).is_err());
    }

    #[test]
    fn invalidation_run_is_read_in_order() {
        let run = |second: &str, after: &str| {
            format!(
                "Step 1\nResponse: {{'cached': False}}\nResponse: {{'cached': {second}}}\n\
                 Delete cache response: {{'seq': 1, 'status': 'deleted'}}\nResponse: {{'cached': {after}}}\n"
            )
        };
        assert!(check_invalidation_run(&run("True", "False")).is_ok());
        assert!(check_invalidation_run(&run("False", "False")).is_err());
        assert!(check_invalidation_run(&run("True", "True")).is_err());
        assert!(check_invalidation_run("").is_err());
    }

    #[test]
    fn spread_allows_a_difference_of_one() {
        let counts = |a: f64, b: f64| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        assert!(check_spread(&counts(5.0, 6.0), &counts(25.0, 25.0), 2).is_ok());
        assert!(check_spread(&[], &counts(22.0, 20.0), 2).is_err());
        assert!(check_spread(&[], &counts(20.0, 20.0), 3).is_err());
    }
}
