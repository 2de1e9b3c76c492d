//! What is refused, and what is not shown.

use super::*;

fn settings(change: impl FnOnce(&mut Settings)) -> Result<(), SettingsError> {
    let mut settings = Settings::new(vec!["nats://127.0.0.1:4222".into()], "store-1", Start::All);
    change(&mut settings);
    settings.check()
}

#[test]
fn what_cannot_work_is_refused() {
    assert_eq!(settings(|_| {}), Ok(()));
    assert_eq!(settings(|s| s.servers.clear()), Err(SettingsError::NoServer));
    assert_eq!(settings(|s| s.instance = "a.b".into()), Err(SettingsError::Instance("a.b".into())));
    assert_eq!(settings(|s| s.instance.clear()), Err(SettingsError::Instance(String::new())));
    assert_eq!(settings(|s| s.publish.in_flight = 0), Err(SettingsError::Zero("publish.in_flight")));
    // A wait of nothing would be a loop without one.
    let zero = std::time::Duration::ZERO;
    assert_eq!(settings(|s| s.publish.retry.first = zero), Err(SettingsError::Zero("publish.retry.first")));
}

#[test]
fn a_bad_address_is_shown_without_its_password() {
    let error = settings(|s| s.servers = vec!["ftp://me:secret@host".into()]).unwrap_err().to_string();
    assert!(error.contains("ftp://host") && !error.contains("secret"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let auth = Auth::User { user: "me".into(), password: "secret".into() };
    assert_eq!(format!("{auth:?} {:?}", Auth::Token("secret".into())), "User(me) Token");
    let settings = Settings::new(vec!["nats://me:secret@host:4222".into()], "one", Start::All);
    let shown = format!("{settings:?}");
    assert!(shown.contains("nats://host:4222") && !shown.contains("secret"), "{shown}");
}

#[test]
fn a_start_is_a_word_or_a_time() {
    let first = Timestamp::from_second(5).unwrap();
    assert_eq!(Start::parse("first_start", first), Ok(Start::At(first)));
    assert_eq!(Start::parse("all", first), Ok(Start::All));
    let time = "2026-01-02T03:04:05+02:00";
    assert_eq!(Start::parse(time, first), Ok(Start::At("2026-01-02T01:04:05Z".parse().unwrap())));
    assert_eq!(Start::parse("today", first), Err(SettingsError::Start("today".into())));
}
