//! The sentences that say most of what the others say.
//!
//! LexRank (Erkan and Radev 2004): sentences are nodes, their idf-weighted cosine similarity is the strength of the
//! edge between them, and the stationary distribution of a random walk with damping ranks them. Two additions of
//! practice: a sentence too close to a chosen one is passed over, and the chosen ones are given in the text's order.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    language::Language,
    statistics::{is_term, normal},
};

/// Sentences compared with each other. A longer text enters with those whose words are the most frequent, so that
/// time stays bounded: 1,500² comparisons.
const MAX_NODES: usize = 1_500;

/// A candidate has this many words: shorter ones are labels, longer ones are unpunctuated listings.
const WORDS: std::ops::RangeInclusive<usize> = 5..=60;

/// Edges weaker than this are noise (the paper's threshold).
const MIN_SIMILARITY: f64 = 0.1;

/// Two sentences more alike than this say the same.
const MAX_SIMILARITY: f64 = 0.6;

const DAMPING: f64 = 0.85;
const MAX_ROUNDS: usize = 100;
const TOLERANCE: f64 = 1e-9;

/// A sentence as a sparse vector, sorted by term.
struct Node<'a> {
    position: usize,
    sentence: &'a str,
    weights: Vec<(usize, f64)>,
    norm: f64,
}

/// Chooses up to `wanted` sentences, in the text's order.
pub(crate) fn extract(sentences: &[String], language: Language, wanted: usize) -> Vec<&str> {
    let nodes = nodes(sentences, language);
    if nodes.is_empty() {
        // Nothing but labels and listings: its beginning represents a text best.
        return sentences.iter().take(wanted).map(String::as_str).collect();
    }
    let similarities = similarities(&nodes);
    let scores = rank(&similarities);
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    // Of equals the earlier one wins, since texts state first what they are about.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut chosen: Vec<usize> = Vec::new();
    for candidate in order {
        if chosen.len() == wanted {
            break;
        }
        if chosen.iter().all(|&other| cosine(&nodes[candidate], &nodes[other]) <= MAX_SIMILARITY) {
            chosen.push(candidate);
        }
    }
    chosen.sort_unstable_by_key(|&node| nodes[node].position);
    chosen.into_iter().map(|node| nodes[node].sentence).collect()
}

fn nodes(sentences: &[String], language: Language) -> Vec<Node<'_>> {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut containing: Vec<usize> = Vec::new();
    let mut candidates: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    for (position, sentence) in sentences.iter().enumerate() {
        let mut terms: Vec<usize> = Vec::new();
        let mut words = 0;
        for word in sentence.unicode_words() {
            words += 1;
            let word = normal(word);
            if is_term(&word, language) {
                let next = ids.len();
                let id = *ids.entry(word).or_insert(next);
                containing.resize(ids.len(), 0);
                terms.push(id);
            }
        }
        let counts = counted(terms);
        for &(term, _) in &counts {
            containing[term] += 1;
        }
        if WORDS.contains(&words) && counts.len() > 1 {
            candidates.push((position, counts));
        }
    }
    if candidates.len() > MAX_NODES {
        keep_typical(&mut candidates, &containing);
    }
    candidates
        .into_iter()
        .map(|(position, counts)| {
            let weights: Vec<(usize, f64)> = counts
                .into_iter()
                .map(|(term, count)| (term, count as f64 * idf(sentences.len(), containing[term])))
                .collect();
            let norm = weights.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
            Node { position, sentence: &sentences[position], weights, norm }
        })
        .collect()
}

/// Terms with their number of occurrences, sorted by term.
fn counted(mut terms: Vec<usize>) -> Vec<(usize, usize)> {
    terms.sort_unstable();
    terms.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// Keeps the candidates whose terms occur in the most sentences on average (the idea of SumBasic), in order.
fn keep_typical(candidates: &mut Vec<(usize, Vec<(usize, usize)>)>, containing: &[usize]) {
    let typical = |counts: &[(usize, usize)]| {
        counts.iter().map(|&(term, _)| containing[term]).sum::<usize>() as f64 / counts.len() as f64
    };
    candidates.sort_by(|(a, a_counts), (b, b_counts)| typical(b_counts).total_cmp(&typical(a_counts)).then(a.cmp(b)));
    candidates.truncate(MAX_NODES);
    candidates.sort_unstable_by_key(|(position, _)| *position);
}

/// Inverse document frequency, rounded to 1/4096: mathematical libraries differ in a logarithm's last bit from
/// processor to processor, and the same input must give the same summary everywhere.
fn idf(sentences: usize, containing: usize) -> f64 {
    let exact = (1.0 + sentences as f64 / containing.max(1) as f64).ln();
    (exact * 4096.0).round() / 4096.0
}

/// For every node its neighbours and the strength of the edges.
fn similarities(nodes: &[Node<'_>]) -> Vec<Vec<(usize, f64)>> {
    let mut edges = vec![Vec::new(); nodes.len()];
    for a in 0..nodes.len() {
        for b in a + 1..nodes.len() {
            let similarity = cosine(&nodes[a], &nodes[b]);
            if similarity >= MIN_SIMILARITY {
                edges[a].push((b, similarity));
                edges[b].push((a, similarity));
            }
        }
    }
    edges
}

fn cosine(a: &Node<'_>, b: &Node<'_>) -> f64 {
    let (mut i, mut j, mut product) = (0, 0, 0.0);
    while let (Some(&(left, left_weight)), Some(&(right, right_weight))) = (a.weights.get(i), b.weights.get(j)) {
        match left.cmp(&right) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                product += left_weight * right_weight;
                i += 1;
                j += 1;
            }
        }
    }
    product / (a.norm * b.norm)
}

/// Power iteration. A node without neighbours keeps its score to itself.
fn rank(edges: &[Vec<(usize, f64)>]) -> Vec<f64> {
    let count = edges.len() as f64;
    let strength: Vec<f64> = edges.iter().map(|near| near.iter().map(|(_, weight)| weight).sum()).collect();
    let mut scores = vec![1.0 / count; edges.len()];
    for _ in 0..MAX_ROUNDS {
        let next: Vec<f64> = edges
            .iter()
            .map(|near| {
                let inflow: f64 = near.iter().map(|&(from, weight)| scores[from] * weight / strength[from]).sum();
                (1.0 - DAMPING) / count + DAMPING * inflow
            })
            .collect();
        let change: f64 = next.iter().zip(&scores).map(|(new, old)| (new - old).abs()).sum();
        scores = next;
        if change < TOLERANCE {
            break;
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sentences: &[&str], wanted: usize, expect: &[&str]) {
        let sentences: Vec<String> = sentences.iter().map(|&sentence| sentence.to_owned()).collect();
        assert_eq!(extract(&sentences, Language::English, wanted), expect);
    }

    const MARKET: [&str; 6] = [
        "The weather was fine on that particular morning.",
        "An agent rents compute from a provider in the market.",
        "The market matches every agent with the best provider.",
        "A provider in the market sells compute to an agent.",
        "Somebody had forgotten an umbrella beside the door.",
        "Compute in the market is paid by the second.",
    ];

    #[test]
    fn the_central_sentences_win_and_keep_their_order() {
        let got = extract_from(&MARKET, 2);
        assert!(got.iter().all(|sentence| sentence.contains("market")), "{got:?}");
        let all = extract_from(&MARKET, 10);
        assert_eq!(all.len(), 6);
        assert_eq!(all, MARKET);
    }

    fn extract_from<'a>(sentences: &[&'a str], wanted: usize) -> Vec<&'a str> {
        let owned: Vec<String> = sentences.iter().map(|&sentence| sentence.to_owned()).collect();
        let got: Vec<String> = extract(&owned, Language::English, wanted).into_iter().map(str::to_owned).collect();
        sentences.iter().copied().filter(|sentence| got.iter().any(|other| other == sentence)).collect()
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let twice = "The market matches every agent with the best provider.";
        check(
            &[twice, twice, "Compute in the market is paid by the second."],
            3,
            &[twice, "Compute in the market is paid by the second."],
        );
    }

    #[test]
    fn labels_alone_give_their_beginning() {
        check(&["One", "Two", "Three"], 2, &["One", "Two"]);
        check(&[], 2, &[]);
    }

    #[test]
    fn a_long_text_stays_bounded() {
        let sentences: Vec<String> = (0..20_000)
            .map(|n| format!("Sentence number {n} speaks of topic{} and of item{} again.", n % 97, n % 31))
            .collect();
        assert_eq!(nodes(&sentences, Language::English).len(), MAX_NODES);
        assert!(!extract(&sentences, Language::English, 5).is_empty());
    }
}
