//! Only what a change brings in is an error.

use super::super::*;

fn errors(language: Language, before: &str, after: &str) -> Vec<String> {
    match Linter::new().errors(language, Some(before), after) {
        Outcome::Clean => Vec::new(),
        Outcome::Errors { first, .. } => first.iter().map(ToString::to_string).collect(),
        Outcome::NotRun(why) => vec![format!("not run: {why}")],
    }
}

#[test]
fn an_error_of_the_base_is_no_news() {
    let before = "x = = 1\ny = 2\n";
    assert!(errors(Language::Python, before, before).is_empty());
    assert!(errors(Language::Python, before, "z = 3\n\nx = = 1\ny = 4\n").is_empty());
    // Moved and indented.
    assert!(errors(Language::Python, before, "y = 2\nif y:\n    x = = 1\n").is_empty());
}

#[test]
fn one_more_of_an_old_error_is_new() {
    let after = "x = = 1\ny = 2\nx = = 1\n";
    assert_eq!(errors(Language::Python, "x = = 1\ny = 2\n", after), ["line 3, column 5: unexpected `=`"]);
}

#[test]
fn another_error_is_new() {
    let after = "x = = 1\ny = )\n";
    assert_eq!(errors(Language::Python, "x = = 1\ny = 2\n", after), ["line 2, column 5: unexpected `)`"]);
    assert_eq!(errors(Language::Rust, "fn f() {}\n", "fn f( {}\n"), ["line 1, column 6: missing `)`"]);
}

#[test]
fn line_ends_do_not_make_an_error_new() {
    assert!(errors(Language::Python, "x = = 1\r\ny = 2\r\n", "y = 2\nx = = 1\n").is_empty());
    assert_eq!(errors(Language::Python, "", "a = 1\r\nx = = 1\r\n"), ["line 2, column 5: unexpected `=`"]);
}

#[test]
fn a_change_of_c_with_macros_is_judged_by_what_the_grammar_could_read_before() {
    let before = "#include \"my.h\"\nint f(void) {\n  int a = 1;\n  return a;\n}\n";
    let missing = before.replace("a = 1;", "a = 1");
    assert_eq!(errors(Language::C, before, &missing), ["not run: the C grammar stops at line 3, which may be right"]);
    let far = "#include \"my.h\"\n\n\nint f(void) {\n  int a = 1;\n  return a;\n}\n";
    assert_eq!(errors(Language::C, far, &far.replace("a = 1;", "a = 1")), ["line 5, column 12: missing `;`"]);
    let macros = far.replace("int f", "MY_API(int) * f");
    assert_eq!(errors(Language::C, far, &macros.replace("a = 1;", "a = 1")).len(), 1);
    assert_eq!(errors(Language::C, &macros, &macros.replace("}", "")), ["line 4, column 23: `{` is not closed"]);
}

#[test]
fn a_template_that_was_broken_before_is_not_run() {
    let before = "a: [\nb: @x\n";
    assert_eq!(errors(Language::Yaml, before, "a: [\nc: @y\n"), ["not run: a template, or broken before"]);
    assert!(errors(Language::Yaml, before, before).is_empty());
}

#[test]
fn at_most_twenty_errors_and_a_count() {
    let text = "x = = 1\ny = 1\n".repeat(25);
    let Outcome::Errors { first, more } = Linter::new().errors(Language::Python, None, &text) else {
        panic!("no errors");
    };
    assert_eq!((first.len(), more), (20, 5));
    assert_eq!(first[19].to_string(), "line 39, column 5: unexpected `=`");
}
