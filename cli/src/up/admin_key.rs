//! The first key: with authentication on and no other said, a file beside the data, made at the first start.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use chassis::config::{Common, Source};

use super::plan;
use crate::arguments::Up;

const VARIABLE: &str = "LONGSHORE_ADMIN_KEY_FILE";
const FILE: &str = "admin.key";
/// Random bytes of the key.
const BYTES: usize = 32;

/// The settings with the file of the first key, if `up` keeps one.
///
/// # Errors
/// When the file cannot be made.
pub(super) fn keep(arguments: &Up, source: &Source) -> anyhow::Result<(Source, Option<PathBuf>)> {
    let is_on = Common::load(source).is_ok_and(|common| common.auth);
    if !is_on || source.has(VARIABLE) {
        return Ok((source.clone(), None));
    }
    let file = plan::data_dir(arguments, source)?.join(FILE);
    make(&file).with_context(|| format!("writing the first key into {}", file.display()))?;
    Ok((source.clone().with(VARIABLE, file.display().to_string()), Some(file)))
}

/// Unless it is there. Nobody but its owner may read it.
fn make(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut opened) => {
            let key: String = rand::random::<[u8; BYTES]>().iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(opened, "{key}")?;
            opened.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_key_is_made_once_and_only_where_it_is_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        let up = Up { gateways: None, data_dir: Some(folder.path().join("data")) };
        let off = Source::default();
        assert_eq!(keep(&up, &off).expect("nothing to do").1, None);
        let on = Source::from_pairs([("LONGSHORE_AUTH", "1")]);
        let (source, file) = keep(&up, &on).expect("made");
        let file = file.expect("a file");
        assert_eq!(source.get(VARIABLE), file.to_str());
        let key = std::fs::read_to_string(&file).expect("readable");
        assert_eq!((key.trim().len(), file.metadata().expect("there").permissions().mode() & 0o777), (64, 0o600));
        keep(&up, &on).expect("kept");
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), key);
        let other = on.with(VARIABLE, "other.key".to_owned());
        assert_eq!(keep(&up, &other).expect("nothing to do").1, None);
    }
}
