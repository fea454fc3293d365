//! What an agent knows of how fast providers are: the scores that they publish, and what its own rentals took.
//!
//! A score is a provider's own word, so what the agent has seen itself counts first. A rental's receipt says how many seconds
//! its worker ran; a provider that makes them look fewer is paid for fewer. Rentals are compared with those of other providers
//! of the class, type by type of task, by bytes of input a second: medians, and every whole second in favour of whom is judged.
//! Where too little is known, nothing is said.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, ids::AgreementId};
use serde::{Deserialize, Serialize};

use crate::{benchmark::Scored, spec::TaskType};

/// Providers remembered; whom nothing was heard of for longest is forgotten first.
pub const MAX_PROVIDERS: usize = 1_000;
/// Rentals of one provider remembered, the newest.
const MAX_SAMPLES: usize = 16;
/// A rental says nothing any more after so long, seconds: so a bad name ends, though nobody rents from who has it.
const SAMPLE_AGE_S: u64 = 7 * 86_400;
/// Shorter inputs take no time worth comparing, bytes.
const MIN_BYTES: u64 = 1 << 20;
/// Rentals of one type of task that a judgement needs, of the provider and of others.
const MIN_SAMPLES: usize = 3;

/// What one rental took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The rental.
    pub rental: AgreementId,
    /// Kind of work.
    pub task: TaskType,
    /// Of all inputs.
    pub bytes: u64,
    /// Seconds that the worker ran, whole ones: a second more or less.
    pub seconds: u64,
    /// Unix seconds.
    pub at_s: u64,
}

/// What is known of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its newest score that held when it came.
    pub score: Option<Scored>,
    /// When it was asked for its score last, Unix seconds.
    pub asked_s: u64,
    /// What its rentals took, oldest first.
    pub samples: Vec<Sample>,
}

/// How fast a provider is, 1 being what its class should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// By its own word.
    Stated(f64),
    /// At most so fast, by so many of the agent's own rentals.
    Seen(f64, usize),
}

impl Speed {
    /// The share of its class's speed.
    pub fn share(self) -> f64 {
        match self {
            Self::Stated(share) | Self::Seen(share, _) => share,
        }
    }
}

/// What is known of all providers.
#[derive(Clone, Debug, Default)]
pub struct Speeds {
    known: BTreeMap<Address, Known>,
}

impl Speeds {
    /// From what was kept.
    pub fn new(known: impl IntoIterator<Item = (Address, Known)>) -> Self {
        Self { known: known.into_iter().collect() }
    }

    /// All that is known.
    pub fn all(&self) -> impl Iterator<Item = (&Address, &Known)> {
        self.known.iter()
    }

    /// When a provider was asked for its score last, and whether it has given one.
    pub fn asked(&self, provider: Address) -> (u64, bool) {
        self.known.get(&provider).map_or((0, false), |known| (known.asked_s, known.score.is_some()))
    }

    /// Notes that a provider was asked for its score, and what it said, if that holds. An older score than the one that is
    /// known changes nothing: a provider does not get rid of a bad one by showing a better one of the past. Gives what is
    /// known of it now, and who was forgotten for it.
    pub fn heard(&mut self, provider: Address, score: Option<Scored>, now_s: u64) -> (&Known, Option<Address>) {
        let known = self.known.entry(provider).or_default();
        known.asked_s = now_s;
        let measured_s = |scored: &Scored| scored.score.measured_s;
        if score.as_ref().map(measured_s) >= known.score.as_ref().map(measured_s) {
            known.score = score.or(known.score.take());
        }
        self.bounded(provider)
    }

    /// Notes what a rental took. Gives what is known of its provider now, and who was forgotten for it.
    pub fn took(&mut self, provider: Address, sample: Sample) -> (&Known, Option<Address>) {
        let known = self.known.entry(provider).or_default();
        if !known.samples.iter().any(|known| known.rental == sample.rental) {
            known.samples.push(sample);
            known.samples.drain(..known.samples.len().saturating_sub(MAX_SAMPLES));
        }
        self.bounded(provider)
    }

    /// How fast a provider of `class` is, if enough is known.
    pub fn of(&self, provider: Address, class: HardwareClass, now_s: u64) -> Option<Speed> {
        self.seen(provider, class, now_s).or_else(|| self.stated(provider, class, now_s).map(Speed::Stated))
    }

    fn stated(&self, provider: Address, class: HardwareClass, now_s: u64) -> Option<f64> {
        let scored = self.known.get(&provider)?.score.as_ref()?;
        (scored.score.class == class && !scored.is_old(now_s)).then(|| scored.score.share())
    }

    /// By the type of task that speaks best for the provider.
    fn seen(&self, provider: Address, class: HardwareClass, now_s: u64) -> Option<Speed> {
        let seen = TaskType::ALL.into_iter().filter_map(|task| {
            // Its worker may have run a second less, and the others' a second more.
            let own = self.rates(provider, class, task, now_s, -1);
            if own.len() < MIN_SAMPLES {
                return None;
            }
            let others = self.known.keys().filter(|other| **other != provider);
            let others: Vec<_> = others
                .map(|other| (*other, self.rates(*other, class, task, now_s, 1)))
                .filter(|(_, rates)| !rates.is_empty())
                .collect();
            if others.iter().map(|(_, rates)| rates.len()).sum::<usize>() < MIN_SAMPLES {
                return None;
            }
            let rentals = own.len();
            // Who says of itself that it is faster than its class must be, is no measure for those who are not.
            let normal = others.into_iter().filter_map(|(other, rates)| {
                Some(lower_median(rates)? / self.stated(other, class, now_s).unwrap_or(1.0).max(1.0))
            });
            let share = upper_median(own)? / lower_median(normal.collect())?;
            share.is_finite().then_some(Speed::Seen(share, rentals))
        });
        seen.max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    /// Bytes a second of a provider's rentals, with so many seconds added to each.
    fn rates(&self, provider: Address, class: HardwareClass, task: TaskType, now_s: u64, add_s: i64) -> Vec<f64> {
        let samples = self.known.get(&provider).into_iter().flat_map(|known| &known.samples);
        let counted = samples.filter(|sample| {
            sample.task == task
                && sample.rental.class() == class.number()
                && sample.bytes >= MIN_BYTES
                && sample.at_s.saturating_add(SAMPLE_AGE_S) >= now_s
        });
        counted.map(|sample| sample.bytes as f64 / sample.seconds.saturating_add_signed(add_s) as f64).collect()
    }

    fn bounded(&mut self, kept: Address) -> (&Known, Option<Address>) {
        let forgotten = (self.known.len() > MAX_PROVIDERS)
            .then(|| {
                let heard_s = |known: &Known| known.samples.last().map_or(0, |last| last.at_s).max(known.asked_s);
                let others = self.known.iter().filter(|(provider, _)| **provider != kept);
                others.min_by_key(|(_, known)| heard_s(known)).map(|(provider, _)| *provider)
            })
            .flatten();
        if let Some(forgotten) = forgotten {
            self.known.remove(&forgotten);
        }
        (self.known.entry(kept).or_default(), forgotten)
    }
}

/// The middle one; of an even number, the lower of the two.
fn lower_median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().checked_sub(1)? / 2).copied()
}

/// The middle one; of an even number, the higher of the two.
fn upper_median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::signers::local::PrivateKeySigner;
    use contracts::ids::BookId;

    use super::*;
    use crate::benchmark::samples::{MEASURED_S, score};

    const NOW_S: u64 = MEASURED_S;
    const MIB: u64 = 1 << 20;
    const CPU: HardwareClass = HardwareClass::CpuOnly;

    fn provider(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    /// A score of so many thousandths of the reference.
    fn stated(number: u8, milli: u64) -> Scored {
        let reference_ms = crate::benchmark::Template::of(CPU).reference_ms;
        Scored::sign(score(provider(number), reference_ms * 1_000 / milli), &PrivateKeySigner::random()).unwrap()
    }

    /// What rentals of a MiB or more took: provider, MiB, seconds.
    fn speeds(rentals: &[(u8, u64, u64)]) -> Speeds {
        let mut speeds = Speeds::default();
        for (number, (who, mib, seconds)) in rentals.iter().enumerate() {
            speeds.took(provider(*who), sample(number as u64, *mib, *seconds));
        }
        speeds
    }

    fn sample(number: u64, mib: u64, seconds: u64) -> Sample {
        let rental = AgreementId::new(BookId::for_duration(CPU.number(), 60, false).unwrap(), 1, number);
        Sample { rental, task: TaskType::DataAnalysis, bytes: mib * MIB, seconds, at_s: NOW_S }
    }

    fn of(speeds: &Speeds, number: u8) -> Option<Speed> {
        speeds.of(provider(number), CPU, NOW_S)
    }

    #[test]
    fn what_was_seen_is_compared_with_others_of_the_class() {
        // Provider 1 needs 11 s (10 at least) for what the others do in 1 s (2 at most).
        let slow = speeds(&[(1, 8, 11), (1, 8, 11), (1, 16, 21), (2, 8, 1), (2, 8, 1), (3, 8, 1)]);
        assert_eq!(of(&slow, 1), Some(Speed::Seen(0.2, 3)));
        // Provider 2 was seen twice only; nothing is said of it.
        assert_eq!((of(&slow, 2), of(&slow, 4)), (None, None));
        assert_eq!(slow.of(provider(1), HardwareClass::PremiumGpu, NOW_S), None, "another class is another market");
        assert_eq!(slow.of(provider(1), CPU, NOW_S + SAMPLE_AGE_S + 1), None, "it is long ago");
        // Too few of its own, too few of others, or none of others.
        assert_eq!(of(&speeds(&[(1, 8, 11), (1, 8, 11), (2, 8, 1), (2, 8, 1), (3, 8, 1)]), 1), None);
        assert_eq!(of(&speeds(&[(1, 8, 11), (1, 8, 11), (1, 8, 11), (2, 8, 1), (2, 8, 1)]), 1), None);
        assert_eq!(of(&speeds(&[(1, 8, 11), (1, 8, 11), (1, 8, 11)]), 1), None);
    }

    #[test]
    fn outliers_and_whole_seconds_speak_for_who_is_judged() {
        // One slow rental among fast ones, on either side, changes nothing.
        let odd = speeds(&[(1, 8, 3), (1, 8, 3), (1, 8, 90), (2, 8, 1), (2, 8, 1), (2, 8, 90)]);
        assert_eq!(of(&odd, 1), Some(Speed::Seen(1.0, 3)));
        // A second is as good as none: nothing can be said.
        assert_eq!(of(&speeds(&[(1, 8, 1), (1, 8, 1), (1, 8, 1), (2, 64, 1), (2, 64, 1), (2, 64, 1)]), 1), None);
        // Small inputs are all start-up.
        let mut small = speeds(&[(2, 8, 1), (2, 8, 1), (2, 8, 1)]);
        for number in 10..20 {
            small.took(provider(1), Sample { bytes: 1_000, ..sample(number, 1, 30) });
        }
        assert_eq!(of(&small, 1), None);
        // One with a great machine is no measure for who reaches its class.
        let mut great = speeds(&[(1, 8, 9), (1, 8, 9), (1, 8, 9), (2, 8, 1), (2, 8, 1), (2, 8, 1)]);
        assert_eq!(of(&great, 1), Some(Speed::Seen(0.25, 3)));
        great.heard(provider(2), Some(stated(2, 4_000)), NOW_S);
        assert_eq!(of(&great, 1), Some(Speed::Seen(1.0, 3)));
    }

    #[test]
    fn what_was_seen_counts_before_what_was_stated() {
        let mut known = Speeds::default();
        known.heard(provider(1), Some(stated(1, 1_000)), NOW_S);
        assert_eq!(of(&known, 1), Some(Speed::Stated(1.0)));
        assert_eq!(known.of(provider(1), HardwareClass::LowEndGpu, NOW_S), None, "the score is of another class");
        assert_eq!(known.of(provider(1), CPU, NOW_S + crate::benchmark::MAX_AGE_S + 1), None);
        for (number, (who, seconds)) in [(1, 11), (1, 11), (1, 11), (2, 1), (2, 1), (2, 1)].into_iter().enumerate() {
            known.took(provider(who), sample(number as u64, 8, seconds));
        }
        assert_eq!(of(&known, 1), Some(Speed::Seen(0.2, 3)));
    }

    #[test]
    fn a_score_of_the_past_or_none_replaces_nothing() {
        let mut known = Speeds::default();
        let bad = stated(1, 200);
        known.heard(provider(1), Some(bad.clone()), NOW_S);
        let mut past = stated(1, 1_000);
        past.score.measured_s -= 1;
        for answer in [Some(past), None] {
            let (kept, forgotten) = known.heard(provider(1), answer, NOW_S + 5);
            assert_eq!((&kept.score, kept.asked_s, forgotten), (&Some(bad.clone()), NOW_S + 5, None));
        }
        let good = stated(1, 1_000);
        assert_eq!(known.heard(provider(1), Some(good.clone()), NOW_S + 6).0.score, Some(good));
        assert_eq!(known.asked(provider(1)), (NOW_S + 6, true));
        assert_eq!(known.asked(provider(2)), (0, false));
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Speeds::default();
        for number in 0..2 * MAX_SAMPLES as u64 {
            known.took(provider(1), sample(number, 8, 1));
            known.took(provider(1), sample(number, 8, 1));
        }
        let (kept, _) = known.took(provider(1), sample(99, 8, 1));
        assert_eq!((kept.samples.len(), kept.samples.last().unwrap().rental.sequence()), (MAX_SAMPLES, 99));
        let stranger = |number: usize| Address::left_padding_from(&number.to_be_bytes());
        for number in 1..MAX_PROVIDERS {
            assert_eq!(known.heard(stranger(number), None, NOW_S + number as u64).1, None);
        }
        // Provider 1 was heard of at NOW_S, the first stranger a second later.
        assert_eq!(known.heard(stranger(5_000), None, 0).1, Some(provider(1)));
        assert_eq!(known.heard(stranger(5_001), None, 0).1, Some(stranger(5_000)));
        assert_eq!(known.all().count(), MAX_PROVIDERS);
    }
}
