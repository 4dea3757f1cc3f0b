//! The placeholders in a script's texts.

/// The values of the placeholders in one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placeholders {
    pub(crate) last_user: String,
    pub(crate) turn: usize,
}

impl Placeholders {
    /// Replaces the placeholders in one pass, without replacing placeholders in the values.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            if let Some(after) = from.strip_prefix("{last_user}") {
                filled.push_str(&self.last_user);
                rest = after;
            } else if let Some(after) = from.strip_prefix("{turn}") {
                filled.push_str(&self.turn.to_string());
                rest = after;
            } else {
                filled.push('{');
                rest = &from[1..];
            }
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let placeholders = Placeholders { last_user: "{turn} ü".into(), turn: 3 };
        assert_eq!(placeholders.fill("{{turn}: {last_user}} {other} {"), "{3: {turn} ü} {other} {");
        assert_eq!(placeholders.fill(""), "");
    }
}
