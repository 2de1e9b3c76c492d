//! Texts that fit any task: for benches, where the size and form of an answer matter, and for prose.

use moothall_actors::domain::id::Stage;

/// So many authors differ; texts of others repeat.
pub(crate) const VARIANTS: usize = 8;

/// The words that a variant is made of, so that no two texts are equal.
const NAMES: [&str; VARIANTS] = ["alpha", "beta", "gamma", "delta", "kappa", "lambda", "sigma", "omega"];

/// Which variant a seat gets.
pub(crate) fn variant(seat: &str) -> usize {
    let digits: usize = seat.bytes().rev().take_while(u8::is_ascii_digit).map(|digit| usize::from(digit - b'0')).sum();
    if digits > 0 { digits % VARIANTS } else { seat.bytes().map(usize::from).sum::<usize>() % VARIANTS }
}

/// A valid ballot of a judge who never reads: the second ballot, in reverse, shows it, and the score decides.
const FIRST_OF_THE_LIST: &str =
    r#"{"ranking": [{"candidate": "A", "reason": "It says what it promises and keeps it."}]}"#;

/// About 1 KB with one block of about 600 bytes of Python, a well-formed critique, or a ballot.
pub(crate) fn bench(stage: Stage, variant: usize) -> String {
    match stage {
        Stage::Propose => proposal(variant, "The first version"),
        Stage::Revise => proposal(variant, "The revised version, with the findings settled,"),
        Stage::Critique => critique(variant),
        Stage::Select => FIRST_OF_THE_LIST.to_owned(),
        Stage::Score => prose(stage, variant),
    }
}

fn proposal(variant: usize, opening: &str) -> String {
    let name = NAMES[variant % VARIANTS];
    format!(
        r#"{opening} keeps parsing and meaning apart: one pass splits the text into fields, a second one
gives each field its type, and whatever does not fit is reported with its line. Nothing is guessed, and an empty text is
an error of its own.

```python
"""Reads {name} records, one per line."""


class RecordError(ValueError):
    """A line that is no record."""


def parse_{name}(text):
    """Return a list of (key, value) pairs; blank lines are skipped."""
    records = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        key, found, value = line.partition("=")
        if not found or not key.strip():
            raise RecordError(f"line {{number}}: expected key=value")
        records.append((key.strip(), value.strip()))
    if not records:
        raise RecordError("no records")
    return records
```

It runs in time linear in the text and holds one line at a time besides its result. Duplicate keys are kept in order,
since the caller knows best which one counts.
"#
    )
}

fn critique(variant: usize) -> String {
    let rating = 5 + variant % 4;
    serde_json::json!({
        "summary": "Sound on the whole; the edges of the input need more care before this can be used by others.",
        "findings": [
            {
                "claim": "A value that holds the separator itself is kept whole, but no test or sentence says so.",
                "location": format!("parse_{}", NAMES[variant % VARIANTS]),
                "evidence": "partition splits at the first sign only, so a=b=c gives the value b=c without a word.",
                "severity": "minor"
            },
            {
                "claim": "The error names the line but not what stands in it, which makes long files hard to mend.",
                "location": "RecordError",
                "evidence": "expected key=value is all that a user sees for a line of any length.",
                "severity": "nit"
            },
            {
                "claim": "Nothing bounds the number of records, so a file of any size is held in memory as a list.",
                "location": "records",
                "evidence": "A generator would give the first record after one line instead of after the last.",
                "severity": "minor"
            }
        ],
        "ratings": [
            {"requirement": 0, "rating": rating, "reason": "It does what was asked; the edges are not all described."}
        ]
    })
    .to_string()
}

/// Plain sentences.
pub(crate) fn prose(stage: Stage, variant: usize) -> String {
    let name = NAMES[variant % VARIANTS];
    let text = match stage {
        Stage::Propose => {
            "I would begin with the smallest thing that works and write down what it promises. Input is checked where \
             it enters, an error names what was wrong, and nothing is done twice."
        }
        Stage::Critique => {
            "The idea holds. What I miss is what happens at the edges: an empty input, one that is far too long, and \
             one that comes twice. I would rate it seven of ten."
        }
        Stage::Revise => {
            "I took up the remarks. Empty input is refused with a reason, the length is bounded, and a repeated input \
             gives the same answer as the first."
        }
        Stage::Score => "All in all seven of ten: right in the main, thin at the edges.",
        Stage::Select => "The first one, since it says what it promises and keeps it.",
    };
    format!("{text} This is what I call the {name} way.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_proposal_is_one_kilobyte_with_one_block_of_python() {
        for variant in 0..VARIANTS {
            for stage in [Stage::Propose, Stage::Revise] {
                let text = bench(stage, variant);
                assert!((1000..1300).contains(&text.len()), "{}", text.len());
                assert_eq!(text.matches("```").count(), 2);
                let block = text.split("```").nth(1).unwrap();
                assert!((560..720).contains(&block.len()), "{}", block.len());
            }
        }
    }

    #[test]
    fn a_bench_critique_is_well_formed() {
        let critique: serde_json::Value = serde_json::from_str(&bench(Stage::Critique, 3)).unwrap();
        assert_eq!(critique["findings"][0]["severity"], "minor");
        assert!(critique["ratings"][0]["rating"].as_f64().is_some_and(|rating| rating <= 10.0));
        assert!((900..1200).contains(&bench(Stage::Critique, 3).len()));
    }

    #[test]
    fn seats_of_one_council_differ() {
        let variants: std::collections::BTreeSet<_> =
            (1..=3).map(|seat| variant(&format!("agent-dev-{seat:03}"))).collect();
        assert_eq!(variants.len(), 3);
    }
}
