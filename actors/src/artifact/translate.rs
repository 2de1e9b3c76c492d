//! The way from a model's words to an artifact, in one call.

use super::base::{Base, sha256};
use super::bounds;
use super::canonical::{Artifact, Kind};
use super::change;
use super::dialect;
use super::failure::{Code, Failure, Rejected};
use super::guard::Guard;
use super::notes;
use super::tree::{self, Outcome};
use super::wanted::Wanted;

/// Translates an answer. Where no changes are wanted the text stays as it is.
///
/// # Errors
///
/// Every operation that failed; then nothing of the answer counts.
pub fn translate(words: &str, nonce: &str, wanted: Wanted, base: &Base, guard: &Guard) -> Result<Artifact, Rejected> {
    match wanted {
        Wanted::Auto | Wanted::None => Ok(Artifact::plain(Kind::None, words)),
        Wanted::Document => Ok(Artifact::plain(Kind::Document, words)),
        Wanted::Files if base.is_empty() => changes(words, nonce, Kind::Files, base, guard),
        Wanted::Files | Wanted::Patch => changes(words, nonce, Kind::Patch, base, guard),
    }
}

fn changes(words: &str, nonce: &str, kind: Kind, base: &Base, guard: &Guard) -> Result<Artifact, Rejected> {
    if words.len() > bounds::WORDS {
        return Err(Failure::new(Code::TooLarge, "", "the answer is too long; allowed are 2,097,152 bytes").into());
    }
    let script = dialect::read(words, nonce, base, guard)?;
    let Outcome { files: after, mut effort } = tree::run(script.operations, base, guard)?;
    let (files, diff) = change::between(base, &after, &mut effort);
    if files.len() > bounds::FILES {
        return Err(Failure::new(Code::TooLarge, "", "too many files are changed; allowed are 200").into());
    }
    Ok(Artifact {
        kind,
        base: (kind == Kind::Patch).then(|| base.id()),
        files,
        tests: notes::tests(&script.notes, |path| after.contains_key(path)),
        notes: notes::shortened(&script.notes),
        diff_sha256: sha256(&diff),
        raw_sha256: sha256(words),
        diff: diff.into(),
        rationale: script.rationale.into(),
    })
}
