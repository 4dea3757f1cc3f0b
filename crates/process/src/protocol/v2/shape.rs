//! Finds faults in a configuration that opencode 2 silently ignores.

use serde_json::{Map, Value};

/// Returns the fault of a configuration, without quoting its values: they may be keys.
pub(crate) fn wrong(config: &Map<String, Value>) -> Option<String> {
    let typed = |name: &str, is_right: fn(&Value) -> bool| {
        config.get(name).filter(|value| !is_right(value)).map(|_| format!("`{name}` has the wrong type"))
    };
    typed("model", |value| value.is_string() || value.is_object())
        .or_else(|| typed("provider", Value::is_object))
        .or_else(|| typed("providers", Value::is_object))
        .or_else(|| typed("agent", Value::is_object))
        .or_else(|| {
            ["provider", "providers"].into_iter().find_map(|name| {
                let (id, _) = config.get(name)?.as_object()?.iter().find(|(_, provider)| !provider.is_object())?;
                Some(format!("`{name}.{id}` has the wrong type"))
            })
        })
        .or_else(|| {
            let has_both = config.contains_key("provider") && config.contains_key("providers");
            has_both.then(|| "it has both `provider` and `providers`, one of which is ignored".to_owned())
        })
}
