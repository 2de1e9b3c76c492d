//! The languages that can be linted, by path and by the name at a fence.
//!
//! A path says more than an extension: `tsconfig.json` may hold comments, `.h` may be either of two languages. What is
//! not listed is not linted, which is better than a wrong grammar.

use tree_sitter::Language as Grammar;

/// A language, or the dialect of one that a kind of file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Language {
    Rust,
    Python,
    JavaScript,
    TypeScript,
    /// TypeScript with markup; its own grammar, because `<T>x` means something else there.
    Tsx,
    Go,
    Java,
    C,
    Cpp,
    /// `.h`: C or C++, whichever reads it.
    Header,
    Bash,
    Json,
    /// Settings of tools that allow comments and trailing commas (`tsconfig.json`, `*.jsonc`).
    JsonWithComments,
    Yaml,
    Toml,
}

impl Language {
    /// Every language, in the order of the enum.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 15] = [
        Self::Rust,
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::Tsx,
        Self::Go,
        Self::Java,
        Self::C,
        Self::Cpp,
        Self::Header,
        Self::Bash,
        Self::Json,
        Self::JsonWithComments,
        Self::Yaml,
        Self::Toml,
    ];

    /// The language of a file, by well-known name, then by extension. Nothing is opened.
    #[must_use]
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path).to_ascii_lowercase();
        if let Some(known) = Self::of_name(&name) {
            return Some(known);
        }
        let (stem, extension) = name.rsplit_once('.')?;
        if extension == "json" && allows_comments(path, stem) {
            return Some(Self::JsonWithComments);
        }
        // `.h` alone is a hidden file of unknown content, not a header.
        if stem.is_empty() { None } else { Self::of_extension(extension) }
    }

    /// Files whose name says it, lower-case.
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "cargo.lock" | "poetry.lock" | "uv.lock" | "pdm.lock" | "pipfile" | "gopkg.lock" => Self::Toml,
            "pipfile.lock" | "composer.lock" | "flake.lock" | ".watchmanconfig" | ".arcconfig" => Self::Json,
            "pubspec.lock" | "podfile.lock" | ".clang-format" | ".clang-tidy" | ".clangd" | ".yamllint" => Self::Yaml,
            ".bashrc" | ".bash_profile" | ".bash_aliases" | ".bash_login" | ".bash_logout" | ".profile" | ".envrc"
            | "pkgbuild" | "apkbuild" => Self::Bash,
            ".babelrc" | ".eslintrc" | ".swcrc" | ".jshintrc" | ".jscsrc" => Self::JsonWithComments,
            "sconstruct" | "sconscript" | "wscript" => Self::Python,
            _ => return None,
        })
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension {
            "rs" => Self::Rust,
            "py" | "pyi" | "pyw" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "go" => Self::Go,
            "java" => Self::Java,
            "c" => Self::C,
            "cpp" | "cc" | "cxx" | "c++" | "hpp" | "hh" | "hxx" | "h++" => Self::Cpp,
            "h" => Self::Header,
            "sh" | "bash" => Self::Bash,
            "json" | "jsonl" | "ndjson" | "geojson" | "webmanifest" | "ipynb" | "avsc" => Self::Json,
            "jsonc" | "code-workspace" => Self::JsonWithComments,
            "yaml" | "yml" => Self::Yaml,
            "toml" => Self::Toml,
            _ => return None,
        })
    }

    /// The language of a fenced block, by the word after the back-ticks; whatever follows that word is ignored.
    #[must_use]
    pub(crate) fn of_fence(info: &str) -> Option<Self> {
        let info = info.trim_start();
        // A colon too: many models write the path there (`py:src/a.py`).
        let end = info.find(|c: char| c.is_whitespace() || matches!(c, '{' | ',' | ':')).unwrap_or(info.len());
        Some(match info[..end].to_ascii_lowercase().as_str() {
            "rust" | "rs" => Self::Rust,
            "python" | "py" | "python3" | "py3" | "pyi" => Self::Python,
            "javascript" | "js" | "jsx" | "mjs" | "cjs" | "node" | "javascriptreact" | "ecmascript" | "es6" => {
                Self::JavaScript
            }
            "typescript" | "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" | "typescriptreact" => Self::Tsx,
            "go" | "golang" => Self::Go,
            "java" => Self::Java,
            "c" => Self::C,
            "cpp" | "c++" | "cc" | "cxx" | "hpp" | "hh" | "hxx" => Self::Cpp,
            "h" => Self::Header,
            "bash" | "sh" | "shell" => Self::Bash,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "jsonc" => Self::JsonWithComments,
            "yaml" | "yml" => Self::Yaml,
            "toml" => Self::Toml,
            _ => return None,
        })
    }

    /// As a reader knows it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Tsx => "TSX",
            Self::Go => "Go",
            Self::Java => "Java",
            Self::C => "C",
            Self::Cpp => "C++",
            Self::Header => "C or C++",
            Self::Bash => "Bash",
            Self::Json => "JSON",
            Self::JsonWithComments => "JSON with comments",
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
        }
    }

    /// Its grammar; a header begins as C.
    pub(super) fn grammar(self) -> Grammar {
        match self {
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::JavaScript => tree_sitter_javascript::LANGUAGE,
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
            Self::Go => tree_sitter_go::LANGUAGE,
            Self::Java => tree_sitter_java::LANGUAGE,
            Self::C | Self::Header => tree_sitter_c::LANGUAGE,
            Self::Cpp => tree_sitter_cpp::LANGUAGE,
            Self::Bash => tree_sitter_bash::LANGUAGE,
            Self::Json | Self::JsonWithComments => tree_sitter_json::LANGUAGE,
            Self::Yaml => tree_sitter_yaml::LANGUAGE,
            Self::Toml => tree_sitter_toml_ng::LANGUAGE,
        }
        .into()
    }
}

/// Whether the program that reads this `.json` file allows comments and trailing commas.
fn allows_comments(path: &str, stem: &str) -> bool {
    let settings = ["tsconfig", "jsconfig", "devcontainer", ".devcontainer", ".eslintrc", "api-extractor", "tslint"];
    let folder = |name: &str| path.split(['/', '\\']).rev().skip(1).any(|part| part == name);
    settings.iter().any(|name| stem == *name || stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
        || stem.starts_with("tsconfig-")
        || folder(".vscode")
        || folder(".devcontainer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_language() {
        let cases = [
            ("src/main.rs", Some(Language::Rust)),
            ("a b/ü.PY", Some(Language::Python)),
            ("x.d.ts", Some(Language::TypeScript)),
            ("x.test.tsx", Some(Language::Tsx)),
            ("include/a.h", Some(Language::Header)),
            ("include/a.hpp", Some(Language::Cpp)),
            ("Cargo.lock", Some(Language::Toml)),
            ("home/.bashrc", Some(Language::Bash)),
            ("Pipfile", Some(Language::Toml)),
            ("package.json", Some(Language::Json)),
            ("web/tsconfig.json", Some(Language::JsonWithComments)),
            ("web/tsconfig.base.json", Some(Language::JsonWithComments)),
            (".vscode/settings.json", Some(Language::JsonWithComments)),
            (".vscode\\settings.json", Some(Language::JsonWithComments)),
            (".github/workflows/ci.yml", Some(Language::Yaml)),
            ("yarn.lock", None),
            ("go.mod", None),
            ("Makefile", None),
            (".h", None),
            ("rs", None),
            ("", None),
        ];
        for (path, language) in cases {
            assert_eq!(Language::of_path(path), language, "{path}");
        }
    }

    #[test]
    fn a_fence_names_its_language() {
        let cases = [
            ("py", Some(Language::Python)),
            ("Python3", Some(Language::Python)),
            ("  rust,no_run", Some(Language::Rust)),
            ("js{1,3}", Some(Language::JavaScript)),
            ("ts title=\"a.ts\"", Some(Language::TypeScript)),
            ("typescriptreact", Some(Language::Tsx)),
            ("golang", Some(Language::Go)),
            ("C++", Some(Language::Cpp)),
            ("shell", Some(Language::Bash)),
            ("YML", Some(Language::Yaml)),
            ("py:src/a.py", Some(Language::Python)),
            ("jsonc", Some(Language::JsonWithComments)),
            ("console", None),
            ("text", None),
            ("diff", None),
            ("", None),
            ("{.python}", None),
        ];
        for (info, language) in cases {
            assert_eq!(Language::of_fence(info), language, "{info}");
        }
    }
}
