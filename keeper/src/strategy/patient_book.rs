//! One tick above the queue, capped by a percentile of recent winning prices that rises as the deadline nears.
//!
//! A free slot that nobody ahead will take is taken at its reserve. Behind a queue the bid is `best + epsilon`, unless that is
//! above the cap; then it waits for the cap to rise or the queue to clear. At the deadline the cap is the most that the
//! user allows.

use serde::Deserialize;

use super::{Decision, Situation};

/// Knobs of the strategy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatientBook {
    /// Ticks above the best waiting bid.
    pub epsilon: u8,
    /// Percentile of recent winning ticks that caps a bid at the start, 0..=1.
    pub patient_percentile: f64,
    /// Fraction of the time to the deadline after which only the user's own maximum caps a bid, 0..=1.
    pub patience: f64,
}

impl Default for PatientBook {
    fn default() -> Self {
        Self { epsilon: 1, patient_percentile: 0.5, patience: 0.8 }
    }
}

impl PatientBook {
    /// Prices one piece of work.
    pub fn decide(&self, now: &Situation) -> Decision {
        let Some(floor) = now.floor else {
            return Decision::Wait { why: "no open offer serves this book".into() };
        };
        if floor > now.max_tick {
            let why = format!("the lowest reserve is tick {floor}, above the allowed tick {}", now.max_tick);
            return Decision::Wait { why };
        }
        if let Some(free) = now.free_floor
            && free <= now.max_tick
        {
            return Decision::Bid { tick: free, why: format!("a slot is free at its reserve, tick {free}") };
        }
        let ahead = now.best_waiting.map_or(floor, |best| best.saturating_add(self.epsilon)).max(floor);
        let cap = self.cap(now).max(floor);
        if ahead <= cap {
            Decision::Bid {
                tick: ahead,
                why: format!("{} waiting, best + {} is tick {ahead}", now.depth, self.epsilon),
            }
        } else {
            Decision::Wait { why: format!("tick {ahead} would lead the queue, above today's cap of {cap}") }
        }
    }

    /// Highest tick worth bidding now.
    fn cap(&self, now: &Situation) -> u8 {
        if now.recent.is_empty() {
            return now.max_tick;
        }
        let mut ticks = now.recent.clone();
        ticks.sort_unstable();
        let urgency = (now.elapsed / self.patience.max(f64::EPSILON)).clamp(0.0, 1.0);
        let percentile = self.patient_percentile + (1.0 - self.patient_percentile) * urgency;
        let rank = ((ticks.len() - 1) as f64 * percentile.clamp(0.0, 1.0)).round() as usize;
        let typical = f64::from(ticks[rank]);
        // From the typical price to the allowed maximum, in step with the urgency.
        let cap = typical + (f64::from(now.max_tick) - typical).max(0.0) * urgency * urgency;
        (cap.round() as u8).min(now.max_tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation() -> Situation {
        Situation {
            free_floor: Some(100),
            floor: Some(100),
            best_waiting: None,
            depth: 0,
            recent: vec![],
            max_tick: 160,
            elapsed: 0.0,
        }
    }

    fn check(change: impl FnOnce(&mut Situation), expect: Option<u8>) {
        let mut now = situation();
        change(&mut now);
        let tick = match PatientBook::default().decide(&now) {
            Decision::Bid { tick, .. } => Some(tick),
            Decision::Wait { .. } => None,
        };
        assert_eq!(tick, expect, "{now:?}");
    }

    #[test]
    fn a_free_slot_is_taken_at_its_reserve() {
        check(|_| {}, Some(100));
    }

    #[test]
    fn behind_a_queue_it_bids_one_above() {
        check(|s| (s.free_floor, s.best_waiting, s.depth) = (None, Some(120), 3), Some(121));
    }

    #[test]
    fn it_waits_when_the_queue_costs_more_than_usual() {
        let queue = |s: &mut Situation| (s.free_floor, s.best_waiting, s.depth) = (None, Some(150), 3);
        check(|s| (queue(s), s.recent = vec![110, 112, 114]).1, None);
    }

    #[test]
    fn at_the_deadline_only_the_users_maximum_counts() {
        let late = |s: &mut Situation| {
            (s.free_floor, s.best_waiting, s.depth, s.recent, s.elapsed) = (None, Some(150), 3, vec![110], 1.0);
        };
        check(late, Some(151));
        check(|s| (late(s), s.max_tick = 140).1, None);
    }

    #[test]
    fn nothing_is_bid_without_an_affordable_offer() {
        check(|s| (s.floor, s.free_floor) = (None, None), None);
        check(|s| s.max_tick = 99, None);
    }

    #[test]
    fn the_cap_never_falls_as_time_passes() {
        let strategy = PatientBook::default();
        let mut last = 0;
        for step in 0..=100 {
            let cap = strategy.cap(&Situation {
                recent: vec![90, 100, 130],
                elapsed: f64::from(step) / 100.0,
                ..situation()
            });
            assert!(cap >= last, "{step}: {cap} < {last}");
            last = cap;
        }
    }
}
