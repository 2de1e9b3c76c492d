//! The files that a task carries: what anchors are looked up in and what a change is a change of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{bounds, path};

/// What a patch is against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BaseId {
    /// A commit that the client can check out.
    Commit {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
        commit: String,
    },
    /// The files that the task carried: [`Base::bundle`].
    Bundle { bundle: String },
}

/// Paths and texts of a task's files. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    files: Arc<BTreeMap<String, Arc<str>>>,
    commit: Option<BaseId>,
}

impl Base {
    /// The files by path, at most 1,000 with 256 KiB together.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: unsafe paths, paths that clash, too much text.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<String>> {
        let (mut kept, mut bytes, mut wrong) = (BTreeMap::new(), 0_usize, Vec::new());
        for (path, text) in files {
            bytes = bytes.saturating_add(text.len());
            if kept.len() == bounds::BASE_FILES || bytes > bounds::BASE_TEXT {
                wrong.push("too many files; allowed are 1,000 with 262,144 bytes together".into());
                break;
            }
            match path::check(&path) {
                Err(why) => wrong.push(format!("{path:?}: {why}")),
                Ok(()) if kept.contains_key(&path) => wrong.push(format!("{path:?} is there twice")),
                Ok(()) => drop(kept.insert(path, Arc::from(text))),
            }
        }
        let clashes = path::clashes(kept.keys().map(String::as_str)).into_iter();
        wrong.extend(clashes.map(|it| format!("{:?} and {:?}: {}", it.path, it.other, it.code)));
        if wrong.is_empty() { Ok(Self { files: Arc::new(kept), commit: None }) } else { Err(wrong) }
    }

    /// The same files, known to be those of a commit.
    #[must_use]
    pub fn at_commit(self, repo: Option<String>, commit: String) -> Self {
        Self { commit: Some(BaseId::Commit { repo, commit }), ..self }
    }

    /// Sha256 in hex over all paths and texts, sorted by path, each with its length before it.
    #[must_use]
    pub fn bundle(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, text) in self.files.iter() {
            for part in [path.as_str(), text] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        hex(&hasher.finalize())
    }

    /// How this base is called in an artifact: its commit if it has one, else its bundle.
    #[must_use]
    pub fn id(&self) -> BaseId {
        self.commit.clone().unwrap_or_else(|| BaseId::Bundle { bundle: self.bundle() })
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<str>> {
        self.files.get(path)
    }

    /// Paths and texts, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }
}

/// Sha256 of a text, in hex.
pub(super) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |it: u8| char::from(DIGITS[usize::from(it & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
