//! Answers that are made to be slow, to be big, or that are simply noise: no panic, and an end in good time.

use std::time::{Duration, Instant};

use super::story::{NONCE, Random, story};
use super::{Artifact, Base, Guard, Wanted, lone_block, translate};

/// Generous: the tests run unoptimised on busy machines.
const LIMIT: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods, reason = "measures real work; nothing here waits on a clock")]
fn now() -> Instant {
    Instant::now()
}

fn base(files: impl IntoIterator<Item = (String, String)>) -> Base {
    Base::new(files).unwrap()
}

#[test]
fn noise_and_mutated_answers_never_panic() {
    const TOKENS: [&str; 16] = [
        "```",
        "\n",
        "\r\n",
        "<<<<<<< SEARCH\n",
        "\n=======\n",
        ">>>>>>> REPLACE\n",
        "### EDIT[k7f2q] c/a\n",
        "[k7f2q]",
        "@@",
        "*** Begin Patch\n",
        "*** Update File: ",
        "é",
        "`",
        " -> ",
        "\u{feff}",
        "\0",
    ];
    let mut random = Random(99);
    let count: usize = std::env::var("MOOTHALL_ARTIFACT_NOISE").ok().and_then(|it| it.parse().ok()).unwrap_or(400);
    println!("{count} answers, seed 99");
    let (mut taken, started) = (0, now());
    for _ in 0..count {
        let told = story(&mut random, "c/");
        let mut words = if random.chance(90) { told.words } else { String::new() };
        for _ in 0..=random.below(6) {
            let at = words.floor_char_boundary(random.below(words.len() + 1));
            let end = words.floor_char_boundary((at + random.below(40)).min(words.len())).max(at);
            match random.below(4) {
                0 => words.truncate(at),
                1 => drop(words.drain(at..end)),
                2 => words.replace_range(at..at, &words[at..end].repeat(2)),
                _ => words.insert_str(at, random.pick(&TOKENS)),
            }
        }
        let carried = base(told.base);
        assert!(lone_block(&words).is_none_or(|(language, _)| !language.is_empty()));
        if let Ok(artifact) = translate(&words, NONCE, Wanted::Patch, &carried, &Guard::default()) {
            taken += 1;
            assert!(artifact.apply(&carried).is_ok(), "{words}");
            let text = artifact.canonical();
            assert_eq!(Artifact::read(&text).as_ref(), Some(&artifact), "{words}");
            let cut = text.floor_char_boundary(random.below(text.len()));
            assert_eq!(Artifact::read(&text[..cut]), None);
        }
    }
    let bytes: String = (0..20_000).map(|_| char::from((random.next() % 128) as u8)).collect();
    assert!(translate(&bytes, NONCE, Wanted::Patch, &Base::default(), &Guard::default()).is_err());
    println!("{taken} taken in {:?}", started.elapsed());
    assert!(taken * 10 > count, "{taken} of {count}");
}

#[test]
fn a_mebibyte_made_to_be_slow_ends_in_good_time() {
    let fill = |part: &str| part.repeat((1 << 20) / part.len());
    let edit = |path: &str, body: &str| format!("### EDIT[{NONCE}] {path}\n```\n{body}```\n");
    let block = |old: &str, new: &str| format!("<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n");
    let flip = (0..480).map(|it| {
        let (from, to) = if it % 2 == 0 { ("f", "g") } else { ("g", "f") };
        format!(
            "### MOVE[{NONCE}] {from} -> {to}\n{}",
            edit(to, &block(&format!("end {it}\n"), &format!("end {}\n", it + 1)))
        )
    });
    let answers = [
        ("fences", fill("```\n")),
        ("opened fences", fill("```a\n")),
        ("headers", fill(&format!("### FILE[{NONCE}] a\n"))),
        ("headers without a nonce", fill("### FILE a\n```\n")),
        ("moves with arrows", format!("### MOVE[{NONCE}] {}", fill("a -> "))),
        ("one long line", fill("#")),
        ("one long path", format!("### FILE[{NONCE}] {}\n```\n```", fill("a/"))),
        ("back-ticks", format!("### FILE[{NONCE}] {}", fill("`a"))),
        ("small blocks", edit("f", &fill(&block("a\n", "b\n")))),
        ("blocks within the bound", edit("f", &block("a\na\na\nb\n", "b\n").repeat(1_999))),
        ("dividers", edit("f", &block(&fill("=======\n"), ""))),
        ("a long anchor", edit("f", &block(&format!("{}b\n", "a\n".repeat(100_000)), "b\n"))),
        ("a long shifted anchor", edit("f", &block(&format!("{}\tb\n", "\ta\n".repeat(60_000)), "b\n"))),
        ("white space", edit("f", &block(&fill(" \n"), "b\n"))),
        ("hunks", edit("f", &fill("@@\n-a\n+b\n"))),
        ("another file", format!("### FILE[{NONCE}] f\n```\n{}```\n", "b\nc\n".repeat(130_000))),
        ("a file of nothing in order", format!("### FILE[{NONCE}] f\n```\n{}```\n", "a\nb\n".repeat(130_000))),
        ("placeholders", (0..900).map(|it| format!("### FILE[{NONCE}] n{it}\n```\n# ...\n```\n")).collect()),
        ("back and forth", flip.collect()),
    ];
    let carried = base([("f".to_owned(), format!("{}end 0\n", "a\n".repeat(120_000)))]);
    for (what, words) in answers {
        let started = now();
        let outcome = translate(&words, NONCE, Wanted::Patch, &carried, &Guard::default());
        let took = started.elapsed();
        let told = outcome.as_ref().map(|it| it.diff.len()).map_err(|it| it.failures[0].code);
        println!("{took:>10.1?} {what} ({} bytes): {told:?}", words.len());
        assert!(took < LIMIT, "{what}: {took:?}");
        if let Err(rejected) = outcome {
            assert!(rejected.to_string().len() <= 8 * 1024, "{what}");
        }
    }
}

#[test]
fn hostile_canonical_texts_are_read_in_good_time() {
    let started = now();
    let fences = format!("{}```\n<!-- moothall:artifact {{\"v\":1}} -->", "```diff\n".repeat(200_000));
    assert_eq!(Artifact::read(&fences), None);
    let deep = format!("```diff\n```\n<!-- moothall:artifact {} -->", "[".repeat(1 << 20));
    assert_eq!(Artifact::read(&deep), None);
    assert!(started.elapsed() < LIMIT);
}
