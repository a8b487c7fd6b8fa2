//! Host names, the patterns that cover them, and the table in which patterns are looked up.

use std::collections::BTreeMap;

use mqtls::sni::{Rule, SniMap};
use mqtls::{HostName, NamePattern};

/// Takes the first line for a name that a client asks for and the others for patterns, and holds
/// every answer against one found by comparing labels.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n').take(MAX_LINES);
    let asked = lines.next().unwrap_or_default();
    let name = read_name(asked);
    let patterns: Vec<NamePattern> = lines.filter_map(read_pattern).collect();
    if let Some(name) = &name {
        for pattern in &patterns {
            assert_eq!(pattern.covers(name), covers(pattern, name), "{pattern} {name}");
        }
    }
    look_up(asked, name.as_ref(), &patterns);
}

fn read_name(text: &str) -> Option<HostName> {
    let name: HostName = match text.parse() {
        Ok(name) => name,
        Err(error) => {
            assert!(error.to_string().len() <= MAX_ERROR);
            return None;
        }
    };
    let shown = name.to_string();
    assert!((1..=253).contains(&shown.len()));
    assert_eq!(shown, text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase());
    assert_eq!(shown.parse().as_ref(), Ok(&name));
    assert_eq!(format!("{}.", shown.to_ascii_uppercase()).parse().as_ref(), Ok(&name));
    // Whatever is accepted can be asked for: rustls reads it, too.
    assert!(rustls_pki_types::DnsName::try_from(shown.as_str()).is_ok(), "{shown}");
    Some(name)
}

fn read_pattern(text: &str) -> Option<NamePattern> {
    match text.parse::<NamePattern>() {
        Ok(pattern) => {
            assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
            Some(pattern)
        }
        Err(error) => {
            assert!(error.to_string().len() <= MAX_ERROR);
            None
        }
    }
}

fn look_up(asked: &str, name: Option<&HostName>, patterns: &[NamePattern]) {
    let entries: BTreeMap<_, _> =
        patterns.iter().map(|pattern| (pattern.clone(), Some(pattern.clone()))).collect();
    let count = entries.len();
    let map = SniMap::new(None, entries);
    assert_eq!(map.len(), count);
    let hit = map.lookup(Some(asked));
    // A text that is no name matches nothing, though nobody has checked it.
    let covering = |exact: bool| {
        patterns.iter().find(|pattern| {
            matches!(pattern, NamePattern::Exact(_)) == exact
                && name.is_some_and(|name| covers(pattern, name))
        })
    };
    let expected = covering(true)
        .map(|pattern| (Rule::Exact, pattern))
        .or_else(|| covering(false).map(|pattern| (Rule::Wildcard, pattern)));
    match expected {
        Some((rule, pattern)) => assert_eq!((hit.rule, hit.value), (rule, &Some(pattern.clone()))),
        None if name.is_some() => assert_eq!((hit.rule, hit.value), (Rule::Default, &None)),
        None => assert_ne!(hit.rule, Rule::Exact),
    }
    assert_eq!(map.lookup(None).rule, Rule::Default);
}

/// The rule of `NamePattern::covers`, told over label lists.
fn covers(pattern: &NamePattern, name: &HostName) -> bool {
    let pattern = pattern.to_string();
    let pattern: Vec<_> = pattern.split('.').collect();
    let name: Vec<_> = name.as_str().split('.').collect();
    pattern.len() == name.len()
        && pattern.iter().zip(&name).all(|(label, asked)| *label == "*" || label == asked)
}

const MAX_LINES: usize = 32;
const MAX_ERROR: usize = 512;
