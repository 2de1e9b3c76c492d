//! An object of JSON or YAML, read key by key, noting every problem on the way.

use std::collections::BTreeMap;

use super::super::place::Place;
use super::super::report::{Report, quote};
use super::node::{Node, Value};

/// The entries of an object that are not null.
pub(crate) struct Object<'n> {
    entries: BTreeMap<&'n str, &'n Node>,
    pub(crate) place: Place,
}

impl<'n> Object<'n> {
    /// `None`, with the problem noted, for what is no object.
    pub(crate) fn read(node: &'n Node, place: Place, report: &mut Report) -> Option<Self> {
        let Value::Map(given) = &node.value else {
            report.refuse(&place, format!("is {}; an object is allowed", node.kind()));
            return None;
        };
        let mut object = Self { entries: BTreeMap::new(), place };
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in given {
            if !seen.insert(key.as_str()) {
                report.refuse(object.place.key(key, value.at), "is given twice");
            } else if !value.is_null() {
                object.entries.insert(key, value);
            }
        }
        Some(object)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.place.key(key, self.entries.get(key).and_then(|node| node.at))
    }

    pub(crate) fn get(&self, key: &str) -> Option<(&'n Node, Place)> {
        let node = self.entries.get(key)?;
        Some((node, self.place.key(key, node.at)))
    }

    /// A text of at most so many bytes; a number or truth value counts as it is written.
    pub(crate) fn text(&self, key: &str, most: usize, report: &mut Report) -> Option<&'n str> {
        let (node, place) = self.get(key)?;
        text(node, &place, most, report)
    }

    /// Texts; a single one may stand for a list of one.
    pub(crate) fn texts(&self, key: &str, most: usize, bytes: usize, report: &mut Report) -> Vec<(&'n str, Place)> {
        let Some((node, place)) = self.get(key) else { return Vec::new() };
        let Value::List(entries) = &node.value else {
            return text(node, &place, bytes, report).map(|text| (text, place)).into_iter().collect();
        };
        if entries.len() > most {
            report.refuse(&place, format!("has {} entries; at most {most} are allowed", entries.len()));
            return Vec::new();
        }
        let one = |(index, entry): (usize, &'n Node)| {
            let place = place.entry(index, entry.at);
            text(entry, &place, bytes, report).map(|text| (text, place))
        };
        entries.iter().enumerate().filter_map(one).collect()
    }

    /// A whole number from 0 to `most`.
    pub(crate) fn whole<T: TryFrom<u32>>(&self, key: &str, most: u32, report: &mut Report) -> Option<T> {
        let (node, place) = self.get(key)?;
        let number = node.scalar().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number <= most);
        if number.is_none() {
            report.refuse(place, format!("is {}; a whole number from 0 to {most} is allowed", shown(node)));
        }
        number.and_then(|number| T::try_from(number).ok())
    }

    pub(crate) fn truth(&self, key: &str, report: &mut Report) -> Option<bool> {
        let (node, place) = self.get(key)?;
        let truth = node.scalar().and_then(|text| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        });
        if truth.is_none() {
            report.refuse(place, format!("is {}; true or false is allowed", shown(node)));
        }
        truth
    }

    /// One of a few words, in any case.
    pub(crate) fn word<T: Copy>(&self, key: &str, allowed: &[(&str, T)], report: &mut Report) -> Option<T> {
        let (node, place) = self.get(key)?;
        let found = node.scalar().and_then(|text| allowed.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)));
        if found.is_none() {
            let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
            report.refuse(place, format!("is {}; allowed are {}", shown(node), words.join(", ")));
        }
        found.map(|(_, meant)| *meant)
    }

    /// Notes each key that nothing reads, since it may be a slip of the pen.
    pub(crate) fn note_unread(&self, known: &[&str], report: &mut Report) {
        for key in self.entries.keys().filter(|key| !known.contains(key)) {
            report.note(self.place_of(key), "is not read");
        }
    }
}

/// The value as a message shows it.
pub(crate) fn shown(node: &Node) -> String {
    node.scalar().map_or_else(|| node.kind().to_owned(), quote)
}

pub(crate) fn text<'n>(node: &'n Node, place: &Place, most: usize, report: &mut Report) -> Option<&'n str> {
    let Some(text) = node.scalar() else {
        report.refuse(place, format!("is {}; a text is allowed", node.kind()));
        return None;
    };
    if text.len() > most {
        report.refuse(place, format!("has {} bytes; at most {most} are allowed", text.len()));
        return None;
    }
    Some(text)
}
