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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_word_and_number() {
        for row in WORDS {
            assert_eq!((word(row.0), wire(row.0)), (row.1, row.2));
        }
    }
}
