//! The one text that stands in a proposal: prose for people, a diff for Git, a line of metadata for machines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::base::{BaseId, sha256};
use super::change::FileChange;
use super::{bounds, fence, path};

/// The version that is written and read.
const VERSION: u32 = 1;
const BEGIN: &str = "<!-- moothall:artifact ";
const END: &str = " -->";

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Against a base.
    Patch,
    /// Without a base.
    Files,
    Document,
    None,
}

/// A proposal's content. Serialised it is the metadata alone, without diff and rationale.
///
/// It names neither model nor author, because it may reach a judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseId>,
    /// By path.
    #[serde(default)]
    pub files: Vec<FileChange>,
    /// Paths that the author declares to be tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<String>,
    /// For the reader, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Of the diff, in hex.
    pub diff_sha256: String,
    /// Of the model's own words, in hex.
    pub raw_sha256: String,
    #[serde(skip)]
    pub diff: Arc<str>,
    /// The prose before the first header; of documents the whole text.
    #[serde(skip)]
    pub rationale: Arc<str>,
}

/// The metadata with its version.
#[derive(Serialize)]
struct Versioned<'a> {
    v: u32,
    #[serde(flatten)]
    artifact: &'a Artifact,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Artifact {
    /// A text that carries no changes.
    pub(super) fn plain(kind: Kind, words: &str) -> Self {
        Self {
            kind,
            base: None,
            files: Vec::new(),
            tests: Vec::new(),
            notes: None,
            diff_sha256: sha256(""),
            raw_sha256: sha256(words),
            diff: Arc::default(),
            rationale: words.into(),
        }
    }

    /// The text for `Proposal.content`. Documents are their text.
    #[must_use]
    pub fn canonical(&self) -> String {
        if matches!(self.kind, Kind::Document | Kind::None) {
            return self.rationale.to_string();
        }
        let gap = if self.rationale.is_empty() { "" } else { "\n\n" };
        let fence = fence::around([&*self.diff]);
        let Self { rationale, diff, .. } = self;
        format!("{rationale}{gap}{fence}diff\n{diff}{fence}\n{}", self.metadata())
    }

    fn metadata(&self) -> String {
        // No map with other keys than texts is in it, which is all that could fail.
        let json = serde_json::to_string(&Versioned { v: VERSION, artifact: self }).unwrap_or_default();
        let json = json.replace('<', "\\u003c").replace('>', "\\u003e");
        format!("{BEGIN}{json}{END}")
    }

    /// Reads a canonical text back; `None` for any other text, for versions that are not known, and for a text whose diff
    /// or paths are not what the metadata may say. Of documents it is `None` too.
    #[must_use]
    pub fn read(canonical: &str) -> Option<Self> {
        let (text, metadata) = canonical.trim_end().rsplit_once('\n')?;
        let json = metadata.strip_prefix(BEGIN)?.strip_suffix(END)?;
        let Version { v: VERSION } = serde_json::from_str(json).ok()? else { return None };
        let artifact: Self = serde_json::from_str(json).ok()?;
        let (rest, fence) = text.rsplit_once('\n')?;
        if fence.len() < 3 || fence.bytes().any(|it| it != b'`') {
            return None;
        }
        let opening = format!("{fence}diff\n");
        let start = rest.rmatch_indices(&opening).map(|(at, _)| at);
        let start = start.into_iter().find(|at| *at == 0 || rest.as_bytes()[at - 1] == b'\n')?;
        let diff = &text[start + opening.len()..=rest.len()];
        let rationale = rest[..start].strip_suffix("\n\n").unwrap_or(&rest[..start]);
        let artifact = Self { diff: diff.into(), rationale: rationale.into(), ..artifact };
        artifact.is_sound().then_some(artifact)
    }

    /// Whether metadata that may come from anywhere can be worked with.
    fn is_sound(&self) -> bool {
        let paths = || self.files.iter().flat_map(|file| [Some(file.path.as_str()), file.from.as_deref()]).flatten();
        let based = match self.kind {
            Kind::Patch => self.base.is_some(),
            Kind::Files => self.base.is_none(),
            Kind::Document | Kind::None => false,
        };
        based
            && (1..=bounds::FILES).contains(&self.files.len())
            && self.tests.len() <= bounds::FILES
            && self.notes.as_ref().is_none_or(|notes| notes.len() <= bounds::NOTES)
            && paths().chain(self.tests.iter().map(String::as_str)).all(|path| path::check(path).is_ok())
            && self.files.is_sorted_by(|one, next| one.path < next.path)
            && self.diff_sha256 == sha256(&self.diff)
    }
}
