//! `text_processing` on the worker's own sources and on small texts.

use serde_json::json;

use crate::bench::Task;

/// Real prose: the contract between keeper and worker as the interface's documentation states it.
const RENTAL: &str = "# What a rental is\n\n\
A rental is a slot of time on a provider's machine. The agent pays for the seconds that its tasks use, and the \
provider earns them. Every task of a rental runs in a container without a network.\n\n\
The agent escrows the whole price before the rental starts. When the rental ends, the market pays the provider for the \
seconds used and returns the rest to the agent's wallet. Nobody has to trust anybody with more than a few seconds.\n\n\
- A provider that never starts loses a small amount.\n- A provider that starts and does no work loses its bond.\n\n\
See [the design](https://example.org/design) or mail <owner@example.org>.\n\n\
```\nkeeper rent --task text_processing\n```\n";

#[test]
fn a_markdown_file_becomes_four_results() {
    let outcome = Task::new("text_processing", &[("rental.md", RENTAL.as_bytes())]).run().succeeded();
    assert_eq!(outcome.names(), ["rental.clean.txt", "rental.html", "rental.stats.json", "rental.summary.txt"]);
    let clean = outcome.text("rental.clean.txt");
    assert!(clean.starts_with("What a rental is\n\nA rental is a slot of time"), "{clean}");
    assert!(clean.contains("\n    keeper rent --task text_processing\n"), "{clean}");
    let page = outcome.text("rental.html");
    assert!(page.contains("<title>What a rental is</title>") && page.contains("<li>A provider that"), "{page}");
    let stats = outcome.json("rental.stats.json");
    assert_eq!(stats["language"], "en");
    assert_eq!((&stats["sentences"], &stats["heading_count"], &stats["link_count"]), (&json!(9), &json!(1), &json!(2)));
    assert_eq!(stats["top_terms"][0], json!({"term": "provider", "count": 5}));
    assert_eq!(outcome.text("rental.summary.txt").lines().count(), 5);
}

#[test]
fn the_summary_has_as_many_sentences_as_asked() {
    let task =
        Task::new("text_processing", &[("rental.md", RENTAL.as_bytes())]).with("/parameters", json!({"sentences": 2}));
    let outcome = task.run().succeeded();
    let summary = outcome.text("rental.summary.txt");
    assert_eq!(summary.lines().count(), 2);
    for sentence in summary.lines() {
        assert!(outcome.text("rental.clean.txt").contains(sentence), "{sentence}");
    }
}

#[test]
fn the_worker_reads_its_own_source_as_plain_text() {
    let source = include_bytes!("../../src/text/summary.rs");
    let outcome = Task::new("text_processing", &[("summary.rs", source)]).run().succeeded();
    let stats = outcome.json("summary.stats.json");
    assert_eq!(stats["format"], "plain");
    assert_eq!(stats["lines"], include_str!("../../src/text/summary.rs").lines().count());
    assert!(outcome.text("summary.html").contains("&lt;"));
}

#[test]
fn text_in_a_legacy_encoding_is_read_and_noted() {
    let outcome =
        Task::new("text_processing", &[("brief.txt", b"Die Gr\xf6\xdfe ist \x80 5.".as_slice())]).run().succeeded();
    assert_eq!(outcome.text("brief.clean.txt"), "Die Größe ist € 5.\n");
    let note = outcome.json("brief.stats.json")["encoding_note"].clone();
    assert_eq!(note, "3 bytes are not valid UTF-8 and were read as Windows-1252.");
}

#[test]
fn text_without_a_word_has_empty_results() {
    let outcome = Task::new("text_processing", &[("blank.txt", b" \n\n".as_slice())]).run().succeeded();
    assert_eq!(outcome.json("blank.stats.json")["words"], 0);
    assert_eq!(outcome.text("blank.summary.txt"), "");
}

#[test]
fn inputs_of_the_same_name_get_results_of_their_own() {
    let inputs: [(&str, &[u8]); 3] = [("a/notes.md", b"# One"), ("b/notes.md", b"# Two"), ("NOTES.txt", b"Three")];
    let outcome = Task::new("text_processing", &inputs).run().succeeded();
    assert_eq!(outcome.names().len(), 12);
    assert_eq!(outcome.text("notes.clean.txt"), "One\n");
    assert_eq!(outcome.text("notes-2.clean.txt"), "Two\n");
    assert_eq!(outcome.text("NOTES-3.clean.txt"), "Three\n");
}

#[test]
fn the_same_input_gives_the_same_manifest() {
    let run = || {
        let inputs: [(&str, &[u8]); 2] = [("a.md", RENTAL.as_bytes()), ("b.rs", include_bytes!("bench.rs"))];
        Task::new("text_processing", &inputs).run().succeeded().manifest
    };
    assert_eq!(run(), run());
}

#[test]
fn texts_beyond_the_bounds_are_refused() {
    let run = |text: String| Task::new("text_processing", &[("big.md", text.as_bytes())]).run();
    run("- a\n".repeat(250_000)).failed(65, "has 200000 or more paragraphs");
    run("word ".repeat(1_000_000)).failed(65, "has 5 MiB; text_processing takes at most 4 MiB");
}
