//! Broken code: the place that is named is where the parser stopped, as a compiler would say it.

use super::super::*;

fn first(linter: &Linter, language: Language, text: &str) -> String {
    match linter.errors(language, None, text) {
        Outcome::Errors { first, .. } => first[0].to_string(),
        other => format!("{other:?}"),
    }
}

fn broken(language: Language, cases: &[(&str, &str)]) {
    assert!(cases.len() >= 4);
    let linter = Linter::new();
    for (text, expected) in cases {
        assert_eq!(first(&linter, language, text), *expected, "{language:?} {text:?}");
    }
}

#[test]
fn broken_rust_is_found() {
    broken(
        Language::Rust,
        &[
            ("fn f() {\n    let x = ;\n}\n", "line 2, column 13: unexpected `;`"),
            ("fn f( {\n}\n", "line 1, column 6: missing `)`"),
            ("struct A {\n    x: u8\n    y: u8,\n}\n", "line 3, column 5: unexpected `y`"),
            ("fn f() {\n    if x {\n}\n", "line 3, column 2: unexpected end of file"),
            ("fn f() -> {\n}\n", "line 1, column 11: unexpected `{`"),
            ("fn f() {\n    m!(a [ b);\n}\n", "line 2, column 13: missing `]`"),
        ],
    );
}

#[test]
fn broken_python_is_found() {
    broken(
        Language::Python,
        &[
            ("def f(:\n    pass\n", "line 1, column 7: missing `)`"),
            ("if x\n    y = 1\n", "line 2, column 5: unexpected `y`"),
            ("x = (1,\ny = 2\n", "line 2, column 3: unexpected `=`"),
            ("def f():\nreturn 1\n", "line 1, column 9: missing an indented block after this"),
            ("if x:\n    # only\ny = 1\n", "line 1, column 6: missing an indented block after this"),
            ("def f():\n    x = 1\n      y = 2\n", "line 3, column 7: unexpected indentation"),
            ("def f():\n    x\n   y\n", "line 3, column 4: unexpected indentation"),
            ("a = 'ä'; print 'x'\n", "line 1, column 10: `print` of Python 2, without parentheses"),
            ("exec 'x'\n", "line 1, column 1: `exec` of Python 2, without parentheses"),
            ("return x)\n", "line 1, column 9: unexpected `)`"),
        ],
    );
}

#[test]
fn broken_javascript_is_found() {
    broken(
        Language::JavaScript,
        &[
            ("const x = ;\n", "line 1, column 11: unexpected `;`"),
            ("if (x {\n  y();\n}\n", "line 1, column 6: missing `)`"),
            ("const o = { a: 1, b: };\n", "line 1, column 21: missing identifier"),
            ("class A {\n  f() {\n}\n", "line 3, column 2: missing `}`"),
            ("const x = y z;\n", "line 1, column 13: unexpected `z`"),
            ("const a = <b>;\n", "line 1, column 15: unexpected end of file"),
        ],
    );
}

#[test]
fn broken_typescript_is_found() {
    broken(
        Language::TypeScript,
        &[
            ("const x: = 1;\n", "line 1, column 10: unexpected `=`"),
            ("interface A {\n  x: string\n", "line 2, column 12: missing `}`"),
            ("function f(a: number b: string) {}\n", "line 1, column 22: unexpected `b`"),
            ("import { a from 'b';\n", "line 1, column 12: unexpected `from`"),
            ("enum A { B C }\n", "line 1, column 12: unexpected `C`"),
        ],
    );
}

#[test]
fn broken_tsx_is_found() {
    broken(
        Language::Tsx,
        &[
            ("const a = <div>;\n", "line 1, column 17: unexpected end of file"),
            ("const a = <div x={1>y</div>;\n", "line 1, column 29: unexpected end of file"),
            ("const f = (x: ) => x;\n", "line 1, column 15: unexpected `)`"),
            ("const a = <div style={{ a: }} />;\n", "line 1, column 27: missing identifier"),
        ],
    );
}

#[test]
fn broken_go_is_found() {
    broken(
        Language::Go,
        &[
            ("package a\n\nfunc f() {\n\tx := \n}\n", "line 4, column 6: missing identifier"),
            ("package a\n\nfunc f( {\n}\n", "line 3, column 8: missing `)`"),
            ("package a\n\nfunc f() {\n\tg(1\n}\n", "line 4, column 5: missing `)`"),
            ("package a\n\nfunc f() {\n", "line 3, column 11: unexpected end of file"),
        ],
    );
}

#[test]
fn broken_java_is_found() {
    broken(
        Language::Java,
        &[
            ("class A {\n  int x = 1\n}\n", "line 2, column 12: missing `;`"),
            ("class A {\n  void f() {\n    g(1;\n  }\n}\n", "line 3, column 8: missing `)`"),
            ("class A {\n", "line 1, column 10: missing `}`"),
            ("class A { int = 1; }\n", "line 1, column 14: missing identifier"),
            ("class A { void f() { if x { } } }\n", "line 1, column 25: unexpected `x`"),
        ],
    );
}

#[test]
fn broken_c_is_found() {
    broken(
        Language::C,
        &[
            ("int main(void) {\n  int x = 1\n  return x;\n}\n", "line 2, column 12: missing `;`"),
            ("int main(void) {\n  f(1;\n}\n", "line 2, column 6: missing `)`"),
            ("int main(void) {\n", "line 1, column 17: missing `}`"),
            ("int f(int) {\n  return 1;\n}}\n", "line 3, column 2: unexpected `}`"),
            ("#include \"my.h\"\nint f( {\n}\n", "line 2, column 6: `(` is not closed"),
        ],
    );
}

#[test]
fn broken_cpp_is_found() {
    broken(
        Language::Cpp,
        &[
            ("int main() {\n  std::vector<int v;\n}\n", "line 2, column 18: missing `>`"),
            ("int main() {\n  f(1;\n}\n", "line 2, column 6: missing `)`"),
            ("int main() {\n  return 0\n}\n", "line 2, column 11: missing `;`"),
            ("namespace a {\n", "line 1, column 14: missing `}`"),
        ],
    );
}

#[test]
fn broken_headers_are_found() {
    broken(
        Language::Header,
        &[
            ("int f(;\n", "line 1, column 6: `(` is not closed"),
            ("#pragma once\nint f(int a {\n", "line 2, column 13: `{` is not closed"),
            ("struct s {\n  int a;\n", "line 1, column 10: `{` is not closed"),
            ("class A { int f() { };\n", "line 1, column 9: `{` is not closed"),
        ],
    );
}

#[test]
fn broken_bash_is_found() {
    broken(
        Language::Bash,
        &[
            ("if [ -f x ]; then\n  echo\n", "line 2, column 7: missing `fi`"),
            ("case $x in\n  a) b ;;\n", "line 2, column 10: unexpected end of file"),
            ("f() {\n  echo\n", "line 2, column 7: unexpected end of file"),
            ("echo $(ls\n", "line 1, column 10: missing `)`"),
            ("if x; then y; fi fi\n", "line 1, column 18: unexpected `fi`"),
            ("echo )\n", "line 1, column 6: unexpected `)`"),
        ],
    );
}

#[test]
fn broken_json_is_found() {
    broken(
        Language::Json,
        &[
            ("{\"a\": 1,}\n", "line 1, column 9: unexpected `}`"),
            ("{\"a\" 1}\n", "line 1, column 6: unexpected `1`"),
            ("[1, 2\n", "line 1, column 6: missing `]`"),
            ("{\"a\": undefined}\n", "line 1, column 7: unexpected `undefined`"),
        ],
    );
}

#[test]
fn broken_json_with_comments_is_found() {
    broken(
        Language::JsonWithComments,
        &[
            ("{\"a\": 1,,}\n", "line 1, column 10: unexpected `}`"),
            ("{a: 1}\n", "line 1, column 2: unexpected `a`"),
            ("[1 2,]\n", "line 1, column 4: unexpected `2`"),
            ("{\"a\": }", "line 1, column 6: missing value"),
        ],
    );
}

#[test]
fn broken_yaml_is_found() {
    broken(
        Language::Yaml,
        &[
            ("a: [1, 2\nb: 3\n", "line 2, column 1: unexpected `b`"),
            ("a: b: c\n", "line 1, column 5: unexpected `:`"),
            ("a:\n\t- b\n", "line 2, column 2: unexpected `-`"),
            ("- a\nb: c\n", "line 2, column 1: unexpected `b`"),
            ("a: 1\n  b: 2\n", "line 2, column 4: unexpected `:`"),
        ],
    );
}

#[test]
fn broken_toml_is_found() {
    broken(
        Language::Toml,
        &[
            ("a = \n", "line 1, column 4: unexpected end of file"),
            ("[a\nb = 1\n", "line 2, column 1: unexpected `b`"),
            ("a = [1, 2\n", "line 1, column 10: unexpected end of file"),
            ("a = 'x' y\n", "line 1, column 9: unexpected `y`"),
        ],
    );
}
