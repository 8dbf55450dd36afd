//! A page's fenced blocks, and which commands belong to which output. Pure.

use anyhow::{Result, bail, ensure};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of the fence that opens it, from 1.
    pub line: usize,
    /// The word behind the fence.
    pub language: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands, and what they print.
    Paste { line: usize, commands: String, prints: String },
    /// Stands in a file of the clone.
    Quote(Block),
}

/// The steps of a page in Markdown.
///
/// # Errors
/// When a block says nothing of what it is, or an output follows no commands: nothing is passed over.
pub fn steps(page: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut answered = true;
    for block in blocks(page)? {
        match block.language.as_str() {
            "sh" => {
                steps.push(Step::Paste { line: block.line, commands: block.text, prints: String::new() });
                answered = false;
            }
            "text" => match steps.last_mut() {
                Some(Step::Paste { prints, .. }) if !answered => {
                    *prints = block.text;
                    answered = true;
                }
                _ => bail!("line {}: an output without commands before it", block.line),
            },
            "" => bail!(
                "line {}: mark the block as sh, as text (what the sh block before it prints), or by its language",
                block.line
            ),
            _ => steps.push(Step::Quote(block)),
        }
    }
    Ok(steps)
}

fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { line: number + 1, language, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            // A fence that is indented would be passed over.
            (None, None) => ensure!(!line.trim_start().starts_with("```"), "line {}: an indented block", number + 1),
        }
    }
    if let Some(block) = open {
        bail!("line {}: the block does not end", block.line);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paste(line: usize, commands: &str, prints: &str) -> Step {
        Step::Paste { line, commands: commands.to_owned(), prints: prints.to_owned() }
    }

    #[test]
    fn an_output_belongs_to_the_commands_before_it() {
        let page = "A\n```sh\na\nb\n```\nprints\n```text\n1\n```\n\n```sh\nc\n```\n```toml\nx = 1\n```\n";
        let quote = Block { line: 14, language: "toml".to_owned(), text: "x = 1\n".to_owned() };
        let expected = vec![paste(2, "a\nb\n", "1\n"), paste(11, "c\n", ""), Step::Quote(quote)];
        assert_eq!(steps(page).expect("a page"), expected);
    }

    #[test]
    fn no_block_is_passed_over() {
        let check = |page: &str, says: &str| {
            let error = steps(page).expect_err(page).to_string();
            assert!(error.contains(says), "{error}");
        };
        check("```\na\n```\n", "line 1: mark the block");
        check("```text\na\n```\n", "line 1: an output without commands");
        check("```sh\na\n```\n```text\n1\n```\n```text\n2\n```\n", "line 7: an output without commands");
        check("a\n```sh\na\n", "line 2: the block does not end");
        check("- a\n  ```sh\n", "line 2: an indented block");
    }
}
