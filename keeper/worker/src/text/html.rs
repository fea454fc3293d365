//! Markdown or blocks to one self-contained HTML page that is safe to open.
//!
//! The input comes from a stranger as far as the reader of the page is concerned: raw HTML is reduced to its text,
//! links keep only harmless schemes, and a content security policy forbids everything but pictures and the page's
//! own style.

use std::collections::VecDeque;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

use super::{
    document::{Document, Kind},
    language::Language,
};

const STYLE: &str = "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif;\
color:#1c2430;background:#fff}h1,h2,h3{line-height:1.25}pre{overflow:auto;padding:.8rem;background:#f3f5f8}\
code{font-size:.92em}table{border-collapse:collapse}td,th{padding:.3rem .6rem;border:1px solid #ccd3dc}\
img{max-width:100%}blockquote{margin:0;padding-left:1rem;border-left:3px solid #ccd3dc;color:#4a5565}";

/// The dialect: CommonMark with what GitHub adds.
pub(crate) const fn options() -> Options {
    Options::ENABLE_TABLES
        .union(Options::ENABLE_FOOTNOTES)
        .union(Options::ENABLE_STRIKETHROUGH)
        .union(Options::ENABLE_TASKLISTS)
        .union(Options::ENABLE_YAML_STYLE_METADATA_BLOCKS)
}

/// A whole page around what `body` writes.
pub(crate) fn page(title: &str, language: Language, body: impl FnOnce(&mut String)) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src https: data:; \
         style-src 'unsafe-inline'\">\n<title>",
        language.code()
    );
    escape(&mut page, title);
    page.push_str("</title>\n<style>");
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n");
    body(&mut page);
    page.push_str("</body>\n</html>\n");
    page
}

/// The body of a Markdown text.
pub(crate) fn from_markdown(markdown: &str, body: &mut String) {
    pulldown_cmark::html::push_html(body, Sanitised::new(Parser::new_ext(markdown, options())));
}

/// The body of a plain text.
pub(crate) fn from_blocks(document: &Document, body: &mut String) {
    let mut in_list = false;
    for block in &document.blocks {
        let item = block.kind == Kind::Item;
        if item != in_list {
            body.push_str(if item { "<ul>\n" } else { "</ul>\n" });
            in_list = item;
        }
        let (open, close) = if item { ("<li>", "</li>\n") } else { ("<p>", "</p>\n") };
        body.push_str(open);
        for (number, line) in block.text.lines().enumerate() {
            if number > 0 {
                body.push_str("<br>\n");
            }
            escape(body, line);
        }
        body.push_str(close);
    }
    if in_list {
        body.push_str("</ul>\n");
    }
}

fn escape(page: &mut String, text: &str) {
    pulldown_cmark::html::push_html(page, std::iter::once(Event::Text(text.into())));
}

/// Markdown events without raw HTML, without metadata blocks and without dangerous links.
pub(crate) struct Sanitised<'a, I> {
    events: I,
    queued: VecDeque<Event<'a>>,
}

impl<'a, I: Iterator<Item = Event<'a>>> Sanitised<'a, I> {
    pub(crate) fn new(events: I) -> Self {
        Self { events, queued: VecDeque::new() }
    }

    /// Takes the rest of an HTML block and queues its text as a paragraph.
    fn html_block(&mut self) {
        let mut html = String::new();
        for event in self.events.by_ref() {
            match event {
                Event::End(TagEnd::HtmlBlock) => break,
                Event::Html(part) | Event::Text(part) => html.push_str(&part),
                _ => {}
            }
        }
        let text = text_of(&html);
        if !text.is_empty() {
            self.queued.push_back(Event::Start(Tag::Paragraph));
            self.queued.push_back(Event::Text(text.into()));
            self.queued.push_back(Event::End(TagEnd::Paragraph));
        }
    }

    fn skip_metadata(&mut self) {
        for event in self.events.by_ref() {
            if matches!(event, Event::End(TagEnd::MetadataBlock(_))) {
                break;
            }
        }
    }
}

impl<'a, I: Iterator<Item = Event<'a>>> Iterator for Sanitised<'a, I> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            if let Some(event) = self.queued.pop_front() {
                return Some(event);
            }
            match self.events.next()? {
                Event::Start(Tag::HtmlBlock) => self.html_block(),
                Event::Start(Tag::MetadataBlock(_)) => self.skip_metadata(),
                Event::InlineHtml(html) => {
                    if html.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("<br")) {
                        return Some(Event::HardBreak);
                    }
                }
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    let dest_url = harmless(dest_url);
                    return Some(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
                Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                    let dest_url = harmless(dest_url);
                    return Some(Event::Start(Tag::Image { link_type, dest_url, title, id }));
                }
                event => return Some(event),
            }
        }
    }
}

/// Keeps relative addresses and those of the web and of mail; everything else (`javascript:`, `data:`) becomes `#`.
fn harmless(url: CowStr<'_>) -> CowStr<'_> {
    // Browsers ignore control characters and blanks within a scheme, so they are ignored here too.
    let plain: String = url.chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(64).collect();
    let scheme = match plain.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => scheme.to_ascii_lowercase(),
        _ => return url,
    };
    // An e-mail autolink has no scheme of its own and no colon.
    if matches!(scheme.as_str(), "http" | "https" | "mailto") { url } else { CowStr::Borrowed("#") }
}

/// The readable text of raw HTML: no tags, no comments, no scripts or styles, the common entities resolved.
fn text_of(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("<!--") {
            "-->"
        } else if starts_tag(rest, "script") {
            "</script>"
        } else if starts_tag(rest, "style") {
            "</style>"
        } else {
            ">"
        };
        // What is never closed is dropped to its end, as a browser would.
        rest = match find_ignoring_case(rest, end) {
            Some(at) => &rest[at + end.len()..],
            None => "",
        };
        text.push(' ');
    }
    text.push_str(rest);
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&nbsp;", " ");
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn starts_tag(html: &str, tag: &str) -> bool {
    html.get(1..=tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes().windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{document, plain};

    fn check(markdown: &str, expect: &str) {
        let mut body = String::new();
        from_markdown(markdown, &mut body);
        assert_eq!(body, expect);
    }

    #[test]
    fn scripts_cannot_ride_along() {
        check("<script>alert(1)</script>\n", "");
        check("a <img src=x onerror=alert(1)> b", "<p>a  b</p>\n");
        check("[x](javascript:alert(1))", "<p><a href=\"#\">x</a></p>\n");
        check("[x](<java\tscript:alert(1)>)", "<p><a href=\"#\">x</a></p>\n");
        check("[x](https://a.b/c:d)", "<p><a href=\"https://a.b/c:d\">x</a></p>\n");
        check("[x](docs/a:b.md#c)", "<p><a href=\"docs/a:b.md#c\">x</a></p>\n");
    }

    #[test]
    fn raw_html_is_reduced_to_what_a_reader_sees() {
        assert_eq!(text_of("a<!-- <b> -->c &lt;d&gt;<STYLE>x{}</style> e &amp;lt;"), "a c <d> e &lt;");
        assert_eq!(text_of("a<script>b"), "a");
        assert_eq!(text_of("a <"), "a");
    }

    #[test]
    fn front_matter_is_not_text() {
        check("---\ntitle: x\n---\n\nBody.", "<p>Body.</p>\n");
    }

    #[test]
    fn the_page_escapes_its_title_and_plain_text() {
        let document = plain::parse("a < b\n& c\n\n- one\n- two");
        let page = page("<T&>", Language::English, |body| from_blocks(&document, body));
        assert!(page.contains("<title>&lt;T&amp;&gt;</title>"), "{page}");
        assert!(page.contains("<p>a &lt; b<br>\n&amp; c</p>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n"), "{page}");
    }

    #[test]
    fn page_and_blocks_see_the_same_text() {
        let markdown = "# A\n\n<div>deep <b>text</b></div>\n";
        check(markdown, "<h1>A</h1>\n<p>deep text</p>\n");
        assert_eq!(document::parse(markdown).clean_text(), "A\n\ndeep text\n");
    }
}
