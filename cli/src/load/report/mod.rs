//! The report as one web page.
use super::summary::Summary;
pub(crate) fn page(_: &Summary) -> String { String::new() }
