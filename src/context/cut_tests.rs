//! What is kept of a text, and that nothing else comes of it.

use proptest::prelude::*;

use super::*;

fn fitted(text: &str, counted: i32, budget: u32) -> (String, u32) {
    let Fitted { text, tokens } = fit(text.to_owned(), counted, budget);
    (text, tokens)
}

/// Words of four letters and a space.
fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

#[test]
fn the_services_count_counts() {
    let text = words(200);
    assert_eq!(fitted(&text, 200, 200), (text.clone(), 200), "250 by the estimate, but it was counted");
    assert!(fitted(&text, 201, 200).0.ends_with("\n[cut to 200 tokens]"));
}

#[test]
fn where_nobody_counted_four_characters_are_a_token() {
    for counted in [0, -1] {
        assert_eq!(fitted("12345678", counted, 2), ("12345678".to_owned(), 2));
        assert_eq!(fitted("123456789", counted, 2).0, "[cut to 2 tokens]");
    }
}

#[test]
fn a_count_that_cannot_be_is_not_believed() {
    let text = words(1000);
    let (cut, tokens) = fitted(&text, 1, 200);
    assert!(cut.ends_with("[cut to 200 tokens]"), "{cut}");
    assert!(tokens <= 200);
}

#[test]
fn a_dense_text_is_cut_by_its_own_measure() {
    // Two characters a token: by the estimate it would fit as it is.
    let (cut, tokens) = fitted(&"多言語 ".repeat(100), 200, 120);
    assert!(cut.chars().count() <= 240, "{}", cut.chars().count());
    assert!(tokens <= 120 && tokens > 100, "{tokens}");
}

#[test]
fn it_is_cut_at_a_paragraph_before_a_line_before_a_word() {
    let room = 40 - "\n[cut to 10 tokens]".len();
    assert_eq!(room, 21);
    for (text, kept) in [
        ("one two three\n\nfour\nfive six", "one two three"),
        ("one two three\n \t\nfour\nfive six", "one two three"),
        ("one two three\nfour five six", "one two three"),
        ("one two three four five six", "one two three four"),
        ("one two three four fi five six", "one two three four fi"),
        ("onetwothreefourfivesixseven", "onetwothreefourfivesi"),
        // A heading alone would be no context.
        ("# One\n\ntwo three four five six", "# One\n\ntwo three four"),
        ("多多多 多多多多多多多多多 多多多多多多多多多多多多", "多多多 多多多多多多多多多"),
    ] {
        let long = format!("{text} {}", "x".repeat(40));
        assert_eq!(fitted(&long, 0, 10).0, format!("{kept}\n[cut to 10 tokens]"), "{text:?}");
    }
}

#[test]
fn only_newline_and_tab_are_left_of_control_characters() {
    let text = "a\0b\u{1b}[31mc\r\nd\te\u{7f}f\u{85}g\u{9b}h\u{c}\u{b}i";
    assert_eq!(clean(text), "ab[31mc\nd\tefghi");
}

/// Texts with all that matters to the cut, and characters of one to four bytes.
fn texts() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["[a-z]{1,12}", "[ä€𝄞多 ]{1,6}", " ", "\n", "\n\n", "\n \n", ".*"], 0..60)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_fits_is_untouched_and_what_does_not_is_cut(text in texts(), counted in -1_i32..400, budget in 1_u32..200) {
        let text = clean(&text);
        let characters = text.chars().count();
        let believed = counted > 0 && characters <= counted as usize * 16;
        let tokens = if believed { counted as usize } else { characters.div_ceil(4) };
        let (cut, said) = fitted(&text, counted, budget);
        if tokens <= budget as usize {
            prop_assert_eq!(cut, text);
            prop_assert_eq!(said as usize, tokens);
            return Ok(());
        }
        let note = format!("[cut to {budget} tokens]");
        prop_assert_eq!(cut.lines().last(), Some(&*note));
        let kept = cut.strip_suffix(&*note).unwrap();
        if kept.is_empty() {
            return Ok(());
        }
        let kept = kept.strip_suffix('\n').unwrap();
        prop_assert!(text.starts_with(kept));
        prop_assert!(cut.chars().count() <= budget as usize * 4);
        prop_assert!(said <= budget, "{} tokens", said);
    }

    #[test]
    fn no_word_is_cut_where_another_end_is_near(text in "([a-z]{1,9}[ \n]{1,2}){30,200}", budget in 30_u32..100) {
        prop_assume!(text.chars().count() > budget as usize * 4);
        let (cut, _) = fitted(&text, 0, budget);
        let (kept, _) = cut.rsplit_once('\n').unwrap();
        prop_assert!(text[kept.len()..].starts_with(char::is_whitespace), "{kept:?}");
        prop_assert!(kept.chars().count() * 5 >= budget as usize * 4, "much is lost: {}", kept.chars().count());
    }

    #[test]
    fn cleaning_twice_changes_nothing(text in ".*") {
        let once = clean(&text);
        prop_assert!(once.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        prop_assert_eq!(clean(&once), once);
    }
}
