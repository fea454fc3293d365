//! Markdown to a flat list of blocks: what the statistics, the summary and the clean text work on.

use pulldown_cmark::{Event, HeadingLevel, LinkType, Parser, Tag, TagEnd};

use super::{
    MAX_BLOCKS,
    html::{self, Sanitised},
    statistics::MAX_LISTED,
};

/// A text as blocks, with what its markup says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) blocks: Vec<Block>,
    /// The first [`MAX_LISTED`] of `link_count`.
    pub(crate) links: Vec<Link>,
    pub(crate) link_count: usize,
    pub(crate) images: usize,
    pub(crate) tables: usize,
}

/// A run of text that belongs together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    /// What stands before the text: indentation, a bullet, a number.
    pub(crate) lead: String,
    /// Without markup. Only code and plain text hold line breaks.
    pub(crate) text: String,
}

/// What a block is; sentences are looked for in paragraphs and items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Heading(u8),
    Paragraph,
    Item,
    Row,
    Code,
}

/// A link and the words that carry it.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Link {
    pub(crate) text: String,
    pub(crate) url: String,
}

impl Document {
    /// The first heading of the highest level.
    pub(crate) fn title(&self) -> Option<&str> {
        let level = |block: &&Block| match block.kind {
            Kind::Heading(level) => Some(level),
            _ => None,
        };
        self.blocks.iter().filter(|block| level(block).is_some()).min_by_key(level).map(|block| block.text.as_str())
    }

    /// Headings with their levels.
    pub(crate) fn headings(&self) -> impl Iterator<Item = (u8, &str)> {
        self.blocks.iter().filter_map(|block| match block.kind {
            Kind::Heading(level) => Some((level, block.text.as_str())),
            _ => None,
        })
    }

    /// Blocks that a person reads as language, which leaves out code.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.kind != Kind::Code)
    }

    /// The whole as text without markup: a blank line between blocks, none within a list or a table.
    pub(crate) fn clean_text(&self) -> String {
        let mut text = String::new();
        let mut before = None;
        for block in &self.blocks {
            let joined = before == Some(block.kind) && matches!(block.kind, Kind::Item | Kind::Row);
            if !text.is_empty() && !joined {
                text.push('\n');
            }
            for (number, line) in block.text.lines().enumerate() {
                // Further lines of a block stand under the first one's text.
                match number {
                    0 => text.push_str(&block.lead),
                    _ => text.extend(std::iter::repeat_n(' ', block.lead.chars().count())),
                }
                text.push_str(line);
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
            before = Some(block.kind);
        }
        text
    }
}

/// Reads CommonMark with GitHub's tables, footnotes, strike-through and task lists.
pub(crate) fn parse(markdown: &str) -> Document {
    let mut builder = Builder::default();
    for event in Sanitised::new(Parser::new_ext(markdown, html::options())) {
        builder.event(event);
    }
    builder.document
}

#[derive(Default)]
struct Builder {
    document: Document,
    text: String,
    lists: Vec<Option<u64>>,
    /// The bullet of an item that has no text yet.
    bullet: Option<String>,
    quotes: usize,
    code: bool,
    links: Vec<(usize, String)>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text);
            }
            Event::FootnoteReference(label) => self.text.push_str(&format!("[{label}]")),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            Event::TaskListMarker(done) => self.text.push_str(if done { "[x] " } else { "[ ] " }),
            // Sanitised turns HTML into text; a rule has none.
            Event::Rule | Event::Html(_) | Event::InlineHtml(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::List(first) => {
                // A nested list ends the text of the item it stands in.
                self.flush(Kind::Item);
                self.lists.push(first);
            }
            Tag::Item => self.bullet = Some(self.next_bullet()),
            Tag::BlockQuote(_) => self.quotes += 1,
            Tag::CodeBlock(_) => {
                self.flush(self.flow());
                self.code = true;
            }
            Tag::FootnoteDefinition(label) => self.bullet = Some(format!("[{label}] ")),
            Tag::DefinitionListDefinition => self.bullet = Some("  ".to_owned()),
            Tag::Table(_) => self.document.tables += 1,
            Tag::TableCell if !self.text.is_empty() => self.text.push_str(" | "),
            Tag::Link { link_type, dest_url, .. } => {
                let url = match link_type {
                    LinkType::Email => format!("mailto:{dest_url}"),
                    _ => dest_url.into_string(),
                };
                self.links.push((self.text.len(), url));
            }
            Tag::Image { .. } => self.document.images += 1,
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::DefinitionListTitle => self.flush(self.flow()),
            TagEnd::Heading(level) => self.flush(Kind::Heading(number(level))),
            TagEnd::Item | TagEnd::DefinitionListDefinition => {
                self.flush(Kind::Item);
                self.bullet = None;
            }
            TagEnd::FootnoteDefinition => {
                self.flush(Kind::Paragraph);
                self.bullet = None;
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush(self.flow());
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                self.flush(Kind::Code);
                self.code = false;
            }
            TagEnd::TableHead | TagEnd::TableRow => self.flush(Kind::Row),
            TagEnd::Link => {
                if let Some((from, url)) = self.links.pop() {
                    let text = self.text.get(from..).unwrap_or_default().trim().to_owned();
                    self.document.link_count += 1;
                    if self.document.links.len() < MAX_LISTED {
                        self.document.links.push(Link { text, url });
                    }
                }
            }
            _ => {}
        }
    }

    /// What loose text is at this place.
    fn flow(&self) -> Kind {
        if self.lists.is_empty() { Kind::Paragraph } else { Kind::Item }
    }

    fn next_bullet(&mut self) -> String {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                let bullet = format!("{number}. ");
                *number = number.saturating_add(1);
                bullet
            }
            _ => "- ".to_owned(),
        }
    }

    fn flush(&mut self, kind: Kind) {
        let text = std::mem::take(&mut self.text);
        let text = match kind {
            Kind::Code => text.trim_end().to_owned(),
            _ => text.trim().to_owned(),
        };
        // The caller refuses a text that reaches the bound.
        if text.is_empty() || self.document.blocks.len() == MAX_BLOCKS {
            return;
        }
        let mut lead = "> ".repeat(self.quotes);
        lead.push_str(&"  ".repeat(self.lists.len().saturating_sub(1)));
        match kind {
            Kind::Code => lead.push_str("    "),
            Kind::Heading(_) | Kind::Row => {}
            Kind::Paragraph | Kind::Item => match self.bullet.take() {
                Some(bullet) => lead.push_str(&bullet),
                // A further paragraph of an item stands under its first one.
                None if !self.lists.is_empty() => lead.push_str("  "),
                None => {}
            },
        }
        self.document.blocks.push(Block { kind, lead, text });
    }
}

fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expect: &str) {
        assert_eq!(parse(markdown).clean_text(), expect, "{markdown:?}");
    }

    #[test]
    fn markup_goes_and_structure_stays() {
        check("# A *b* `c`\n\nOne\ntwo **three**.\n\n---\n", "A b c\n\nOne two three.\n");
        check("> Said\n> so.\n", "> Said so.\n");
        check("See [here](http://x.y/) and ![a cat](cat.png).", "See here and a cat.\n");
        check("```rust\nfn a() {\n    b();\n}\n```\n", "    fn a() {\n        b();\n    }\n");
    }

    #[test]
    fn lists_keep_bullets_numbers_and_depth() {
        check("- a\n- b\n  1. c\n  2. d\n- e\n", "- a\n- b\n  1. c\n  2. d\n- e\n");
        check("3. a\n\n   more\n\n4. b\n", "3. a\n  more\n4. b\n");
        check("- [x] done\n- [ ] open\n", "- [x] done\n- [ ] open\n");
    }

    #[test]
    fn tables_become_rows() {
        check("|a|b|\n|-|-|\n|1|2|\n", "a | b\n1 | 2\n");
    }

    #[test]
    fn html_is_reduced_to_its_text() {
        check("<p align=\"center\"><b>Big</b> &amp; bold</p>\n", "Big & bold\n");
        check("a<br>b <i>c</i>", "a b c\n");
        check("<script>\nalert(1)\n</script>\n\nText.", "Text.\n");
        check("<!-- hidden\nnote -->\n\nText.", "Text.\n");
    }

    #[test]
    fn links_images_and_title_are_found() {
        let document = parse("## Two\n\n# One\n\n[a *b*](http://x/) <me@x.org> ![i](j.png)\n");
        assert_eq!(document.title(), Some("One"));
        assert_eq!(document.images, 1);
        let links: Vec<_> = document.links.iter().map(|link| (link.text.as_str(), link.url.as_str())).collect();
        assert_eq!(links, [("a b", "http://x/"), ("me@x.org", "mailto:me@x.org")]);
    }
}
