//! What a task wants its proposals to be.

use serde::{Deserialize, Serialize};

/// The value of `artifact` in a request's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// What existing clients get: the text stays as it is, and the lack of a file fails nothing.
    #[default]
    Auto,
    /// Files from nothing.
    Files,
    /// Changes of files that the task carries.
    Patch,
    /// A text for people.
    Document,
    None,
}

impl Wanted {
    /// The inverse of [`Wanted::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Files, Self::Patch, Self::Document, Self::None].into_iter().find(|it| it.as_str() == text)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Files => "files",
            Self::Patch => "patch",
            Self::Document => "document",
            Self::None => "none",
        }
    }

    pub(crate) fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// Whether a proposal without changes is a failed one.
    #[must_use]
    pub fn needs_changes(self) -> bool {
        matches!(self, Self::Files | Self::Patch)
    }
}
