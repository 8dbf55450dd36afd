//! The runner of the documentation's commands: it passes a page that is right, and no other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::transcript::{Means, run};
use tests::wait_until;

const RIGHT: &str = "A page.

```sh
name=Ada
greet() { echo \"hello, $1\"; }
greet \"$name\"
```

```text
hello, Ada
```

What runs in the background prints when it can, and is known to the blocks after it:

```sh
(until [ -s gate.txt ]; do :; done; echo began; echo over) &
echo go >gate.txt
```

```text
began
…
```

```sh
wait $!
test \"$name\" = Ada
```

```toml
[task.noop]
kind = \"simulate\"
```
";

async fn page(text: &str) -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("tasks.toml"), "# A task file.\n[task.noop]\nkind = \"simulate\"\n")?;
    std::fs::write(folder.path().join("gate.txt"), "")?;
    let means = Means { cargo: false, broker: false, patience: Duration::from_millis(500) };
    let report = run(text, folder.path(), means, &[]).await?;
    ensure!(report.pasted == 3 && report.quoted == 1 && report.elsewhere.is_empty(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn a_page_that_is_right_passes_and_any_change_fails() -> Result<()> {
    page(RIGHT).await.context("the page as it is")?;
    let check = async |from: &str, to: &str, says: &str| {
        ensure!(RIGHT.contains(from), "{from} is not in the page");
        let error = page(&RIGHT.replacen(from, to, 1)).await.err().with_context(|| format!("{to} passed"))?;
        let error = format!("{error:#}");
        ensure!(error.contains(says), "{to}: {error}");
        Ok(())
    };
    check("hello, Ada\n", "hello, Bob\n", "hello, Bob").await?;
    check("hello, Ada\n", "hello, Ada\nhello, Bob\n", "(nothing more)").await?;
    check("greet \"$name\"", "greet Bob", "hello, Bob").await?;
    check("…\n", "over and out\n", "over and out").await?;
    check("test \"$name\" = Ada", "test \"$name\" = Bob", "it failed with 1").await?;
    check("test \"$name\" = Ada", "echo surprise", "surprise").await?;
    check("test \"$name\" = Ada", "exit 7", "the shell ended with 7").await?;
    check("kind = \"simulate\"", "kind = \"command\"", "no file holds").await?;
    check("```toml", "```", "mark the block").await
}

#[tokio::test]
async fn what_a_page_left_in_the_background_ends_with_it() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let means = Means { cargo: false, broker: false, patience: Duration::from_millis(500) };
    run("```sh\nsleep 600 & echo $! >left\n```\n", folder.path(), means, &[]).await?;
    let left = std::fs::read_to_string(folder.path().join("left"))?;
    let program = format!("/proc/{}/exe", left.trim());
    wait_until(Duration::from_secs(5), "it ends", async || Ok(std::fs::read_link(&program).is_err())).await
}
