//! From what the service answered to what the daemon keeps: cleaned, bounded, within the budget.

use std::sync::Arc;

use moothall_actors::ports::{Blocks, Context};
use sha2::{Digest, Sha256};

use super::cut::{clean, fit};
use crate::grpc::proto::fleet::context::v1::{GetContextResponse, PromptBlocks};

/// Scopes are labels for people: this many and this long are kept, the rest says nothing more.
const MOST_SCOPES: usize = 64;
const MOST_SCOPE_CHARACTERS: usize = 128;

/// The context in an answer.
pub(super) fn context(answer: GetContextResponse, budget: u32) -> Context {
    let GetContextResponse { context, token_count, scopes, version, blocks } = answer;
    let fitted = fit(clean(&context), token_count, budget);
    Context {
        text: fitted.text.into(),
        token_count: fitted.tokens,
        scopes: scopes.iter().filter_map(|scope| label(scope)).take(MOST_SCOPES).collect(),
        version_hash: hash(&version).into(),
        version: version.into(),
        blocks: parts(blocks.unwrap_or_default()),
    }
}

fn parts(blocks: PromptBlocks) -> Blocks {
    let PromptBlocks { system, context, tools } = blocks;
    Blocks { system: clean(&system).into(), context: clean(&context).into(), tools: clean(&tools).into() }
}

/// A scope on one line; `None` = nothing is left of it.
fn label(scope: &str) -> Option<Arc<str>> {
    let words: Vec<_> =
        scope.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).collect();
    let line: String = words.join(" ").chars().take(MOST_SCOPE_CHARACTERS).collect();
    (!line.is_empty()).then(|| line.trim_end().into())
}

fn hash(version: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(version.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> GetContextResponse {
        GetContextResponse {
            context: "known\0 things".to_owned(),
            token_count: 3,
            scopes: vec!["api".to_owned(), " two\n words\u{1b} ".to_owned(), "\t".to_owned()],
            version: "v7".to_owned(),
            blocks: Some(PromptBlocks {
                system: "be\r\nbrief".to_owned(),
                context: "known".to_owned(),
                tools: "none\u{7}".to_owned(),
            }),
        }
    }

    #[test]
    fn an_answer_is_taken_over_without_what_is_not_text() {
        let context = context(answer(), 200);
        assert_eq!((&*context.text, context.token_count, &*context.version), ("known things", 3, "v7"));
        let scopes: Vec<_> = context.scopes.iter().map(|scope| &**scope).collect();
        assert_eq!(scopes, ["api", "two words"]);
        let Blocks { system, context, tools } = context.blocks;
        assert_eq!([&*system, &*context, &*tools], ["be\nbrief", "known", "none"]);
    }

    #[test]
    fn the_hash_is_that_of_the_version() {
        let of =
            |version: &str| context(GetContextResponse { version: version.to_owned(), ..answer() }, 200).version_hash;
        assert_eq!(&*of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(&*of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn an_empty_answer_is_an_empty_context() {
        let context = context(GetContextResponse::default(), 1);
        assert_eq!((&*context.text, context.token_count, context.scopes.len()), ("", 0, 0));
        assert_eq!(context.blocks, Blocks::default());
    }

    #[test]
    fn a_text_over_the_budget_is_cut() {
        let long = GetContextResponse { context: "word ".repeat(100), token_count: 125, ..answer() };
        let context = context(long, 20);
        assert!(context.text.ends_with("\n[cut to 20 tokens]") && context.token_count <= 20, "{context:?}");
    }

    #[test]
    fn scopes_are_few_and_short() {
        let many = GetContextResponse { scopes: vec!["ä".repeat(1_000); 1_000], ..answer() };
        let scopes = context(many, 200).scopes;
        assert_eq!((scopes.len(), scopes[0].chars().count()), (64, 128));
    }
}
