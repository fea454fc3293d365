//! Where in a configuration a field stands.

use toml::de::{DeTable, DeValue};

/// Line, from 1, of the field that `message` begins with (such as `provider.slots = 0; …`): of the field itself, or of its
/// table when the field is not there.
pub(super) fn line_of(text: &str, message: &str) -> Option<usize> {
    let end = message.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(message.len());
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut at = None;
    for name in message[..end].split('.') {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        at = Some(key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    Some(text[..at?].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn fields_and_tables_are_found() {
        let text = "data_dir = \"a\"\n\n[chain]\nchain_id = 1\n[provider]\nslots = 2\nkey = { keystore = \"k\" }\n";
        for (message, line) in [
            ("data_dir is missing", Some(1)),
            ("chain.chain_id = 1; use another", Some(4)),
            ("provider.slots = 2; use 1", Some(6)),
            ("provider.key.keystore: no", Some(7)),
            ("provider.cpus = 0; use 1", Some(5)),
            ("neither [agent] nor [provider]", None),
        ] {
            assert_eq!(line_of(text, message), line, "{message}");
        }
    }
}
