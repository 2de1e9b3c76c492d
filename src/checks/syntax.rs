//! The lint of a text: its only code block, parsed as a file without a name.
//!
//! With more than one block nobody knows which is the work and which an example, and of the usual examples most are no
//! whole files: then the lint does not run, and says so.

use moothall_actors::domain::check::CheckOutcome;

use super::code::CodeBlocks;
use super::examine::Time;
use super::lint::{Language, Linter, Outcome};

/// Whether a parser has anything to do.
pub(super) fn is_lintable(text: &str) -> bool {
    block(text).is_ok()
}

/// Blocks; does not begin when no time is left.
pub(super) fn lint(linter: &Linter, text: &str, time: &Time) -> CheckOutcome {
    let (language, code) = match block(text) {
        Ok(found) => found,
        Err(why) => return CheckOutcome::not_run(why),
    };
    if let Some(why) = time.is_up() {
        return CheckOutcome::not_run(why);
    }
    match linter.errors(language, None, code) {
        Outcome::Clean => CheckOutcome::Passed,
        Outcome::NotRun(why) => CheckOutcome::NotRun { why },
        Outcome::Errors { first, more } => {
            let rest = (more > 0).then(|| format!("{more} more errors"));
            let lines = first.iter().map(|error| format!("{} of the {} block", error, language.name()));
            CheckOutcome::Failed { findings: lines.chain(rest).map(Into::into).collect() }
        }
    }
}

/// The block that is taken for the work, or why there is none.
fn block(text: &str) -> Result<(Language, &str), &'static str> {
    let (info, code) = CodeBlocks::of(text).lone(text).ok_or("the text has not exactly one closed code block")?;
    let language = Language::of_fence(info).ok_or("the code block names no language that is known here")?;
    Ok((language, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linted(text: &str) -> CheckOutcome {
        lint(&Linter::new(), text, &Time::enough())
    }

    #[test]
    fn the_only_block_is_parsed_and_an_error_has_its_place() {
        assert_eq!(linted("So:\n```python\ndef f():\n    return 1\n```\n"), CheckOutcome::Passed);
        let CheckOutcome::Failed { findings } = linted("So:\n```python\ndef f(:\n    return 1\n```\n") else {
            panic!("it is broken")
        };
        assert!(
            findings[0].starts_with("line 1, column 7: ") && findings[0].ends_with(" of the Python block"),
            "{findings:?}"
        );
    }

    #[test]
    fn what_is_not_one_block_of_a_known_language_is_not_run() {
        for text in [
            "prose",
            "```\nx = (\n```",
            "```klingon\nx = (\n```",
            "```py\nx = (\n```\n```py\ny = 1\n```",
            "```py\nx = (",
        ] {
            assert!(matches!(linted(text), CheckOutcome::NotRun { .. }) && !is_lintable(text), "{text}");
        }
    }

    #[test]
    fn without_time_nothing_is_parsed() {
        let text = "```json\n{\n```\n";
        assert!(linted(text).failed());
        let CheckOutcome::NotRun { why } = lint(&Linter::new(), text, &Time::none()) else { panic!("it ran") };
        assert_eq!(&*why, "the texts before took more than 2 s");
    }
}
