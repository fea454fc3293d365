//! Plain text to blocks: paragraphs end at a blank line, bulleted lines are items of their own.

use super::{
    MAX_BLOCKS,
    document::{Block, Document, Kind},
};

/// Reads text without markup. Control characters go, line breaks within a paragraph stay.
pub(crate) fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        // The caller refuses a text that reaches the bound.
        if document.blocks.len() == MAX_BLOCKS {
            break;
        }
        let line: String = line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
        let line = line.trim();
        if line.is_empty() {
            document.blocks.extend(open.take());
        } else if let Some((bullet, rest)) = bullet(line) {
            document.blocks.extend(open.take());
            open = Some(Block { kind: Kind::Item, lead: format!("{bullet} "), text: rest.to_owned() });
        } else if let Some(block) = &mut open {
            block.text.push('\n');
            block.text.push_str(line);
        } else {
            open = Some(Block { kind: Kind::Paragraph, lead: String::new(), text: line.to_owned() });
        }
    }
    document.blocks.extend(open);
    document
}

/// Splits off `-`, `*`, `•`, `1.` or `1)` when text follows after a blank.
fn bullet(line: &str) -> Option<(&str, &str)> {
    let (bullet, rest) = line.split_once(' ')?;
    let numbered = bullet
        .strip_suffix(['.', ')'])
        .is_some_and(|number| (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()));
    let rest = rest.trim_start();
    ((numbered || matches!(bullet, "-" | "*" | "•")) && !rest.is_empty()).then_some((bullet, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(Kind, &str)]) {
        let document = parse(text);
        let got: Vec<_> = document.blocks.iter().map(|block| (block.kind, block.text.as_str())).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn paragraphs_and_items() {
        check("a\r\nb\r\n\r\n\r\nc", &[(Kind::Paragraph, "a\nb"), (Kind::Paragraph, "c")]);
        check("List:\n- a\n  b\n2) c\n", &[(Kind::Paragraph, "List:"), (Kind::Item, "a\nb"), (Kind::Item, "c")]);
        check("1984 was a year.\n", &[(Kind::Paragraph, "1984 was a year.")]);
        check("\u{7}a\u{1b}[0m\tb\n", &[(Kind::Paragraph, "a[0m b")]);
        check("\n \n", &[]);
    }
}
