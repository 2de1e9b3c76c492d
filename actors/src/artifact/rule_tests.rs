//! The rules of the canonical form, of line ends, of bounds, one by one.

use super::change::Op;
use super::text::Grade;
use super::{Artifact, Base, BaseId, Code, Guard, Kind, NotApplied, Wanted, translate};

fn base(files: &[(&str, &str)]) -> Base {
    Base::new(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))).unwrap()
}

fn patch(words: &str, base: &Base) -> Artifact {
    translate(words, "k7", Wanted::Patch, base, &Guard::default()).unwrap_or_else(|error| panic!("{error}\n{words}"))
}

fn after(words: &str, base: &Base, path: &str) -> String {
    patch(words, base).apply(base).unwrap()[path].to_string()
}

fn edit(old: &str, new: &str) -> String {
    format!("### EDIT[k7] a\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n")
}

#[test]
fn the_canonical_form_is_rationale_then_diff_then_one_line_of_metadata() {
    let base = base(&[("a", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")]);
    let words = format!("Because <x>.\n\n{}### NOTES[k7]\nsee <!-- --> `x`\ntests: a, b\n", edit("2", "two\n````"));
    let artifact = patch(&words, &base);
    let BaseId::Bundle { bundle } = base.id() else { panic!("no bundle") };
    let file = &artifact.files[0];
    let expected = format!(
        "Because <x>.\n\n`````diff\ndiff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,5 +1,6 @@\n 1\n-2\n+two\n+````\n 3\n 4\n 5\n\
         `````\n<!-- moothall:artifact {{\"v\":1,\"kind\":\"patch\",\"base\":{{\"bundle\":\"{bundle}\"}},\"files\":[{{\
         \"path\":\"a\",\"op\":\"modify\",\"before\":\"{}\",\"after\":\"{}\",\"match\":\"exact\",\"added\":2,\"removed\":1}}],\
         \"tests\":[\"a\"],\"notes\":\"see \\u003c!-- --\\u003e `x`\\ntests: a, b\",\"diff_sha256\":\"{}\",\
         \"raw_sha256\":\"{}\"}} -->",
        file.before.as_ref().unwrap(),
        file.after.as_ref().unwrap(),
        artifact.diff_sha256,
        artifact.raw_sha256
    );
    assert_eq!(artifact.canonical(), expected);
    assert_eq!(Artifact::read(&expected), Some(artifact));
}

#[test]
fn other_versions_altered_diffs_and_forged_paths_are_not_read() {
    let base = base(&[("a", "1\n")]);
    let text = patch(&edit("1", "2"), &base).canonical();
    assert!(Artifact::read(&text).is_some());
    assert!(Artifact::read(&format!("{text}\n\n")).is_some());
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1,", ""),
        ("+2\n", "+3\n"),
        ("\"path\":\"a\"", "\"path\":\"../a\""),
        ("\"kind\":\"patch\"", "\"kind\":\"document\""),
        ("```diff\n", "```text\n"),
        ("-->", "--> more"),
    ] {
        assert_eq!(Artifact::read(&text.replace(from, to)), None, "{from}");
    }
    for text in ["", "\n", "text", "<!-- moothall:artifact {} -->", "```\n<!-- moothall:artifact {\"v\":1} -->"] {
        assert_eq!(Artifact::read(text), None, "{text}");
    }
}

#[test]
fn a_rationale_with_an_open_block_cannot_swallow_the_diff() {
    let base = base(&[("a", "1\n")]);
    let words = format!("So:\n~~~~sh\nls\n{}", edit("1", "2"));
    let artifact = patch(&words, &base);
    assert_eq!(&*artifact.rationale, "So:\n~~~~sh\nls\n~~~~");
    let forged = format!("x\n```diff\n+1\n```\n<!-- moothall:artifact {{\"v\":1}} -->\n{}", edit("1", "2"));
    let artifact = patch(&forged, &base);
    assert_eq!(Artifact::read(&artifact.canonical()), Some(artifact));
}

#[test]
fn kinds_and_bases_follow_what_is_wanted() {
    let (none, some) = (Base::default(), base(&[("a", "1\n")]));
    let made = |wanted, base: &Base, words: &str| translate(words, "k7", wanted, base, &Guard::default()).unwrap();
    let file = "### FILE[k7] b\n```\nx\n```";
    let files = made(Wanted::Files, &none, file);
    assert_eq!((files.kind, &files.base), (Kind::Files, &None));
    assert_eq!(files.files[0].mode.as_deref(), Some("100644"));
    assert_eq!(made(Wanted::Files, &some, file).kind, Kind::Patch);
    let there = some.clone().at_commit(Some("repo".into()), "c0ffee".into());
    let text = made(Wanted::Patch, &there, file).canonical();
    assert!(text.contains("\"base\":{\"repo\":\"repo\",\"commit\":\"c0ffee\"}"), "{text}");
    assert_eq!(Artifact::read(&text).unwrap().base, Some(there.id()));
    for (wanted, kind) in [(Wanted::Document, Kind::Document), (Wanted::None, Kind::None), (Wanted::Auto, Kind::None)] {
        let words = format!(" as it is \n{file}\n");
        let artifact = made(wanted, &none, &words);
        assert_eq!((artifact.kind, artifact.canonical()), (kind, words));
        assert_eq!(Wanted::parse(wanted.as_str()), Some(wanted));
    }
    assert_eq!(Wanted::parse("diff"), None);
}

#[test]
fn each_file_says_what_happened_to_it_and_how_well_it_matched() {
    let base = base(&[("a", "1 \n2\n"), ("b", "x\n"), ("c", "x\n"), ("d", "x\n"), ("e", "x\n"), ("i", "  1\n")]);
    let words = format!(
        "{}### FILE[k7] b\n```\ny\n```\n### DELETE[k7] c\n### MOVE[k7] d -> f\n### FILE[k7] g\n```\n```\n\
         ### MOVE[k7] e -> h\n```\n@@\n-x\n+z\n```\n### EDIT[k7] i\n```\n@@\n-1\n+2\n```",
        edit("1\n2", "1\n3")
    );
    let files = patch(&words, &base).files;
    let told: Vec<_> = files.iter().map(|it| (&*it.path, it.op, it.matched, it.added, it.removed)).collect();
    let expected = [
        ("a", Op::Modify, Grade::TrailingSpace, 1, 1),
        ("b", Op::Modify, Grade::Whole, 1, 1),
        ("c", Op::Delete, Grade::Whole, 0, 1),
        ("f", Op::Rename, Grade::Whole, 0, 0),
        ("g", Op::Add, Grade::Whole, 0, 0),
        ("h", Op::Rename, Grade::Exact, 1, 1),
        ("i", Op::Modify, Grade::Indent, 1, 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn line_ends_of_an_existing_file_are_kept() {
    let table = [
        ("1\r\n2\r\n", edit("2", "3\n4"), "1\r\n3\r\n4\r\n"),
        ("1\r\n2\n3\r\n", edit("2\n3", "2\nx\n3"), "1\r\n2\nx\n3\r\n"),
        ("1\n2", edit("2", "3"), "1\n3"),
        ("\u{feff}1\r\n2", "### FILE[k7] a\n```\n1\n3\n```".to_owned(), "\u{feff}1\r\n3"),
        ("\u{feff}1\n", edit("1", "2"), "\u{feff}2\n"),
        ("1\n", "### FILE[k7] a\r\n```\r\n2\r\n```\r\n".to_owned(), "2\n"),
    ];
    for (before, words, expected) in table {
        assert_eq!(after(&words, &base(&[("a", before)]), "a"), expected, "{before:?}");
    }
}

#[test]
fn a_body_ends_at_the_last_closing_fence_before_the_next_header() {
    let words = "### FILE[k7] a.md\n```md\n# A\n```sh\nls\n```\n```\n### FILE[k7] b.md\n~~~\n```\n~~~\nend";
    let (none, artifact) = (Base::default(), patch(words, &Base::default()));
    let files = artifact.apply(&none).unwrap();
    assert_eq!(&*files["a.md"], "# A\n```sh\nls\n```\n");
    assert_eq!(&*files["b.md"], "```\n");
}

#[test]
fn a_wrapper_around_the_answer_is_no_part_of_its_last_file() {
    let body = "```md\n# A\n```sh\nls\n```\n```\n";
    let none = Base::default();
    for (wrapped, expected) in [
        (format!("````markdown\n### FILE[k7] a\n{body}````\n"), "# A\n```sh\nls\n```\n"),
        (format!("```markdown\n### FILE[k7] a\n{body}```\n"), "# A\n```sh\nls\n```\n"),
        (format!("```markdown\nProse.\n### FILE[k7] a\n{body}"), "# A\n```sh\nls\n```\n"),
        ("```\n### FILE[k7] a\n```\nx\n```\n```".to_owned(), "x\n"),
        ("```\n### FILE[k7] a\n```\nx\n```\n### NOTES[k7]\nn\n```".to_owned(), "x\n"),
    ] {
        assert_eq!(after(&wrapped, &none, "a"), expected, "{wrapped}");
    }
    let noted = patch("```\n### FILE[k7] a\n```\nx\n```\n### NOTES[k7]\nn\n```", &none);
    assert_eq!((noted.notes.as_deref(), &*noted.rationale), (Some("n"), ""));
}

#[test]
fn names_may_change_their_case_and_new_files_have_the_line_ends_of_the_answer() {
    let was = base(&[("readme", "1\n")]);
    assert_eq!(after("### MOVE[k7] readme -> README", &was, "README"), "1\n");
    assert_eq!(after("### FILE[k7] a\r\n```\r\n1\r\n```\r\n", &was, "a"), "1\r\n");
}

#[test]
fn edits_see_files_written_or_moved_before_them() {
    let was = base(&[("a", "1\n2\n")]);
    let words = format!("### FILE[k7] b\n```\nx\n```\n### EDIT[k7] b\n```\n@@\n-x\n+y\n```\n{}", edit("1", "3"));
    let words = format!(
        "{words}### MOVE[k7] a -> c\n### EDIT[k7] c\n```\n@@\n-2\n+4\n```\n### DELETE[k7] b\n### FILE[k7] b\n```\nz\n```"
    );
    let files = patch(&words, &was).apply(&was).unwrap();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), &**text)).collect();
    assert_eq!(files, [("b", "z\n"), ("c", "3\n4\n")]);
}

#[test]
fn a_moved_base_is_told_and_a_damaged_diff_is_not_applied() {
    let was = base(&[("a", "1\n"), ("b", "1\n")]);
    let artifact = patch(&format!("{}### MOVE[k7] b -> c\n### FILE[k7] d\n```\n```", edit("1", "2")), &was);
    let changed = artifact.changed(&was).unwrap();
    assert_eq!(changed.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!((changed[0].before.as_deref(), changed[0].after.as_deref()), (Some("1\n"), Some("2\n")));
    for moved in [
        vec![("a", "0\n"), ("b", "1\n")],
        vec![("b", "1\n")],
        vec![("a", "1\n")],
        vec![("a", "1\n"), ("b", "1\n"), ("c", "")],
        vec![("a", "1\n"), ("b", "1\n"), ("d", "")],
    ] {
        let error = artifact.apply(&base(&moved)).unwrap_err();
        assert_eq!(error.code(), Some(Code::BaseMoved), "{moved:?}");
    }
    assert!(artifact.apply(&base(&[("a", "1\n"), ("b", "1\n"), ("z", "other")])).is_ok());
    for (from, to) in [("+2", "+3"), ("@@ -1 ", "@@ -2 "), ("a/a b/a", "a/b b/a"), ("-1", " 1")] {
        let damaged = Artifact { diff: artifact.diff.replacen(from, to, 1).into(), ..artifact.clone() };
        assert!(matches!(damaged.apply(&was), Err(NotApplied::Damaged { .. })), "{from}");
    }
}

#[test]
fn a_base_is_checked_and_named_by_its_content() {
    let wrong =
        Base::new([("../a", ""), ("b", ""), ("B", ""), ("b/c", ""), ("b", "")].map(|(a, b)| (a.into(), b.into())));
    assert_eq!(wrong.unwrap_err().len(), 4);
    assert!(Base::new([("a".into(), "x".repeat(256 * 1024 + 1))]).is_err());
    assert!(Base::new((0..1_001).map(|it| (it.to_string(), String::new()))).is_err());
    let one = base(&[("a", "bc")]).bundle();
    assert_eq!(one, base(&[("a", "bc")]).bundle());
    assert!(one != base(&[("ab", "c")]).bundle() && one.len() == 64);
    assert_eq!(Base::default().bundle(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

macro_rules! prompt {
    ($name:literal) => {
        include_str!(concat!("../../../config/prompts/", $name))
    };
}

#[test]
fn the_prompts_show_what_is_accepted() {
    for text in [prompt!("dialect.md"), prompt!("dialect_files.md")] {
        assert!(text.lines().count() <= 25);
        let words = text.replace("{{ nonce }}", "k7");
        let carried = base(&[("src/duration.py", "def seconds(text):\n    return int(text)\n")]);
        let artifact = patch(&words, &carried);
        assert!(artifact.files.iter().any(|it| it.path == "src/duration.py"));
        assert!(artifact.notes.is_some_and(|notes| notes.starts_with("Negative numbers")));
    }
}
