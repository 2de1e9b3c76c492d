//! Modern and odd code that is right, and must be clean.

use super::super::*;

fn clean(language: Language, texts: &[&str]) {
    assert!(texts.len() >= 6);
    let linter = Linter::new();
    let wrong: Vec<_> = texts
        .iter()
        .map(|text| (text, linter.errors(language, None, text)))
        .filter(|(_, outcome)| *outcome != Outcome::Clean)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn modern_rust_is_clean() {
    clean(
        Language::Rust,
        &[
            "fn f() -> Option<u8> { if let Some(x) = a() && x > 1 && let Ok(y) = b(x) { Some(y) } else { None } }\n",
            "unsafe extern \"C\" { pub safe fn sqrt(x: f64) -> f64; }\n#[unsafe(no_mangle)] pub extern \"C\" fn g() {}\n",
            "fn f<'a, T>(x: &'a T) -> impl Fn() + use<'a, T> { let c = async || 1; move || () }\n",
            "fn f() { let Some(x) = y else { return }; let p = &raw const x; let s = c\"a\"; let r = br##\"\"#\"##; }\n",
            "trait A { type B<'a>: C where Self: 'a; const N: usize = { 1 + 1 }; async fn f(&self); }\n",
            "macro_rules! m { ($($a:ident),* $(,)?) => { $(fn $a() {})* }; ([$]) => {}; }\nm![a, b];\n",
            "extern \"C\" {\n    pub type Opaque;\n    fn f(x: *mut Opaque, ...);\n}\n",
            "fn f(n: u32) { 'a: loop { match n { 0..=9 | 11.. if n > 1 => break 'a, r#type @ 10 => {}, _ => () } } }\n",
            "let x = 5;\nprintln!(\"{x:?}\");\ncheck!('\\u{0__}' ~~);\n",
            "impl<const N: usize> S<{ N + 1 }> { const fn f(self) -> [u8; N] where [(); N]: Sized { [0; N] } }\n",
        ],
    );
}

#[test]
fn modern_python_is_clean() {
    clean(
        Language::Python,
        &[
            "match = 1\ncase = 2\ntype = 3\nmatch x:\n    case {'a': [1, *_], **rest} if rest: pass\n    case P(x=0) | None: ...\n",
            "print(f\"{f'{a[\"b\"]!r:>{w}}'} {x=} {{}} {d['k']:%Y-%m}\")\n",
            "type A[T: int, *U, **P] = dict[T, U]\ndef f[T](x: T, /, *, y: T) -> T: return x\nclass C[T]: pass\n",
            "async def f():\n    async with a as b, c: [x async for x in y if await x]\n    return (z := 1)\n",
            "try:\n    pass\nexcept* (A, B) as e:\n    raise X from e\nelse: pass\nfinally:\n    ...\n",
            "with (\n    open(a) as b,\n    open(c) as d,\n):\n    pass\n@x.y[0](1)\nclass A: x: int = 1; y = 2\n",
            "print >>sys.stderr, 'x'\nprint (a), b\nprint\nexec('x')\nlambda *a, **k: (yield)\n",
            "if x:\n\ty = 1\n\tz = 2\nelse:\n        pass\n# end",
            "def f():\n    # first\n    \"\"\"doc\"\"\"\n  # odd\n    return \\\n  1\n\n\x0c\ndef g(): ...\n",
            "    def method(self):\n        return 1\n\n    x = 2\n",
            "for x in *a, *b: pass\nx[*a, 1:2]\ndef f(*args: *Ts): ...\ntry: pass\nexcept A, B: pass\nt = t'{x}'\n",
            "x = [\n  1,\n    2]\nprint(*a, sep='')\na = b if c else d,\nglobal_ = 0xFF_FF + 1_0.5e-3j\n",
        ],
    );
}

#[test]
fn modern_javascript_is_clean() {
    clean(
        Language::JavaScript,
        &[
            "class A { #x = 1; static { this.y ??= 2 } get z() { return this.#x } static async *g() { yield* h() } }\n",
            "import d, { a as b, default as c } from './x.js' with { type: 'json' };\nexport * as ns from 'y';\n",
            "const { a = 1, ...rest } = o?.b?.[c]?.(d) ?? {}; label: for await (const x of y) continue label;\n",
            "const e = <App {...p} a=\"b\" c={{ d: 1 }}>text {x && <></>} &nbsp;</App>;\n",
            "let r = /[/\\]]+(?<n>x)\\k<n>/giu, t = `a${`b${c}`}`, n = 1_000n ** 2n;\n",
            "#!/usr/bin/env node\n'use strict'\nvar async = 1, of = 2, get = 3, let_ = async\n",
            "x = async ({ a }) => await a\ny = a => ({ ...a })\nif (x) y\nelse z\n",
            "@a @b() class C { accessor x = 1; @d m() {} }\nimport defer * as z from 'z';\n",
            "try { f() } catch { g() } finally { }\nswitch (x) { case 1: default: }\nnew.target; import.meta.url\n",
        ],
    );
}

#[test]
fn modern_typescript_is_clean() {
    clean(
        Language::TypeScript,
        &[
            "@Component({ selector: 'a' })\nexport class A { constructor(@Inject(B) private readonly b: B) {} @Input() x!: string; }\n",
            "const c = { a: 1 } as const satisfies Record<string, number>;\nlet y = <T,>(x: T): x is NonNullable<T> => !!x;\n",
            "type A<T> = T extends (infer U extends string)[] ? `x-${U}` : { readonly [K in keyof T as `get${K}`]-?: T[K] };\n",
            "import type { A } from './a';\nimport { type B, C } from './b';\nexport type { D } from './d';\nexport type * from './e';\n",
            "declare global { interface Window { x?: 1 } }\ndeclare module '*.css';\nabstract class A { abstract f(): void; override g?(): this }\n",
            "interface P {\n  in2?: string\n  in?: string\n  b?: import('@babel/types').Statement[]\n  new (x: number): P\n}\n",
            "function f(this: Window, ...a: [x: string, y?: number]): asserts a is [string] {}\nenum E { A = 1 << 0, B }\n",
            "function g<const T extends readonly unknown[]>(x: T) { return x! as unknown as Foo<typeof x>; }\n",
            "async function f() { await using a = b();\n  using c = d(); }\nclass A { accessor x = 1; static accessor y = 2 }\n",
            "export default class<in out T> implements I<T> { static #p = 1; get v(): number { return 1 } }\n",
        ],
    );
    clean(
        Language::Tsx,
        &[
            "const A: FC<P> = ({ x }) => <div style={{ a: 1 }} key={x}>{x as string}</div>;\n",
            "const f = <T,>(x: T) => <B<T> value={x} />;\n",
            "export default function A() { return <>{list.map((i) => <li key={i}>{i}</li>)}</> }\n",
            "type P = { a?: string };\nconst g = <T extends object>(x: T) => x;\n",
            "const h = useCallback(async (e: React.FormEvent<HTMLFormElement>) => { e.preventDefault() }, []);\n",
            "let x = cond ? <A.B c=\"&amp;\" /> : null;\n",
        ],
    );
}

#[test]
fn modern_go_is_clean() {
    clean(
        Language::Go,
        &[
            "package a\n\nfunc Map[T, U any](s []T, f func(T) U) (r []U) { for _, x := range s { r = append(r, f(x)) }; return }\n",
            "package a\n\ntype N interface { ~int | ~float64; String() string }\ntype A[T N] = []T\n",
            "package a\n\nfunc f() { for i := range 10 { go func() { select { case c <- i: default: } }() } }\n",
            "package a\n\nimport (\n\t. \"fmt\"\n\t_ \"embed\"\n)\n\n//go:embed x\nvar s = `a\n\"b`\n",
            "package a\n\nconst (\n\tA = iota + 0b1_0\n\tB\n)\n\nvar f = func(xs ...int) (int, error) { return len(xs), nil }\n",
            "package a\n\nfunc g(x any) { switch y := x.(type) { case nil, *T: fallthrough; case int: _ = y }\nL:\n\tfor { break L } }\n",
            "fmt.Println(x)\nif err := f(); err != nil {\n\treturn err\n}\n",
        ],
    );
}

#[test]
fn modern_java_is_clean() {
    clean(
        Language::Java,
        &[
            "public sealed interface S permits A, B {}\nrecord A(int x, String... y) implements S { A { if (x < 0) throw new E(); } }\n",
            "class C { String f(Object o) { return switch (o) { case P(var x, int y) when x > y -> \"a\"; case null, default -> { yield \"b\"; } }; } }\n",
            "class C { String s = \"\"\"\n    a \"b\" \\\n    c\"\"\"; var x = new int[][] {{1}, {}}; }\n",
            "@Retention(RUNTIME) @interface A { String[] value() default {}; int n() default 1; }\n",
            "class C<T extends Comparable<? super T> & D> { <U> void f(List<? extends U>... a) throws E { this.<U>g(T::new); } }\n",
            "class C { void f() throws Exception { try (var a = b(); c) { } catch (A | B e) { } for (var x : y) if (x instanceof D d && d.e()) return; } }\n",
            "module a.b { requires transitive c; exports d to e; provides F with G; }\n",
            "import module java.base;\nvoid main() { IO.println(\"x\"); }\n",
            "int x = 1;\nSystem.out.println(x);\n",
        ],
    );
}

#[test]
fn c_with_macros_is_clean() {
    clean(
        Language::C,
        &[
            "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", (int){1}); return 0; }\n",
            "#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n  return 1;\n}\n",
            "#define MAX(a, b) ((a) > (b) ? (a) : (b))\nint f(void) { return MAX(1, 2); }\n",
            "typedef struct { unsigned a : 3; union { int b; float c; }; int d[]; } S;\nS s = { .a = 1, .d = { [0] = 2 } };\n",
            "static inline __attribute__((always_inline)) int (*f(void))(int) { _Static_assert(1, \"\"); return 0; }\n",
            "void f() { __asm__ volatile(\"nop\" : \"=r\"(x) : \"0\"(y) : \"memory\"); goto l; l: switch (x) { case 1: default:; } }\n",
            "int old(a, b) int a; char *b; { return a ?: 1; }\n",
            "_Generic(x, int: f, default: g)(x);\n_Alignas(8) int y;\nchar *s = \"a\" \"b\" u8\"c\";\n",
        ],
    );
}

#[test]
fn modern_cpp_is_clean() {
    let texts = [
        "template <typename T> concept C = requires(T a) { { a + a } -> std::same_as<T>; typename T::x; };\n",
        "auto f = []<class T, int N = 1>(this auto&& self, T&&... a) mutable noexcept -> decltype(auto) { return (a + ...); };\n",
        "constexpr auto operator<=>(const A&) const = default;\nauto s = R\"x(a\"(})x\"; int n = 1'000'000;\n",
        "namespace a::inline b { enum class E : char { x, y }; } using enum a::E; [[nodiscard]] int g();\n",
        "Task f() { for (auto&& [k, v] : m) co_await g(k); if constexpr (x) co_return 1; else if (int i = 0; i) co_yield v; }\n",
        "template <> struct S<int> final : public virtual B<int>, private D { explicit(true) S() : B{} {} ~S() override; };\n",
        "consteval int g() { if consteval { return 1; } return 2; } auto x = 5_km; void f() try { } catch (...) { }\n",
        "extern \"C\" {\nint f(void);\n}\nstatic_assert(sizeof(int) == 4);\nauto p = new (q) T[3]{1, 2};\n",
    ];
    clean(Language::Cpp, &texts);
    clean(Language::Header, &texts);
    clean(
        Language::Header,
        &[
            "#ifndef A_H\n#define A_H\n#ifdef __cplusplus\nextern \"C\" {\n#endif\nint f(void);\n#ifdef __cplusplus\n}\n#endif\n#endif\n",
            "#pragma once\nclass A { public: int x = 0; };\n",
            "int class, new;\n",
            "typedef int (*f)(void);\n",
            "struct s { int a; };\n",
            "template <class T> T f();\n",
        ],
    );
}

#[test]
fn bash_with_here_documents_is_clean() {
    clean(
        Language::Bash,
        &[
            "cat <<EOF | sed s/a/b/ > x\n$(date) ${a:-b} `c`\nEOF\necho done\n",
            "cat <<-'EOF'\n\t$not (a \"b\n\tEOF\nf() { cat <<\"X\"\n}\nX\n}\n",
            "case \"$1\" in\n  -h|--help) usage ;;\n  [a-z]*) x ;&\n  *) exit 1 ;;\nesac\n",
            "if [[ $a =~ ^[0-9]+$ && ! -f \"$b\" ]]; then ((i++)); elif [ \"$x\" = y ]; then :; fi\n",
            "a=(1 \"b c\" [5]=d); for i in \"${!a[@]}\"; do echo \"${a[$i]//x/y}\" \"${b##*/}\" ${c^^}; done\n",
            "while IFS= read -r line; do echo \"$line\"; done < <(find . -name '*.sh' -print0)\n",
            "set -euo pipefail\ntrap 'rm -f \"$t\"' EXIT\nx=$(cd \"$(dirname \"$0\")\" && pwd) || exit\n",
            "$ npm install\nfunction g { local -r y=$((1 + 2)); printf '%s\\n' $'a\\n' 2>&1 >/dev/null & }\n",
        ],
    );
}

#[test]
fn json_is_clean() {
    clean(
        Language::Json,
        &[
            "{}",
            "[]\n",
            "null",
            "\"a\\u00fc\\\"\"",
            "[1, -2.5e+3, true, {\"a\": [], \"b\": {}}]",
            "{\"a\": 1}\n{\"b\": 2}\n",
        ],
    );
    clean(
        Language::JsonWithComments,
        &[
            "{ // why\n \"a\": 1, /* b */ }",
            "[1, 2,\n]",
            "{\"a\": {\"b\": [1,],},}",
            "/* only */ {}",
            "{\"url\": \"https://x/,}\"}",
            "{}\n// end",
        ],
    );
}

#[test]
fn yaml_is_clean() {
    clean(
        Language::Yaml,
        &[
            "---\na: 1\n---\n- b\n...\n",
            "on:\n  push:\n    branches: [main]\nif: ${{ github.ref == 'x' }}\nrun: |\n  a: {\n  b\n",
            "base: &b {x: 1}\nd:\n  <<: *b\n  y: !!str 2\n? complex\n: value\n",
            "a: >-\n  folded\n\n  text\nb: 'it''s'\nc: \"\\n\"\nd: ~\ne:\n",
            "%YAML 1.2\n---\n!custom\nkey with blanks: 2001-01-01\n",
            "- - a\n  - b\n- k: v\n  l: [a, {b: c}]\n# end",
        ],
    );
}

#[test]
fn toml_is_clean() {
    clean(
        Language::Toml,
        &[
            "[a.\"b c\"]\nx = 1_000\n[[d]]\ny = [1, 2,\n 3, # c\n]\n",
            "s = '''a\n'b'''\nt = \"\"\"a \\   \n  b\"\"\"\n",
            "a = { b = 1, c.d = [] }\n",
            "d = 1979-05-27T07:32:00Z\nt = 07:32:00\nf = -inf\nn = nan\nh = 0xFF\n",
            "# only\n",
            "\"\" = true\n'a' = false\n1.2 = 3\n",
        ],
    );
}

#[test]
fn empty_texts_are_clean() {
    let linter = Linter::new();
    for language in Language::ALL {
        for text in ["", "\n", " \n\n", "\r\n", "\u{feff}"] {
            assert_eq!(linter.errors(language, None, text), Outcome::Clean, "{language:?} {text:?}");
        }
    }
}

/// Right, but beyond the grammars: never red.
#[test]
fn what_a_grammar_cannot_read_is_not_run() {
    let linter = Linter::new();
    let cases = [
        (Language::C, "static my_atomic size_t n;\n#include \"my.h\"\n"),
        (Language::C, "void f() { switch (x) { case 1 ... 3:; } }\n"),
        (Language::C, "void f() { goto *p; }\n"),
        (Language::C, "struct s { int a : 3, : 0; };\n"),
        (Language::Cpp, "export module a;\nexport int f();\n"),
        (Language::Java, "class A { A() { int x = 1; this(x); } }\n"),
        (Language::Rust, "struct A where u8: Copy;\n"),
        (Language::Rust, "impl A for B where (): C<D>, {}\n"),
        (Language::Toml, "a = {\n b = 1,\n}\n"),
        (Language::Toml, "c = \"\\e\"\n"),
        (Language::Header, "@interface A : B\n@end\n"),
        (Language::Python, "type A[T: int = str] = dict[T, T]\n"),
        (Language::Python, ">>> x = 1\n>>> x y\n1\n"),
        (Language::Python, "x = 1\n%matplotlib inline\n"),
        (Language::Python, "#!/usr/bin/env python2\nprint 'x'\n"),
        (Language::JavaScript, "// @flow\nconst x: number = (y: any);\n"),
        (Language::TypeScript, "<?xml version=\"1.0\"?>\n<!DOCTYPE TS>\n<TS></TS>\n"),
        (Language::Rust, "struct S where Self: Sized, mac!(Self): Send {}\n"),
        (Language::Bash, "[[ $a != *'x'*([[:space:]])true* ]] || exit 0\n"),
        (Language::Bash, "#!/bin/zsh\nx=(${(f)y})\nif\n"),
        (Language::Yaml, "{{- if .x }}\na: {{ .y }}\n{{ end }}\nb: [\n"),
        (Language::Yaml, "{% for x in y %}\n- {{ x }}\n{% endfor %}\n"),
        (Language::Json, "{\"a\": {{ x }}}\n"),
        (Language::Toml, "name = {{cookiecutter.name}}\n"),
        (Language::Python, "class {{ name }}:\n    pass\n"),
    ];
    for (language, text) in cases {
        let outcome = linter.errors(language, None, text);
        assert!(matches!(outcome, Outcome::NotRun(_)), "{language:?} {text:?} {outcome:?}");
    }
}
