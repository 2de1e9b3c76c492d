//! Random trees, changes of them, and the answers of a model that would make these changes.

use std::collections::BTreeMap;

use super::path;

/// The nonce of all stories.
pub(super) const NONCE: &str = "k7f2q";

/// A small seeded generator (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// What was there, what a model said, and what must come out of it.
pub(super) struct Story {
    pub(super) base: BTreeMap<String, String>,
    pub(super) words: String,
    /// `None` where the line ends of a mixed file depend on how lines are aligned.
    pub(super) expected: Option<BTreeMap<String, String>>,
}

const NAMES: [&str; 12] =
    ["a", "b c", "ü", "quo\"te", "x.py", "dir one", "deep", "m.md", "日本", "it's", "z`tick", "a -b"];
const LINES: [&str; 32] = [
    "```",
    "```python",
    "````",
    "~~~",
    "### FILE[zzzzz] x",
    "### DELETE b",
    "**EDIT a**",
    "<<<<<<< HEAD",
    "+added",
    "-removed",
    " blank in front",
    "@@ -1 +1 @@",
    "\\ No newline at end of file",
    "--- a/x",
    "+++ b/x",
    "diff --git a/x b/x",
    "",
    "",
    "    indented",
    "\ttab",
    "ends in blanks \t",
    "é 漢 🎉",
    "*** End Patch",
    "}",
    "}",
    "    return x",
    "-->",
    "<!-- moothall:artifact {} -->",
    "-- ",
    "\u{c}page",
    "    ",
    "...",
];

/// A file as lines, with one kind of line end for all or a mixture.
#[derive(Clone)]
struct File {
    lines: Vec<String>,
    ends: Vec<&'static str>,
    closed: bool,
}

impl File {
    fn render(&self) -> String {
        let mut text = String::new();
        for (place, line) in self.lines.iter().enumerate() {
            text.push_str(line);
            if self.closed || place + 1 < self.lines.len() {
                text.push_str(self.ends[place]);
            }
        }
        text
    }

    fn mixed(&self) -> bool {
        self.ends.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// The state of a story that is being told.
struct Teller<'r> {
    random: &'r mut Random,
    unique: usize,
    files: BTreeMap<String, File>,
    after: BTreeMap<String, File>,
    words: String,
    certain: bool,
}

/// A story whose paths all begin with `prefix`.
pub(super) fn story(random: &mut Random, prefix: &str) -> Story {
    let mut teller = Teller {
        random,
        unique: 0,
        files: BTreeMap::new(),
        after: BTreeMap::new(),
        words: String::new(),
        certain: true,
    };
    for _ in 0..=teller.random.below(5) {
        let path = teller.free_path(prefix);
        let file = teller.file();
        teller.files.insert(path.clone(), file.clone());
        teller.after.insert(path, file);
    }
    teller.words.push_str(teller.random.pick(&["", "I change this.\n\n", "Plan:\n```sh\nls\n```\n", "A <b> -->\n"]));
    let opening = teller.words.len();
    let mut paths: Vec<String> = teller.files.keys().cloned().collect();
    for _ in 0..=teller.random.below(4) {
        match (teller.random.below(10), paths.pop()) {
            (0..2, _) | (_, None) => teller.add(prefix),
            (2, Some(path)) => teller.delete(&path),
            (3, Some(path)) => teller.rename(prefix, path),
            (4..6, Some(path)) => teller.whole(&path),
            (_, Some(path)) => teller.edit(&path),
        }
    }
    if teller.random.chance(40) {
        teller.words.push_str(&format!("### NOTES[{NONCE}]\nnot tested\n```\nx\n```\n"));
    }
    let render =
        |files: &BTreeMap<String, File>| files.iter().map(|(path, file)| (path.clone(), file.render())).collect();
    // Without an operation a block of the opening is the lone one, and thereby the file if there is only one.
    let certain = teller.certain && teller.words.len() > opening;
    let expected = certain.then(|| render(&teller.after));
    Story { base: render(&teller.files), words: teller.words, expected }
}

impl Teller<'_> {
    fn line(&mut self) -> String {
        match self.random.below(10) {
            0..4 => self.random.pick(&LINES).to_owned(),
            4 => format!("    line {}", self.random.below(30)),
            5 if self.random.chance(5) => "=======".to_owned(),
            _ => {
                self.unique += 1;
                let indent = self.random.pick(&["", "", "    ", "        "]);
                format!("{indent}unique {}", self.unique)
            }
        }
    }

    fn lines(&mut self, most: usize) -> Vec<String> {
        (0..self.random.below(most + 1)).map(|_| self.line()).collect()
    }

    fn file(&mut self) -> File {
        let lines = self.lines(30);
        let style = self.random.below(10);
        let end = |random: &mut Random| if style < 6 || style == 9 && random.chance(50) { "\n" } else { "\r\n" };
        let mut ends: Vec<&str> = lines.iter().map(|_| end(self.random)).collect();
        // A last line without text has no end only if it is no line.
        let closed = lines.last().is_none_or(|last| last.is_empty()) || self.random.chance(75);
        if !closed && lines.len() == 1 {
            // Nothing shows which line end the file would have.
            ends = vec!["\n"];
        }
        File { lines, ends, closed }
    }

    /// A path that clashes with nothing of this story.
    fn free_path(&mut self, prefix: &str) -> String {
        loop {
            let parts: Vec<&str> = (0..=self.random.below(3)).map(|_| self.random.pick(&NAMES)).collect();
            let path = format!("{prefix}{}", parts.join("/"));
            let taken = self.files.keys().chain(self.after.keys()).map(String::as_str);
            if self.files.contains_key(&path) || self.after.contains_key(&path) {
                continue;
            }
            if path::clashes(taken.chain([path.as_str()])).is_empty() {
                return path;
            }
            self.unique += 1;
            let path = format!("{prefix}n{}", self.unique);
            if !self.files.contains_key(&path) {
                return path;
            }
        }
    }

    fn header(&mut self, verb: &str, rest: &str) {
        let plain = !rest.contains('`');
        let header = match self.random.below(5) {
            0 if plain => format!("### {verb}[{NONCE}] `{rest}`"),
            1 if plain => format!("**{verb}[{NONCE}] {rest}**"),
            2 if plain => format!("## `{verb}[{NONCE}]` {rest}"),
            3 => format!("### {verb}[{NONCE}]: {rest}"),
            _ => format!("### {verb}[{NONCE}] {rest}"),
        };
        self.words.push_str(&format!("{header}\n"));
    }

    fn body(&mut self, lines: &[String]) {
        let fence = self.random.pick(&["```", "````", "~~~"]);
        let gap = self.random.pick(&["", "", "\nSo it is:\n"]);
        let info = self.random.pick(&["", "python", "text"]);
        self.words.push_str(&format!("{gap}{fence}{info}\n"));
        for line in lines {
            self.words.push_str(&format!("{line}\n"));
        }
        self.words.push_str(&format!("{fence}\n{}", self.random.pick(&["", "\n", "That was it.\n"])));
    }

    fn add(&mut self, prefix: &str) {
        let path = self.free_path(prefix);
        let lines = self.lines(20);
        self.header("FILE", &path);
        self.body(&lines);
        let ends = vec!["\n"; lines.len()];
        self.after.insert(path, File { lines, ends, closed: true });
    }

    fn delete(&mut self, path: &str) {
        self.header("DELETE", path);
        self.after.remove(path);
    }

    fn rename(&mut self, prefix: &str, path: String) {
        let to = self.free_path(prefix);
        self.words.push_str(&format!("### MOVE[{NONCE}] {path} -> {to}\n"));
        if let Some(file) = self.after.remove(&path) {
            self.after.insert(to.clone(), file);
        }
        if self.random.chance(50) {
            self.edit(&to);
        }
    }

    fn whole(&mut self, path: &str) {
        let Some(before) = self.after.get(path).cloned() else { return };
        let mut lines = self.lines(20);
        lines.push(self.line());
        self.unique += 1;
        lines.push(format!("whole {}", self.unique));
        self.header("FILE", path);
        self.body(&lines);
        self.certain &= !before.mixed();
        let ends = vec![before.ends.first().copied().unwrap_or("\n"); lines.len()];
        self.after.insert(path.to_owned(), File { lines, ends, closed: before.closed || before.lines.is_empty() });
    }

    fn edit(&mut self, path: &str) {
        let Some(before) = self.after.get(path).cloned() else { return };
        if before.lines.is_empty() {
            return;
        }
        self.certain &= !before.mixed();
        let hunks = self.random.chance(40);
        let (mut body, mut after, mut at) = (Vec::new(), Vec::new(), 0);
        for _ in 0..=self.random.below(3) {
            let start = at + self.random.below(before.lines.len() + 1 - at);
            let end = (start + 1 + self.random.below(6)).min(before.lines.len());
            if start >= end {
                break;
            }
            after.extend_from_slice(&before.lines[at..start]);
            let new = self.swap(&before.lines[start..end], hunks, &mut body);
            after.extend(new);
            at = end;
        }
        after.extend_from_slice(&before.lines[at..]);
        let ends = vec![before.ends[0]; after.len()];
        self.header("EDIT", path);
        if hunks && self.random.chance(30) {
            body.insert(0, format!("*** Update File: {path}"));
            body.insert(0, "*** Begin Patch".into());
            body.push("*** End Patch".into());
        }
        self.body(&body);
        self.after.insert(path.to_owned(), File { lines: after, ends, closed: before.closed });
    }

    /// Writes one block that changes `old`, in one of the three grades; the new lines.
    fn swap(&mut self, old: &[String], hunks: bool, body: &mut Vec<String>) -> Vec<String> {
        let (grade, mut written, mut new) = (self.random.below(10), Vec::new(), Vec::new());
        let disturbed = |line: &str| match grade {
            8 => format!("{line}  "),
            9 if !line.trim().is_empty() => format!("\t{line}"),
            _ => line.to_owned(),
        };
        let fresh = |line: &str| if grade == 9 { disturbed(line) } else { line.to_owned() };
        for line in old {
            if self.random.chance(60) {
                written.push((' ', disturbed(line)));
                new.push(line.clone());
            } else {
                written.push(('-', disturbed(line)));
            }
            if self.random.chance(40) {
                let line = self.line();
                let line = if line.trim().is_empty() { String::new() } else { line };
                written.push(('+', fresh(&line)));
                new.push(line);
            }
        }
        if hunks {
            body.push(self.random.pick(&["@@", "@@ -7,3 +9 @@ def f", "@@ -1 +1 @@"]).to_owned());
            body.extend(written.iter().map(|(sign, line)| format!("{sign}{line}")));
            return new;
        }
        let side =
            |sign: char| written.iter().filter(move |(it, _)| *it == ' ' || *it == sign).map(|(_, line)| line.clone());
        body.push("<<<<<<< SEARCH".into());
        body.extend(side('-'));
        body.push("=======".into());
        body.extend(side('+'));
        body.push(">>>>>>> REPLACE".into());
        new
    }
}
