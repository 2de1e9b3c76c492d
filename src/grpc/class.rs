//! Failure classes as words and as wire enums.

use moothall_actors::domain::answer::Class;

use super::proto::moothall::v1::ErrorClass;

const WORDS: [(Class, &str, ErrorClass); 7] = [
    (Class::Transient, "transient", ErrorClass::Transient),
    (Class::Busy, "busy", ErrorClass::Busy),
    (Class::Invalid, "invalid", ErrorClass::Invalid),
    (Class::Refused, "refused", ErrorClass::Refused),
    (Class::TimedOut, "timed_out", ErrorClass::TimedOut),
    (Class::Gone, "gone", ErrorClass::Gone),
    (Class::Internal, "internal", ErrorClass::Internal),
];

pub(super) fn word(class: Class) -> &'static str {
    WORDS.iter().find(|row| row.0 == class).map_or("internal", |row| row.1)
}

pub(super) fn wire(class: Class) -> ErrorClass {
    WORDS.iter().find(|row| row.0 == class).map_or(ErrorClass::Internal, |row| row.2)
}

/// A stored error begins with its class: `timed_out: no answer in time`.
pub(super) fn split(stored: &str) -> (ErrorClass, &str) {
    let end = stored.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(stored.len());
    match WORDS.iter().find(|row| row.1 == &stored[..end]) {
        Some(row) => (row.2, stored[end..].trim_start_matches([':', ' '])),
        None => (ErrorClass::Unspecified, stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_error_is_split_into_class_and_message() {
        assert_eq!(split("timed_out: no answer"), (ErrorClass::TimedOut, "no answer"));
        assert_eq!(split("transient no answer"), (ErrorClass::Transient, "no answer"));
        assert_eq!(split("busybody left"), (ErrorClass::Unspecified, "busybody left"));
        assert_eq!(split("by request"), (ErrorClass::Unspecified, "by request"));
        assert_eq!(split(""), (ErrorClass::Unspecified, ""));
    }

    #[test]
    fn every_class_has_its_own_word_and_number() {
        for row in WORDS {
            assert_eq!((word(row.0), wire(row.0)), (row.1, row.2));
            assert_eq!(split(row.1).0, row.2);
        }
    }
}
