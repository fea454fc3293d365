//! A provider's signed statement of how fast a node of its is.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{classes::HardwareClass, typed_data::recover};
use serde::{Deserialize, Serialize};

use super::Template;
use crate::spec::sha256;

/// A score that was measured longer ago says nothing any more, seconds.
pub const MAX_AGE_S: u64 = 30 * 86_400;
/// Clocks may differ by so much, seconds.
const SKEW_S: u64 = 600;
/// Keeps a score's digest apart from that of every other signed document.
const DOMAIN: &[u8] = b"openclaw score 1\n";

/// What was measured, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
    /// Whose node it is.
    pub provider: Address,
    /// The class that it sells.
    pub class: HardwareClass,
    /// Hash of the template's spec.
    pub template: B256,
    /// Worker image.
    pub image: B256,
    /// What each worker gets of processor cores, thousandths.
    pub cpus_milli: u32,
    /// The best run, milliseconds.
    pub took_ms: u64,
    /// The template's reference time over `took_ms`, thousandths: 1000 is the reference machine.
    pub score_milli: u64,
    /// Whether the class's accelerator was at work; otherwise the score is of the processor alone.
    pub accelerated: bool,
    /// Unix seconds.
    pub measured_s: u64,
}

/// A score that does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// Somebody else's word.
    #[error("the score is not signed by the provider or its operators")]
    Signer,
    /// Of another market or provider.
    #[error("the score is of another {0}")]
    Other(&'static str),
    /// It contradicts itself.
    #[error("the score of {score_milli} thousandths is not what {took_ms} ms make of {reference_ms} ms")]
    Sum {
        /// As stated.
        score_milli: u64,
        /// As stated.
        took_ms: u64,
        /// The template's.
        reference_ms: u64,
    },
    /// Too old, or from the future.
    #[error("the score was measured at {0}, which is too long ago or has not come yet; measure again")]
    Age(u64),
}

impl Score {
    /// Speed in thousandths of the reference machine's.
    pub(crate) fn milli(reference_ms: u64, took_ms: u64) -> u64 {
        reference_ms.saturating_mul(1_000) / took_ms.max(1)
    }

    /// Share of what a node of its class should reach, 1 being just that.
    pub fn share(&self) -> f64 {
        self.score_milli as f64 / 1_000.0 / Template::of(self.class).nominal(self.class)
    }

    fn digest(&self) -> B256 {
        sha256(&[DOMAIN, &serde_json::to_vec(self).unwrap_or_default()].concat())
    }
}

/// A score and the signature of its digest by the provider's key or an operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// What is stated.
    pub score: Score,
    /// 65 bytes.
    pub signature: Bytes,
}

impl Scored {
    /// Signs a score.
    ///
    /// # Errors
    /// When the signer refuses.
    pub fn sign(score: Score, signer: &PrivateKeySigner) -> Result<Self, alloy::signers::Error> {
        let signature = signer.sign_hash_sync(&score.digest())?;
        Ok(Self { score, signature: Bytes::from(signature.as_bytes().to_vec()) })
    }

    /// Whether it holds at `now_s` as `provider`'s word on this market; `signers` may speak for that provider.
    ///
    /// # Errors
    /// [`ScoreError`] says what is wrong with it.
    pub fn check(
        &self,
        chain_id: u64,
        market: Address,
        provider: Address,
        signers: &[Address],
        now_s: u64,
    ) -> Result<(), ScoreError> {
        let score = &self.score;
        let template = Template::of(score.class);
        for (is_so, what) in [
            (score.chain_id == chain_id, "chain"),
            (score.market == market, "market"),
            (score.provider == provider, "provider"),
            (score.template == template.spec_hash && score.accelerated == template.accelerated, "template"),
        ] {
            if !is_so {
                return Err(ScoreError::Other(what));
            }
        }
        let (score_milli, took_ms, reference_ms) = (score.score_milli, score.took_ms, template.reference_ms);
        if took_ms == 0 || score_milli != Score::milli(reference_ms, took_ms) {
            return Err(ScoreError::Sum { score_milli, took_ms, reference_ms });
        }
        if !recover(&score.digest(), &self.signature).is_some_and(|signer| signers.contains(&signer)) {
            return Err(ScoreError::Signer);
        }
        if self.is_old(now_s) || score.measured_s > now_s.saturating_add(SKEW_S) {
            return Err(ScoreError::Age(score.measured_s));
        }
        Ok(())
    }

    /// Whether it was measured too long before `now_s` to count.
    pub fn is_old(&self, now_s: u64) -> bool {
        self.score.measured_s.saturating_add(MAX_AGE_S) < now_s
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) const MEASURED_S: u64 = 1_000_000_000;
    const MARKET: Address = Address::repeat_byte(1);

    /// A score of `provider`, whose node took so long.
    pub(crate) fn score(provider: Address, took_ms: u64) -> Score {
        let template = Template::of(HardwareClass::CpuOnly);
        Score {
            chain_id: 31_337,
            market: MARKET,
            provider,
            class: HardwareClass::CpuOnly,
            template: template.spec_hash,
            image: B256::repeat_byte(2),
            cpus_milli: 1_000,
            took_ms,
            score_milli: Score::milli(template.reference_ms, took_ms),
            accelerated: false,
            measured_s: MEASURED_S,
        }
    }

    fn check(scored: &Scored, signers: &[Address], now_s: u64) -> Result<(), ScoreError> {
        let provider = Address::repeat_byte(9);
        scored.check(31_337, MARKET, provider, signers, now_s)
    }

    #[test]
    fn a_score_is_its_signers_in_every_field() {
        let key = PrivateKeySigner::random();
        let signers = [Address::repeat_byte(9), key.address()];
        let scored = Scored::sign(score(Address::repeat_byte(9), 6_000), &key).unwrap();
        assert_eq!(check(&scored, &signers, MEASURED_S), Ok(()));
        assert_eq!(check(&scored, &signers[..1], MEASURED_S), Err(ScoreError::Signer));
        let changes: [fn(&mut Score); 11] = [
            |it| it.chain_id += 1,
            |it| it.market = Address::ZERO,
            |it| it.provider = Address::ZERO,
            |it| it.class = HardwareClass::PremiumGpu,
            |it| it.template = B256::ZERO,
            |it| it.image = B256::ZERO,
            |it| it.cpus_milli += 1,
            // With its sum, so that nothing but the signature speaks against it.
            |it| (it.took_ms, it.score_milli) = (3_000, Score::milli(Template::of(it.class).reference_ms, 3_000)),
            |it| it.score_milli += 1,
            |it| it.accelerated = true,
            |it| it.measured_s += 1,
        ];
        for change in changes {
            let mut forged = scored.clone();
            change(&mut forged.score);
            assert!(check(&forged, &signers, MEASURED_S).is_err(), "{:?}", forged.score);
            // Signed anew it is another's word, or still not of this template, market or provider.
            assert_ne!(recover(&forged.score.digest(), &scored.signature), Some(key.address()));
        }
        let mut cut = scored.clone();
        cut.signature = Bytes::from(scored.signature[..64].to_vec());
        assert_eq!(check(&cut, &signers, MEASURED_S), Err(ScoreError::Signer));
    }

    #[test]
    fn what_is_signed_must_be_true_of_itself_and_recent() {
        let key = PrivateKeySigner::random();
        let good = score(Address::repeat_byte(9), 6_000);
        let with = |change: fn(&mut Score), now_s: u64| {
            let mut score = good.clone();
            change(&mut score);
            check(&Scored::sign(score, &key).unwrap(), &[key.address()], now_s)
        };
        assert_eq!(with(|_| {}, MEASURED_S + MAX_AGE_S), Ok(()));
        assert_eq!(with(|_| {}, MEASURED_S + MAX_AGE_S + 1), Err(ScoreError::Age(MEASURED_S)));
        assert_eq!(with(|_| {}, MEASURED_S - SKEW_S), Ok(()));
        assert_eq!(with(|_| {}, MEASURED_S - SKEW_S - 1), Err(ScoreError::Age(MEASURED_S)));
        assert!(matches!(with(|it| it.score_milli *= 2, MEASURED_S), Err(ScoreError::Sum { .. })));
        assert!(matches!(with(|it| it.took_ms = 0, MEASURED_S), Err(ScoreError::Sum { .. })));
        assert_eq!(with(|it| it.chain_id = 1, MEASURED_S), Err(ScoreError::Other("chain")));
        assert_eq!(with(|it| it.market = Address::ZERO, MEASURED_S), Err(ScoreError::Other("market")));
        assert_eq!(with(|it| it.provider = Address::ZERO, MEASURED_S), Err(ScoreError::Other("provider")));
        assert_eq!(with(|it| it.template = B256::ZERO, MEASURED_S), Err(ScoreError::Other("template")));
        // No craft uses an accelerator: who says so invents.
        assert_eq!(with(|it| it.accelerated = true, MEASURED_S), Err(ScoreError::Other("template")));
    }
}
