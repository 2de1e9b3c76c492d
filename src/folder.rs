//! A folder that is gone when its owner is: for stores that nobody wants to find again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A fresh folder below the system's temporary one, removed when dropped.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Only its owner may look in: prompts and answers will stand there.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("moothall-{}", Uuid::now_v7()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
}
