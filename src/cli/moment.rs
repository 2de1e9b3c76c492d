//! Points in time as people type them: as such, or as how long ago.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is allowed, for messages.
const RULE: &str = "must be a time such as 2026-11-22T07:30:00Z, or how long ago, such as 45s, 15m, 2h or 3d";

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    Ago(Duration),
}

impl Moment {
    /// RFC 3339, UTC where it names no offset; or what [`age`] takes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(age) = age(text) {
            return Ok(Self::Ago(age));
        }
        let time = prost_types::Timestamp::from_str(text).map_err(|_| RULE.to_owned())?;
        let millis =
            time.seconds.checked_mul(1_000).and_then(|millis| millis.checked_add(i64::from(time.nanos) / 1_000_000));
        // 0 would mean no time at all.
        millis.filter(|millis| *millis > 0).map(Self::At).ok_or_else(|| format!("{RULE}; not before 1970"))
    }

    /// Since 1970, at least 1.
    pub(crate) fn millis(self) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::Ago(age) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX).max(1)
            }
        }
    }
}

/// Whole days, hours, minutes or seconds.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a whole number and d, h, m or s, such as 30d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(["0d", "2h", "3m", "4s"].map(|text| age(text).unwrap().as_secs()), [0, 7_200, 180, 4]);
        for wrong in ["", "d", "30", "-1d", "1.5h", "1w", "9999999999d", "1ä"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        let at = |text: &str| Moment::parse(text).map(Moment::millis);
        let utc = 1_795_246_200_000;
        for text in ["2026-11-21T07:30:00Z", "2026-11-21 07:30:00", "2026-11-21T09:30:00+02:00"] {
            assert_eq!(at(text), Ok(utc), "{text}");
        }
        assert_eq!(at("2026-11-21T07:30:00.123Z"), Ok(utc + 123));
        assert_eq!(at("2026-11-21"), Ok(utc - 27_000_000));
        assert_eq!(Moment::parse("15m"), Ok(Moment::Ago(Duration::from_secs(900))));
        assert!(Moment::Ago(Duration::from_secs(10)).millis() < Moment::Ago(Duration::ZERO).millis());
        assert_eq!(Moment::Ago(Duration::MAX).millis(), 1);
        for wrong in ["", "now", "yesterday", "12", "2026-13-01", "2026-11-21T25:00:00Z", "15 m", "1w", "ü"] {
            assert_eq!(Moment::parse(wrong), Err(RULE.to_owned()), "{wrong}");
        }
        assert!(Moment::parse("1969-12-31T23:59:59Z").unwrap_err().ends_with("not before 1970"));
    }
}
