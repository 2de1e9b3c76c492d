//! The prompt templates: built in, each replaceable by a file of the same name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use moothall_actors::{Prompts, TEMPLATES};

use super::AppError;

const BUILT_IN: [(&str, &str); TEMPLATES.len()] = [
    ("critique.md", include_str!("../../config/prompts/critique.md")),
    ("dialect.md", include_str!("../../config/prompts/dialect.md")),
    ("dialect_files.md", include_str!("../../config/prompts/dialect_files.md")),
    ("files.md", include_str!("../../config/prompts/files.md")),
    ("persona.md", include_str!("../../config/prompts/persona.md")),
    ("propose.md", include_str!("../../config/prompts/propose.md")),
    ("refused.md", include_str!("../../config/prompts/refused.md")),
    ("revise.md", include_str!("../../config/prompts/revise.md")),
    ("seat.md", include_str!("../../config/prompts/seat.md")),
    ("select.md", include_str!("../../config/prompts/select.md")),
    ("shared.md", include_str!("../../config/prompts/shared.md")),
];

/// The templates that are part of the program.
pub(crate) fn built_in_prompts() -> BTreeMap<Arc<str>, Arc<str>> {
    BUILT_IN.into_iter().map(|(name, text)| (name.into(), text.into())).collect()
}

/// Compiles the built-in templates, those of `folder` in their place.
pub(super) fn load(folder: Option<&Path>) -> Result<Prompts, AppError> {
    let mut sources = built_in_prompts();
    if let Some(folder) = folder {
        let unreadable = |source| AppError::PromptFolder { folder: folder.display().to_string(), source };
        // A folder that is not there is a mistake, not an empty one.
        std::fs::metadata(folder).map_err(unreadable)?;
        for name in TEMPLATES {
            match std::fs::read_to_string(folder.join(name)) {
                Ok(text) => drop(sources.insert(name.into(), text.into())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
    Ok(Prompts::compile(sources)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_the_place_of_the_built_in_template() {
        let folder = tempfile::tempdir().unwrap();
        let built_in = load(None).unwrap();
        assert_eq!(load(Some(folder.path())).unwrap().hash(), built_in.hash());
        std::fs::write(folder.path().join("propose.md"), "Propose. {{ seat_line }}").unwrap();
        assert_ne!(load(Some(folder.path())).unwrap().hash(), built_in.hash());
    }

    #[test]
    fn a_template_that_cannot_render_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("revise.md"), "{{ no_such_value }}").unwrap();
        assert!(matches!(load(Some(folder.path())), Err(AppError::Prompts(_))));
        assert!(matches!(load(Some(Path::new("no/such/folder"))), Err(AppError::PromptFolder { .. })));
    }
}
