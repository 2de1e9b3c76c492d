//! One value: made to fit the type of its default, and shown without its secrets.

use toml::{Table, Value};
use url::Url;

use super::secret::HIDDEN;

/// Longest value that a problem quotes, in characters.
const MOST_SHOWN: usize = 80;

/// Takes a file's value if it has the default's type, a whole number for a fraction and one text for a list included.
pub(super) fn fit(default: &Value, given: Value) -> Result<Value, &'static str> {
    match (default, given) {
        (Value::Float(_), Value::Integer(number)) => Ok(Value::Float(number as f64)),
        (Value::Array(_), Value::String(text)) => Ok(list(&text)),
        (Value::Array(_), Value::Array(items)) if !items.iter().all(Value::is_str) => Err(wanted(default)),
        (default, given) if default.same_type(&given) => Ok(given),
        _ => Err(wanted(default)),
    }
}

/// Reads the text of a flag or variable as the default's type.
pub(super) fn read(default: &Value, text: &str) -> Result<Value, &'static str> {
    let read = match default {
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => truth(text).map(Value::Boolean),
        Value::Array(_) => Some(list(text)),
        Value::Table(_) => table(text).map(Value::Table),
        _ => Some(Value::String(text.to_owned())),
    };
    read.ok_or(wanted(default))
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Value {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

/// JSON, as people write it into variables, or a TOML inline table.
fn table(text: &str) -> Option<Table> {
    if let Ok(table) = serde_json::from_str(text) {
        return Some(table);
    }
    let wrapped: Table = toml::from_str(&format!("table = {text}")).ok()?;
    wrapped.get("table")?.as_table().cloned()
}

fn wanted(default: &Value) -> &'static str {
    match default {
        Value::Integer(_) => "must be a whole number",
        Value::Float(_) => "must be a number",
        Value::Boolean(_) => "must be true or false",
        Value::Array(_) => "must be a list of texts",
        Value::Table(_) => "must be a table",
        _ => "must be a text",
    }
}

/// The value with everything secret replaced: keys by name, and users and passwords in addresses.
pub(super) fn hide(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if is_secret(name) && !text.is_empty() => Value::String(HIDDEN.to_owned()),
        Value::String(text) => Value::String(hide_in_address(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| hide(name, item)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(name, value)| (name.clone(), hide(name, value))).collect())
        }
        _ if is_secret(name) => Value::String(HIDDEN.to_owned()),
        other => other.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "secret", "password", "authorization"].iter().any(|word| name.ends_with(word)) || name.ends_with("_token")
}

fn hide_in_address(text: &str) -> String {
    if !text.contains('@') || !text.contains("://") {
        return text.to_owned();
    }
    let Ok(mut address) = Url::parse(text) else {
        return HIDDEN.to_owned();
    };
    let hidden = match (address.username(), address.password()) {
        ("", None) => Ok(()),
        (_, Some(_)) => address.set_password(Some(HIDDEN)),
        (_, None) => address.set_username(HIDDEN),
    };
    if hidden.is_ok() { address.to_string() } else { HIDDEN.to_owned() }
}

/// The value as a problem quotes it; tables hold what only their owner knows and are not quoted.
pub(super) fn quote(key: &str, value: &Value) -> Option<String> {
    if value.is_table() {
        return None;
    }
    let text = hide(key, value).to_string();
    let cut: String = text.chars().take(MOST_SHOWN).collect();
    Some(if cut.len() < text.len() { format!("{cut}…") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_the_type_of_the_default() {
        assert_eq!(read(&Value::Integer(1), " 7 "), Ok(Value::Integer(7)));
        assert_eq!(read(&Value::Float(1.0), "300"), Ok(Value::Float(300.0)));
        assert_eq!(read(&Value::Boolean(true), "Off"), Ok(Value::Boolean(false)));
        assert_eq!(read(&Value::Boolean(true), "maybe"), Err("must be true or false"));
        let list = read(&Value::Array(vec![]), "a, b,").unwrap();
        assert_eq!(list.to_string(), r#"["a", "b"]"#);
        let table = Value::Table(Table::new());
        assert_eq!(read(&table, r#"{"a": {"b": 1}}"#), read(&table, "{ a = { b = 1 } }"));
    }

    #[test]
    fn a_files_value_must_have_the_type_of_the_default() {
        assert_eq!(fit(&Value::Float(1.0), Value::Integer(2)), Ok(Value::Float(2.0)));
        assert!(fit(&Value::Integer(1), Value::Float(2.0)).is_err());
        assert!(fit(&Value::Array(vec![]), Value::Array(vec![Value::Integer(1)])).is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = |key: &str, text: &str| quote(key, &Value::String(text.to_owned())).unwrap();
        assert_eq!(shown("api_key", "sk-123"), r#""***""#);
        assert_eq!(shown("api_key", ""), r#""""#);
        assert_eq!(shown("url", "nats://joe:pw@host:4222"), r#""nats://joe:***@host:4222""#);
        assert_eq!(shown("url", "nats://token@host:4222"), r#""nats://***@host:4222""#);
        assert_eq!(shown("url", "http//joe:pw@host://"), r#""***""#);
        assert_eq!(quote("profiles", &Value::Table(Table::new())), None);
        let nested: Table = toml::from_str("a = { api_key = 'k', max_tokens = 5 }").unwrap();
        assert_eq!(
            hide("profiles", &Value::Table(nested)).to_string(),
            r#"{ a = { api_key = "***", max_tokens = 5 } }"#
        );
    }
}
