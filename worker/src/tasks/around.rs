//! What a task file may point to: secrets, in files beside it or in variables.

use std::path::{Path, PathBuf};

use chassis::config::{SECRET_PREFIX, Source};
use protocol::webhook::Secret;

/// A secret is short; a larger file is a mistake.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;

/// Where the file is, and which variables there are.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Relative paths are relative to it.
    pub folder: PathBuf,
    pub variables: Source,
}

impl Around {
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), variables: Source::default() }
    }

    /// The secret at `file:PATH` or `env:LONGSHORE_SECRET_NAME`.
    ///
    /// # Errors
    /// What is wrong; never the secret.
    pub(super) fn secret(&self, place: &str) -> Result<Secret, String> {
        let text = match place.split_once(':') {
            Some(("file", path)) => read(&self.folder.join(path))?,
            Some(("env", name)) if name.starts_with(SECRET_PREFIX) => match self.variables.get(name) {
                Some(text) => text.to_owned(),
                None => return Err(format!("names {name}, which is not set")),
            },
            _ => return Err(format!("is \"{place}\"; accepted: file:PATH or env:{SECRET_PREFIX}NAME")),
        };
        Secret::try_from(text.trim().to_owned()).map_err(|error| format!("names {place}, which {error}"))
    }

    /// The variables that hold secrets: no business of the programs that a worker starts.
    pub(super) fn secret_names(&self) -> Vec<String> {
        self.variables.names().filter(|name| name.starts_with(SECRET_PREFIX)).map(str::to_owned).collect()
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("names {}, which cannot be read: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > SECRET_FILE_BYTES_MAX {
        return Err(format!("names {}, which has {bytes} bytes: that is no secret", path.display()));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
