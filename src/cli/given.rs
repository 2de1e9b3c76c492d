//! Texts that stand elsewhere than on the command line.

use std::io::Read as _;
use std::path::Path;

use super::exit::{Exit, Failure};

/// A file as a task carries it. The daemon says which paths it takes.
pub(super) fn carried(path: &Path) -> Result<(String, String), Failure> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::InvalidData => "is not UTF-8".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Failure::new(Exit::USAGE, format!("--file {shown} {why}"))
    })?;
    Ok((format!("file:{}", shown.trim_start_matches("./")), text))
}

/// `-` is standard input, `@FILE` a file, all else itself.
pub(super) fn text(given: String) -> Result<String, Failure> {
    if given == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    let Some(file) = given.strip_prefix('@') else { return Ok(given) };
    std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::NO_INPUT, format!("{file} cannot be read: {error}")))
}
