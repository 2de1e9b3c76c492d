//! The readable part of a feature id: what is left of a description in any language when only `[a-z0-9-]` may stay.

/// Longest, in characters: a feature id names folders and branches.
pub(super) const MAX_SLUG_CHARS: usize = 30;
/// When nothing is left.
const NOTHING: &str = "feature";

/// Words joined by single hyphens, none at the ends.
pub(super) fn slug(description: &str) -> String {
    let mut slug = String::new();
    for char in description.chars().flat_map(latin) {
        match char {
            'a'..='z' | '0'..='9' => slug.push(char),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() > MAX_SLUG_CHARS {
            break;
        }
    }
    slug.truncate(MAX_SLUG_CHARS);
    slug.truncate(slug.trim_end_matches('-').len());
    if slug.is_empty() { NOTHING.to_owned() } else { slug }
}

/// How one character is written in plain ASCII; a blank where it cannot be.
fn latin(char: char) -> impl Iterator<Item = char> {
    let text = deunicode::deunicode_char(char).unwrap_or(" ");
    text.chars().map(|char| char.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_slug(text: &str) -> bool {
        let pattern = regex::Regex::new("^[a-z0-9]+(-[a-z0-9]+)*$").unwrap();
        pattern.is_match(text) && text.len() <= MAX_SLUG_CHARS
    }

    #[test]
    fn every_language_is_written_in_plain_letters() {
        assert_eq!(slug("Add OAuth2 login, please!"), "add-oauth2-login-please");
        assert_eq!(slug("  Größe ändern  "), "grosse-andern");
        for foreign in
            ["إضافة تسجيل الدخول", "添加用户登录功能", "ログイン機能を追加する", "Добавить вход", "🚀 rockets"]
        {
            let slug = slug(foreign);
            assert!(is_slug(&slug) && slug != NOTHING, "{foreign}: {slug}");
        }
    }

    #[test]
    fn where_nothing_is_left_it_is_a_feature() {
        for nothing in ["", "!!! ??? ...", "\u{e000}\u{e001}\u{e002}", "\n\t\u{0}"] {
            assert_eq!(slug(nothing), "feature", "{nothing:?}");
        }
    }

    #[test]
    fn it_is_cut_without_a_hyphen_at_its_end() {
        let words = "a".repeat(29) + " bc";
        assert_eq!(slug(&words), "a".repeat(29));
        assert_eq!(slug(&"z".repeat(64)), "z".repeat(MAX_SLUG_CHARS));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_a_slug(text in any::<String>()) {
            prop_assert!(is_slug(&slug(&text)), "{text:?}");
        }

        #[test]
        fn whatever_else_comes_it_is_a_slug(text in "[\\PC\\s]{0,80}") {
            prop_assert!(is_slug(&slug(&text)), "{text:?}");
        }
    }
}
