//! A folder that is gone when its owner is: for stores that nobody wants to find again.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::OpenError;

#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Only its owner may look in: prompts and answers will stand there.
    pub(super) fn new() -> Result<Self, OpenError> {
        let path = std::env::temp_dir().join(format!("moothall-{}", Uuid::now_v7()));
        DirBuilder::new().mode(0o700).create(&path).map_err(OpenError::io(&path, "making the folder"))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a temporary store stays behind");
        }
    }
}
