//! Why an artifact is refused: a code for machines, a sentence for people, and for the author the real lines around.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounds;

/// What went wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    NoArtifact,
    NoFence,
    Truncated,
    TruncatedEdit,
    Placeholder,
    NoChange,
    MissingFile,
    TargetExists,
    AnchorNotFound,
    AnchorAmbiguous,
    EmptyAnchor,
    UnsafePath,
    CaseCollision,
    FileIsDirectory,
    TooLarge,
    ProtectedPath,
    BaseMoved,
}

impl Code {
    /// As written in reports and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoArtifact => "no_artifact",
            Self::NoFence => "no_fence",
            Self::Truncated => "truncated",
            Self::TruncatedEdit => "truncated_edit",
            Self::Placeholder => "placeholder",
            Self::NoChange => "no_change",
            Self::MissingFile => "missing_file",
            Self::TargetExists => "target_exists",
            Self::AnchorNotFound => "anchor_not_found",
            Self::AnchorAmbiguous => "anchor_ambiguous",
            Self::EmptyAnchor => "empty_anchor",
            Self::UnsafePath => "unsafe_path",
            Self::CaseCollision => "case_collision",
            Self::FileIsDirectory => "file_is_directory",
            Self::TooLarge => "too_large",
            Self::ProtectedPath => "protected_path",
            Self::BaseMoved => "base_moved",
        }
    }
}

impl Code {
    /// Whether the answer itself is at fault, and not how it fits the files: then nobody knows whether it would.
    #[must_use]
    pub fn is_of_form(self) -> bool {
        match self {
            Self::NoArtifact
            | Self::NoFence
            | Self::Truncated
            | Self::TruncatedEdit
            | Self::Placeholder
            | Self::EmptyAnchor
            | Self::UnsafePath
            | Self::TooLarge => true,
            Self::NoChange
            | Self::MissingFile
            | Self::TargetExists
            | Self::AnchorNotFound
            | Self::AnchorAmbiguous
            | Self::CaseCollision
            | Self::FileIsDirectory
            | Self::ProtectedPath
            | Self::BaseMoved => false,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lines of a file as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Where it begins, from 1.
    pub line: usize,
    pub lines: Vec<String>,
}

/// One failed operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: Code,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Such as `EDIT src/a.py, block 2`; empty when the answer as a whole failed.
    pub operation: String,
    /// What is wrong and what is allowed, a lower-case fragment.
    pub message: String,
    /// For anchors: the real lines around the nearest places, at most 12 together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excerpt: Vec<Excerpt>,
}

impl Failure {
    pub(super) fn new(code: Code, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, path: None, operation: operation.into(), message: message.into(), excerpt: Vec::new() }
    }

    pub(super) fn at(self, path: &str) -> Self {
        let path = &path[..bounds::cut(path, bounds::PATH)];
        Self { path: Some(path.to_owned()), ..self }
    }

    /// The first line of its report: bounded, whatever the path is.
    fn head(&self, number: usize) -> String {
        let operation: String = self.operation.chars().take(bounds::EXCERPT_WIDTH).collect();
        let message: String = self.message.chars().take(2 * bounds::EXCERPT_WIDTH).collect();
        let (gap, code) = (if operation.is_empty() { "" } else { ": " }, self.code);
        format!("{number}. {operation}{gap}{code}: {message}\n")
    }

    fn excerpts(&self) -> String {
        let mut text = String::new();
        for excerpt in &self.excerpt {
            let fence = super::fence::around(excerpt.lines.iter().map(String::as_str));
            text.push_str(&format!("   the file has, from line {}:\n{fence}\n", excerpt.line));
            for line in &excerpt.lines {
                text.push_str(line);
                text.push('\n');
            }
            text.push_str(&format!("{fence}\n"));
        }
        text
    }
}

/// All failures of one answer. Its text goes back to the author, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Rejected {
    /// In the order of the answer; never empty.
    pub failures: Vec<Failure>,
}

impl Rejected {
    /// Whether some operation failed with this code.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.failures.iter().any(|failure| failure.code == code)
    }
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self { failures: vec![failure] }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Room for the last line, which says how many are not shown.
        const TAIL: usize = 80;
        let count = self.failures.len();
        let mut text = format!("nothing was applied: {count} failed\n");
        for (place, failure) in self.failures.iter().enumerate() {
            let head = failure.head(place + 1);
            if text.len() + head.len() + TAIL > bounds::REPORT {
                text.push_str(&format!("and {} more\n", count - place));
                break;
            }
            text.push_str(&head);
            let excerpts = failure.excerpts();
            if text.len() + excerpts.len() + TAIL <= bounds::REPORT {
                text.push_str(&excerpts);
            }
        }
        f.write_str(text.trim_end())
    }
}
