//! The id of a call as its header says it: `<task>/<run>/<stage>-<round>/<seat>`.

use std::borrow::Cow;

use moothall_actors::domain::id::Stage;
use percent_encoding::percent_decode_str;

/// What the simulator needs of it. Task and seat may hold slashes themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallName<'a> {
    pub(crate) stage: Stage,
    pub(crate) round: u8,
    /// Without the mark of a second ask.
    pub(crate) seat: &'a str,
}

/// The header's text as it was before it was encoded for it.
pub(crate) fn decoded(header: &str) -> Cow<'_, str> {
    percent_decode_str(header).decode_utf8_lossy()
}

impl<'a> CallName<'a> {
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let ends = id.match_indices('/').map(|(end, _)| end);
        let (stage, round, after) =
            ends.filter_map(|end| wave(&id[..end]).map(|(stage, round)| (stage, round, end + 1))).next_back()?;
        let seat = &id[after..];
        let seat = match seat.rsplit_once('~') {
            Some((seat, ask)) if ask.parse::<u8>().is_ok() => seat,
            _ => seat,
        };
        Some(Self { stage, round, seat })
    }
}

/// The wave at the end of `path`.
fn wave(path: &str) -> Option<(Stage, u8)> {
    let (_, last) = path.rsplit_once('/')?;
    let (stage, round) = last.split_once('-')?;
    let stages = [Stage::Propose, Stage::Critique, Stage::Revise, Stage::Score, Stage::Select];
    let stage = stages.into_iter().find(|known| known.as_str() == stage)?;
    Some((stage, round.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_from_its_id() {
        let name = |id| CallName::parse(id).map(|name| (name.stage, name.round, name.seat));
        assert_eq!(name("t-1/1/propose-0/agent-dev-001"), Some((Stage::Propose, 0, "agent-dev-001")));
        assert_eq!(name("a/b/2/critique-3/x~2"), Some((Stage::Critique, 3, "x")));
        assert_eq!(name("t/1/revise-1/team/a"), Some((Stage::Revise, 1, "team/a")));
        assert_eq!(name("t/1/sing-1/a"), None);
        assert_eq!(name("nonsense"), None);
        assert_eq!(decoded("gr%C3%BC%C3%9F%20100%25"), "grüß 100%");
    }
}
