//! SEARCH/REPLACE blocks.

use super::body::{Block, Swap, Unreadable, bare};
use super::bounds;
use super::failure::Code;

/// Whether a line begins a block.
pub(super) fn opens(line: &str) -> bool {
    is_marker(line, '<', "SEARCH")
}

fn closes(line: &str) -> bool {
    is_marker(line, '>', "REPLACE")
}

/// Models miscount the signs of a marker by one or two.
fn is_marker(line: &str, sign: char, word: &str) -> bool {
    let line = line.trim_end();
    let rest = line.trim_start_matches(sign);
    (5..=9).contains(&(line.len() - rest.len())) && rest.trim_start().eq_ignore_ascii_case(word)
}

/// Lines of exactly seven equal signs, else of about seven.
fn dividers(lines: &[&str]) -> Vec<usize> {
    let signs = |line: &str| {
        let line = line.trim_end();
        line.bytes().all(|it| it == b'=').then_some(line.len())
    };
    let with = |counts: std::ops::RangeInclusive<usize>| -> Vec<usize> {
        let hit = |(place, line): (usize, &&str)| signs(line).filter(|it| counts.contains(it)).map(|_| place);
        lines.iter().enumerate().filter_map(hit).collect()
    };
    let exact = with(7..=7);
    if exact.is_empty() { with(5..=9) } else { exact }
}

/// All blocks of a body; what stands between them is prose.
pub(super) fn blocks<'a>(body: &[&'a str]) -> Result<Vec<Block<'a>>, Unreadable> {
    let cut = |message| Unreadable::new(Code::TruncatedEdit, message);
    let (mut found, mut open) = (Vec::new(), None);
    for (place, line) in body.iter().enumerate() {
        match (opens(line), closes(line), open) {
            (true, _, None) => open = Some(place + 1),
            (true, _, Some(_)) => return Err(cut("a SEARCH begins before the block above has its REPLACE line")),
            (_, true, None) => return Err(cut("a REPLACE line ends no block")),
            (_, true, Some(start)) => {
                found.push(block(&body[start..place])?);
                open = None;
            }
            (false, false, _) => {}
        }
    }
    match open {
        Some(_) => Err(cut("the last block has no REPLACE line")),
        None => Ok(found),
    }
}

fn block<'a>(lines: &[&'a str]) -> Result<Block<'a>, Unreadable> {
    let dividers = dividers(lines);
    if dividers.is_empty() {
        return Err(Unreadable::new(Code::TruncatedEdit, "a block has no line ======= between old and new"));
    }
    if dividers.len() > bounds::READINGS {
        return Err(Unreadable::new(Code::AnchorAmbiguous, "a block has more than 8 lines =======; use @@ hunks"));
    }
    let side = |part: &[&'a str]| part.iter().map(|line| bare(line)).collect();
    let reading = |at: &usize| Swap { old: side(&lines[..*at]), new: side(&lines[at + 1..]) };
    Ok(Block { readings: dividers.iter().map(reading).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Block<'static>>, Code> {
        let body: &'static str = Box::leak(body.into());
        blocks(&body.lines().collect::<Vec<_>>()).map_err(|it| it.code)
    }

    #[test]
    fn blocks_are_read_with_prose_between_them_and_miscounted_markers() {
        let body =
            "first:\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\nthen\n<<<<<< search\nc\n======\n>>>>>>>> REPLACE";
        let found = read(body).unwrap();
        assert_eq!(found[0].readings, [Swap { old: vec!["a"], new: vec!["b"] }]);
        assert_eq!(found[1].readings, [Swap { old: vec!["c"], new: vec![] }]);
    }

    #[test]
    fn a_divider_in_the_text_makes_a_second_reading() {
        let found = read("<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE").unwrap();
        assert_eq!(found[0].readings.len(), 2);
        assert_eq!(found[0].readings[1], Swap { old: vec!["a", "=======", "b"], new: vec!["c"] });
    }

    #[test]
    fn unfinished_blocks_are_truncated() {
        for body in [
            "<<<<<<< SEARCH\na\n=======\nb",
            "<<<<<<< SEARCH\na\n>>>>>>> REPLACE",
            "<<<<<<< SEARCH\na\n<<<<<<< SEARCH\na\n=======\n>>>>>>> REPLACE",
            "<<<<<<< SEARCH\na\n=======\n>>>>>>> REPLACE\nb\n>>>>>>> REPLACE",
        ] {
            assert_eq!(read(body), Err(Code::TruncatedEdit), "{body}");
        }
        let many = format!("<<<<<<< SEARCH\n{}>>>>>>> REPLACE", "=======\n".repeat(9));
        assert_eq!(read(&many), Err(Code::AnchorAmbiguous));
    }
}
