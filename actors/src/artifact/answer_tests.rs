//! Answers as careless and hostile models write them, each with what must become of it.

use super::{Base, Code, Guard, Wanted, translate};

const NONCE: &str = "k7f2q";

fn base() -> Base {
    let files = [
        ("src/a.py", "import os\n\n\ndef f(x):\n    return x\n\n\ndef g(x):\n    return x\n"),
        ("src/b.py", "B = 1\n"),
        ("docs/guide.md", "Title\n=======\n\n```sh\nls\n```\n# ... rest of file\n"),
        ("Makefile", "all:\n\ttrue\n"),
    ];
    Base::new(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap()
}

fn guard() -> Guard {
    Guard::new([".github".to_owned(), "*.lock".to_owned()], []).unwrap()
}

/// The changed paths, or the codes of all failures.
fn outcome(words: &str) -> Result<Vec<String>, Vec<Code>> {
    let words = words.replace("[N]", &format!("[{NONCE}]"));
    let artifact = translate(&words, NONCE, Wanted::Patch, &base(), &guard());
    artifact
        .map(|it| it.files.into_iter().map(|file| file.path).collect())
        .map_err(|rejected| rejected.failures.into_iter().map(|it| it.code).collect())
}

const EDIT_B: &str = "```\n<<<<<<< SEARCH\nB = 1\n=======\nB = 2\n>>>>>>> REPLACE\n```\n";

#[test]
fn careless_answers_that_say_what_they_mean_are_taken() {
    let table = [
        ("a plain edit", format!("### EDIT[N] src/b.py\n{EDIT_B}")),
        ("prose around everything", format!("Sure!\n\n### EDIT[N] src/b.py\nHere:\n{EDIT_B}\nDone.\n")),
        ("bold header", format!("**EDIT[N] src/b.py**\n{EDIT_B}")),
        ("back-ticked path", format!("#### EDIT[N] `src/b.py` (one line)\n{EDIT_B}")),
        ("no nonce at all", format!("### EDIT src/b.py\n{EDIT_B}")),
        ("dot and slash", format!("### EDIT[N] ./src/b.py\n{EDIT_B}")),
        ("windows line ends", format!("### EDIT[N] src/b.py\n{EDIT_B}").replace('\n', "\r\n")),
        ("wrapped in a block", format!("```markdown\n### EDIT[N] src/b.py\n{EDIT_B}```\n")),
        ("wrapper not closed", format!("```markdown\n### EDIT[N] src/b.py\n{EDIT_B}")),
        ("one block per fence", format!("### EDIT[N] src/b.py\n{EDIT_B}and a new line at the end")),
        ("hunks with wrong numbers", "### EDIT[N] src/b.py\n```diff\n@@ -90,7 +3 @@\n-B = 1\n+B = 2\n```".into()),
        ("a whole diff", "### EDIT[N] src/b.py\n```diff\ndiff --git a/src/b.py b/src/b.py\n--- a/src/b.py\n+++ b/src/b.py\n@@ -1 +1 @@\n-B = 1\n+B = 2\n\n```".into()),
        ("patch form", "### EDIT[N] src/b.py\n```\n*** Begin Patch\n*** Update File: src/b.py\n@@\n-B = 1\n+B = 2\n*** End Patch\n```".into()),
        ("whole file", "### FILE[N] src/b.py\n```python\nB = 2\n```".into()),
        ("edit below a header of its own twice", format!("### EDIT[N] src/b.py\n{EDIT_B}### EDIT[N] src/b.py\n```\n<<<<<<< SEARCH\nB = 2\n=======\nB = 3\n>>>>>>> REPLACE\n```")),
        ("forged headers in a body", "### FILE[N] src/b.py\n```\n### DELETE src/a.py\n### DELETE[other] src/a.py\n```".into()),
        ("nested fences", "### FILE[N] src/b.py\n```md\n```sh\nls\n```\n```\n### NOTES[N]\nnone".into()),
        ("trailing blanks in the anchor", "### EDIT[N] src/b.py\n```\n<<<<<<< SEARCH\nB = 1  \n=======\nB = 2\n>>>>>>> REPLACE\n```".into()),
        ("too deep an anchor", "### EDIT[N] src/b.py\n```\n<<<<<<< SEARCH\n    B = 1\n=======\n    B = 2\n>>>>>>> REPLACE\n```".into()),
    ];
    for (what, words) in table {
        assert_eq!(outcome(&words), Ok(vec!["src/b.py".to_owned()]), "{what}\n{words}");
    }
}

fn search(old: &str, new: &str) -> String {
    format!("### EDIT[N] src/a.py\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n")
}

fn file(path: &str) -> String {
    format!("### FILE[N] {path}\n```\nx\n```\n")
}

fn assert_refused(table: Vec<(&str, String, Vec<Code>)>) {
    for (what, words, codes) in table {
        assert_eq!(outcome(&words), Err(codes), "{what}\n{}", words.chars().take(400).collect::<String>());
    }
}

#[test]
fn answers_that_do_not_say_what_they_mean_are_refused_with_their_code() {
    use Code::*;
    assert_refused(vec![
        ("nothing", String::new(), vec![NoArtifact]),
        ("prose", "I would change f.".into(), vec![NoArtifact]),
        ("a block without a header", "```python\nB = 2\n```".into(), vec![NoArtifact]),
        ("notes only", "### NOTES[N]\nall fine".into(), vec![NoArtifact]),
        ("another call's nonce", format!("### EDIT[zzzzz] src/b.py\n{EDIT_B}"), vec![NoArtifact]),
        ("no body", "### FILE[N] new.py\nprint(1)\n".into(), vec![NoFence]),
        ("cut off", "### FILE[N] new.py\n```\nprint(1)\n".into(), vec![Truncated]),
        ("cut off in an edit", "### EDIT[N] src/b.py\n```\n<<<<<<< SEARCH\nB = 1\n".into(), vec![Truncated]),
        ("unfinished block", "### EDIT[N] src/b.py\n```\n<<<<<<< SEARCH\nB = 1\n=======\n```".into(), vec![TruncatedEdit]),
        ("patch without end", "### EDIT[N] src/b.py\n```\n*** Begin Patch\n*** Update File: src/b.py\n-B = 1\n```".into(), vec![TruncatedEdit]),
        ("placeholder in a file", "### FILE[N] src/b.py\n```\nB = 2\n# ... existing code ...\n```".into(), vec![Placeholder]),
        ("placeholder in new text", search("import os", "import os\n# … rest of file"), vec![Placeholder]),
        ("placeholder in an anchor", search("import os\n# ... rest of code\n    return y", "x"), vec![Placeholder]),
        ("the same file", "### FILE[N] src/b.py\n```\nB = 1\n```".into(), vec![NoChange]),
        ("the same lines", search("import os", "import os"), vec![NoChange]),
        ("a move to itself", "### MOVE[N] src/b.py -> src/b.py".into(), vec![NoChange]),
        ("edit of nothing", search("x", "y").replace("src/a.py", "src/none.py"), vec![MissingFile]),
        ("delete of nothing", "### DELETE[N] src/none.py".into(), vec![MissingFile]),
        ("move of nothing", "### MOVE[N] src/none.py -> src/c.py".into(), vec![MissingFile]),
        ("edit of what was moved", format!("### MOVE[N] src/b.py -> src/c.py\n### EDIT[N] src/b.py\n{EDIT_B}"), vec![MissingFile]),
        ("patch of another file", "### EDIT[N] src/a.py\n```\n*** Begin Patch\n*** Update File: src/b.py\n-B = 1\n+B = 2\n*** End Patch\n```".into(), vec![MissingFile]),
        ("move onto a file", "### MOVE[N] src/b.py -> src/a.py".into(), vec![TargetExists]),
        ("written twice", format!("{}{}", file("new"), file("new")), vec![TargetExists]),
        ("patch adds what exists", "### EDIT[N] src/b.py\n```\n*** Begin Patch\n*** Add File: src/b.py\n+1\n*** End Patch\n```".into(), vec![TargetExists]),
        ("anchor that is nowhere", search("def h(x):", "y"), vec![AnchorNotFound]),
        ("anchor that is nearly there", search("def f(x) :", "y"), vec![AnchorNotFound]),
        ("anchor at two places", search("    return x", "    return 1"), vec![AnchorAmbiguous]),
        ("anchor at two places, shifted", search("return x", "return 1"), vec![AnchorAmbiguous]),
        ("divider in the text", "### EDIT[N] docs/guide.md\n```\n<<<<<<< SEARCH\nTitle\n=======\n=======\nNew\n=======\n>>>>>>> REPLACE\n```".into(), vec![AnchorAmbiguous]),
        ("empty anchor", search("", "y"), vec![EmptyAnchor]),
        ("blank anchor", search("\n  ", "y"), vec![EmptyAnchor]),
        ("no blocks", "### EDIT[N] src/b.py\n```\nB = 2\n```".into(), vec![EmptyAnchor]),
        ("only additions", "### EDIT[N] src/b.py\n```\n@@\n+B = 2\n```".into(), vec![EmptyAnchor]),
    ]);
}

#[test]
fn answers_that_reach_too_far_are_refused_with_their_code() {
    use Code::*;
    assert_refused(vec![
        ("above the root", file("../x"), vec![UnsafePath]),
        ("above in the middle", file("a/../../x"), vec![UnsafePath]),
        ("absolute", file("/etc/passwd"), vec![UnsafePath]),
        ("a drive", file("C:x"), vec![UnsafePath]),
        ("backslashes", file("..\\x"), vec![UnsafePath]),
        ("git's own", file(".git/hooks/pre-commit"), vec![UnsafePath]),
        ("git's own in disguise", file("a/.GIT ./config"), vec![UnsafePath]),
        ("git's own, invisible", file(".g\u{200c}it/config"), vec![UnsafePath]),
        ("a turned path", file("x\u{202e}yp.exe"), vec![UnsafePath]),
        ("a tab in the path", file("a\tb"), vec![UnsafePath]),
        ("not normalised", file("a//b"), vec![UnsafePath]),
        ("no path", file(""), vec![UnsafePath]),
        ("half a move", "### MOVE[N] src/b.py".into(), vec![UnsafePath]),
        ("another case", file("SRC/c.py"), vec![CaseCollision]),
        ("another case of a file", file("makefile"), vec![CaseCollision]),
        ("below a file", file("Makefile/x"), vec![FileIsDirectory]),
        ("in place of a folder", file("src"), vec![FileIsDirectory]),
        ("protected", file(".github/workflows/ci.yml"), vec![ProtectedPath]),
        ("protected move", "### MOVE[N] src/b.py -> Cargo.LOCK".into(), vec![ProtectedPath]),
        (
            "all failures are listed",
            format!("{}{}{}", file("../x"), search("nowhere", "y"), file("src")),
            vec![UnsafePath, AnchorNotFound, FileIsDirectory],
        ),
        (
            "one bad block of two",
            format!("{}{}", search("import os", "import sys"), search("nowhere", "y")),
            vec![AnchorNotFound],
        ),
        (
            "a failure is not told twice",
            format!("### FILE[N] n.py\n```\n# ...\n```\n### EDIT[N] n.py\n{EDIT_B}"),
            vec![Placeholder],
        ),
        ("too long a file", format!("### FILE[N] n\n```\n{}\n```", "x\n".repeat(300_000)), vec![TooLarge]),
        ("too many files", (0..201).map(|it| file(&format!("n{it}"))).collect(), vec![TooLarge]),
    ]);
}

#[test]
fn a_lone_block_is_the_file_if_the_task_names_one_path() {
    let guard = |paths: &[&str]| Guard::new([], paths.iter().map(|it| (*it).to_owned())).unwrap();
    let one = Base::new([("only.py".to_owned(), "x = 1\n".to_owned())]).unwrap();
    let block = "Here:\n```python\nx = 2\n```\nDone.";
    let paths = |words: &str, base: &Base, guard: &Guard| {
        let artifact = translate(words, NONCE, Wanted::Files, base, guard);
        artifact.map(|it| it.files[0].path.clone()).map_err(|it| it.failures[0].code)
    };
    assert_eq!(paths(block, &Base::default(), &guard(&["new.py"])), Ok("new.py".into()));
    assert_eq!(paths(block, &one, &guard(&[])), Ok("only.py".into()));
    assert_eq!(paths("```diff\n@@\n-x = 1\n+x = 2\n```", &one, &guard(&[])), Ok("only.py".into()));
    assert_eq!(paths(block, &one, &guard(&["src/**"])), Err(Code::NoArtifact));
    assert_eq!(paths(block, &base(), &guard(&[])), Err(Code::NoArtifact));
    assert_eq!(paths(&block.repeat(2), &one, &guard(&[])), Err(Code::NoArtifact));
    assert_eq!(paths("```python\nx = 2", &one, &guard(&[])), Err(Code::Truncated));
}

#[test]
fn a_refusal_shows_the_author_the_real_lines_within_its_bounds() {
    let words = "### EDIT[k7f2q] src/a.py\n```\n<<<<<<< SEARCH\ndef f(y):\n    return y\n=======\nx\n>>>>>>> REPLACE\n\
                 <<<<<<< SEARCH\n    return x\n=======\nx\n>>>>>>> REPLACE\n```";
    let rejected = translate(words, NONCE, Wanted::Patch, &base(), &guard()).unwrap_err();
    let shown = rejected.to_string();
    for part in
        ["2 failed", "EDIT src/a.py, block 1: anchor_not_found", "block 2: anchor_ambiguous", "def f(x):", "5, 9"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(rejected.failures.iter().all(|it| it.excerpt.iter().map(|it| it.lines.len()).sum::<usize>() <= 12));
    let many = format!(
        "### EDIT[k7f2q] src/a.py\n```\n{}```",
        "<<<<<<< SEARCH\nreturn q\n=======\n>>>>>>> REPLACE\n".repeat(900)
    );
    let rejected = translate(&many, NONCE, Wanted::Patch, &base(), &guard()).unwrap_err();
    assert_eq!(rejected.failures.len(), 900);
    let shown = rejected.to_string();
    assert!(shown.len() <= 8 * 1024 && shown.ends_with(" more"), "{}", shown.len());
}
