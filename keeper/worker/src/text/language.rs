//! Which language a text is in, judged by its function words, and which words carry no meaning in it.

use unicode_segmentation::UnicodeSegmentation;

use super::{document::Document, statistics::normal};

/// A language with a list of function words here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    German,
    French,
    Spanish,
    /// Too short, or none of the above: every word counts as meaningful.
    Unknown,
}

/// Words looked at; more change nothing.
const SAMPLE_WORDS: usize = 5_000;

/// Below this share of function words a text is in none of the languages known here: running text has 35 % or more,
/// another language that shares a few short words has less than this.
const MIN_SHARE_PERCENT: usize = 12;

const KNOWN: [Language; 4] = [Language::English, Language::German, Language::French, Language::Spanish];

const ENGLISH: &str = "a about above after again against all also am an and any are as at be because been before being \
below between both but by can cannot could did do does doing down during each either else ever every few for from \
further had has have having he her here hers him his how i if in into is it its itself just may me might more most \
much must my neither never no nor not now of off on once one only or other our ours out over own per same shall she \
should since so some such than that the their theirs them then there these they this those through to too under until \
up upon us very was we were what when where whether which while who whom whose why will with within without would yet \
you your yours";

const GERMAN: &str = "aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist \
da damit dann das dass dein dem den denn der des dessen die dies diese diesem diesen dieser dieses doch dort du durch \
ein eine einem einen einer eines er es etwas euch für gegen hab habe haben hat hatte hatten hier hin hinter ich ihm ihn \
ihnen ihr ihre ihrem ihren ihrer im in ins ist ja jede jedem jeden jeder jedes jetzt kann kein keine keinen können \
könnte machen man mehr mein mich mir mit muss nach nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen \
seiner selbst sich sie sind so solche soll sollte sondern sonst über um und uns unser unter viel vom von vor war waren \
warum was weil weiter welche wenn wer werde werden wie wieder will wir wird wo wollen würde zu zum zur zwar zwischen";

const FRENCH: &str = "à afin ai ainsi alors après au aucun aussi autre aux avant avec avoir ce cela ces cet cette ceux \
chaque chez ci comme comment d dans de des deux donc dont du elle elles en encore entre est et était étaient être eu \
fait font il ils j je jusqu l la là le les leur leurs lui ma mais me même mes moi moins mon n ne ni nos notre nous on \
ont ou où par parce pas peu peut plus pour pourquoi qu quand que quel quelle quelles quels qui s sa sans se sera ses \
si son sont sous sur ta te tes toi ton tous tout toute toutes très tu un une vers vos votre vous y";

const SPANISH: &str = "a al algo algunos ante antes aquel aunque cada como con contra cual cuando de del desde donde dos \
durante e el él ella ellas ellos en entre era eran es esa esas ese eso esos esta está están estas este esto estos fue \
fueron ha había han hasta hay la las le les lo los más me mi mientras muy nada ni no nos nosotros o otra otras otro \
otros para pero poco por porque pues puede que qué quien se según ser si sí siempre sin sino sobre son su sus también \
tan tanto te tiene tienen todo todos tu un una unas uno unos usted y ya yo";

impl Language {
    /// BCP 47, with `und` for an unknown language.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Unknown => "und",
        }
    }

    /// True for a word, in lower case, that any text of the language is full of.
    pub(crate) fn is_function_word(self, word: &str) -> bool {
        // The longest list has some 150 words; a scan is dominated by its length comparisons.
        self.function_words().split_ascii_whitespace().any(|function_word| function_word == word)
    }

    const fn function_words(self) -> &'static str {
        match self {
            Self::English => ENGLISH,
            Self::German => GERMAN,
            Self::French => FRENCH,
            Self::Spanish => SPANISH,
            Self::Unknown => "",
        }
    }
}

/// The language with the most function words among the first of the text.
pub(crate) fn detect(document: &Document) -> Language {
    let words: Vec<String> =
        document.prose().flat_map(|block| block.text.unicode_words()).take(SAMPLE_WORDS).map(normal).collect();
    let hits = |language: Language| words.iter().filter(|word| language.is_function_word(word)).count();
    // `max_by_key` keeps the last of equals, so the order is turned to prefer the first.
    let best = KNOWN.into_iter().rev().map(|language| (language, hits(language))).max_by_key(|(_, hits)| *hits);
    match best {
        Some((language, hits)) if hits > 0 && hits * 100 >= words.len() * MIN_SHARE_PERCENT => language,
        _ => Language::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain;

    fn check(text: &str, expect: Language) {
        assert_eq!(detect(&plain::parse(text)), expect, "{text}");
    }

    #[test]
    fn languages_are_told_apart() {
        check("The agent rents the compute that it needs, and the owner sees it.", Language::English);
        check("Der Agent mietet die Rechenzeit, die er braucht, und der Besitzer sieht es.", Language::German);
        check("L'agent loue le calcul dont il a besoin, et le propriétaire le voit.", Language::French);
        check("El agente alquila el cómputo que necesita y el dueño lo ve.", Language::Spanish);
        check("これは文です。", Language::Unknown);
        check("alpha beta gamma 1 2 3", Language::Unknown);
    }
}
