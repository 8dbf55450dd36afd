//! What is asked of a list: how much of it, and from where on.

use protocol::problem::Problem;
use serde::Deserialize;

const DEFAULT: u32 = 50;
const MAX: u32 = 500;

/// How many are on a page.
///
/// # Errors
/// When so many may not be.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(DEFAULT);
    let is_good = (1..=MAX).contains(&limit);
    if is_good { Ok(limit) } else { Err(Problem::invalid("/limit", format!("must be from 1 to {MAX}"))) }
}

/// The answer to a cursor that no page gave.
pub(super) fn bad_cursor() -> Problem {
    Problem::invalid("/cursor", "must be the next_cursor of a page")
}

/// What is asked of a list by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByName {
    cursor: Option<String>,
    limit: Option<u32>,
}

impl ByName {
    /// After which name the page begins, and how many are on it.
    ///
    /// # Errors
    /// When so many may not be, or the cursor is no name of this kind.
    pub(super) fn read<N: TryFrom<String> + Into<String>>(self) -> Result<(String, u32), Problem> {
        let limit = limit(self.limit)?;
        let after = match self.cursor.map(N::try_from) {
            None => String::new(),
            Some(Ok(name)) => name.into(),
            Some(Err(_)) => return Err(bad_cursor()),
        };
        Ok((after, limit))
    }
}
