//! Sizes, time, threads, and text that nobody wrote.

use std::time::Duration;

use super::super::*;

#[test]
fn a_text_too_large_is_not_run() {
    let linter = Linter::new();
    let large = "#".repeat(MOST_BYTES + 1);
    let why = "too large: 524289 bytes, at most 524288 are parsed";
    assert_eq!(linter.errors(Language::Python, None, &large), Outcome::NotRun(why.into()));
    assert_eq!(linter.errors(Language::Python, None, &large[1..]), Outcome::Clean);
    let base = Outcome::NotRun(format!("the base: {why}").into());
    assert_eq!(linter.errors(Language::Python, Some(&large), "x = = 1"), base);
}

#[test]
fn a_parse_that_takes_too_long_is_stopped() {
    let linter = Linter::new();
    let grammar = Language::Python.grammar();
    let text = "x = [1, (2, {3: 4})]\n".repeat(20_000);
    let stopped = linter.pool.take().parse(&grammar, &text, Duration::ZERO);
    assert_eq!(stopped.err(), Some(NoTree::TimedOut));
    // The same parser reads the next text from its beginning.
    assert_eq!(linter.errors(Language::Python, None, "x = 1\n"), Outcome::Clean);
    assert_eq!(linter.pool.made(), (1, 1));
}

#[test]
fn every_grammar_loads() {
    let linter = Linter::new();
    for language in Language::ALL {
        let tree = linter.pool.take().parse(&language.grammar(), "", PARSE_LIMIT);
        assert!(tree.is_ok(), "{language:?}");
    }
}

#[test]
fn eight_threads_share_a_few_parsers() {
    let linter = Linter::new();
    let cases = [(Language::Rust, "fn f( {}\n"), (Language::Python, "x = = 1\n"), (Language::Json, "{\"a\" 1}\n")];
    let expected: Vec<_> = cases.iter().map(|(language, text)| linter.errors(*language, None, text)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (linter, expected) = (linter.clone(), &expected);
            scope.spawn(move || {
                for turn in 0..100 {
                    let case = (thread + turn) % cases.len();
                    let (language, text) = cases[case];
                    assert_eq!(linter.errors(language, None, text), expected[case]);
                }
            });
        }
    });
    let (made, idle) = linter.pool.made();
    assert!(made == idle && made <= 4, "{made} made, {idle} idle");
}

/// A small generator, so that a seed is all that a failure needs.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

const SCRAPS: [&str; 30] = [
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "'",
    "`",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "#if 0\n",
    "#endif\n",
    "/*",
    "*/",
    "//",
    "R\"(",
    "<<EOF\n",
    "${",
    "{{ x }}",
    "ü",
    "\u{0}",
    "\u{feff}",
    "import('x').y",
    "in2?:",
    "1e+3",
    "print x",
];

fn mutated(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(chars.len() + 1);
        if random.below(3) == 0 {
            chars.drain(at..(at + random.below(8)).min(chars.len()));
        } else {
            let scrap = SCRAPS[random.below(SCRAPS.len())];
            chars.splice(at..at, scrap.chars());
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_text_never_panics() {
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64) | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let linter = Linter::new();
    let texts = [
        "fn f<'a>(x: &'a str) -> u8 { m!(x [1]); if let Some(y) = x { y } else { 0 } }\n",
        "def f(a, *b):\n    if a:\n        return f'{a}'\n    x = [1,\n  2]\n",
        "#include <a.h>\n#ifdef A\nint f(int a) {\n#else\nint f(void) {\n#endif\n  return '}';\n}\n",
        "{\"a\": [1, 2.5, null,], /* c */ \"b\": {}}\n",
        "a:\n  - b: [c, d]\n    e: |\n      f\n---\ng: 'h'\n",
        "if [ \"$a\" ]; then cat <<EOF\n$(b)\nEOF\nfi\n",
        "const a = <b c={{ d: 1 }}>{`e${f}`}</b>; class G { in2?: string }\n",
    ];
    for _ in 0..300 {
        for text in texts {
            let language = Language::ALL[random.below(Language::ALL.len())];
            let (before, after) = (mutated(text, &mut random), mutated(text, &mut random));
            let outcome = linter.errors(language, Some(&before), &after);
            if let Outcome::Errors { first, .. } = outcome {
                let lines = after.matches('\n').count() + 1;
                assert!(first.iter().all(|error| error.line <= lines), "{language:?} {after:?} {first:?}");
            }
        }
    }
}

#[test]
fn deep_nesting_ends() {
    let linter = Linter::new();
    for language in [Language::Json, Language::Python, Language::Rust, Language::Cpp, Language::Yaml] {
        for nested in ["[".repeat(100_000), "({".repeat(50_000)] {
            // A parser without a bound would overflow its stack or run into the time limit of tests.
            drop(linter.errors(language, None, &nested));
        }
    }
}
