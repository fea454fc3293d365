//! Hardware classes, as AITBC names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A hardware class; its number on chain is its position here, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HardwareClass {
    /// No accelerator.
    CpuOnly,
    /// Entry-level accelerator.
    LowEndGpu,
    /// Mid-range accelerator.
    MidRangeGpu,
    /// High-end accelerator.
    HighEndGpu,
    /// The fastest there is.
    PremiumGpu,
}

impl HardwareClass {
    /// All classes, slowest first.
    pub const ALL: [Self; 5] = [Self::CpuOnly, Self::LowEndGpu, Self::MidRangeGpu, Self::HighEndGpu, Self::PremiumGpu];

    /// Number on chain, from 1.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The class of a number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Name as written in configs, APIs and commands.
    pub fn name(self) -> &'static str {
        ["cpu_only", "low_end_gpu", "mid_range_gpu", "high_end_gpu", "premium_gpu"][self as usize]
    }

    /// Speed relative to `cpu_only`.
    pub fn relative_speed(self) -> f64 {
        [1.0, 2.5, 5.0, 10.0, 20.0][self as usize]
    }

    /// Reference price, token units (18 decimals) per hour.
    pub fn reference_per_hour(self) -> u128 {
        [1, 3, 5, 9, 15][self as usize] * 10_000_000_000_000_000
    }
}

impl fmt::Display for HardwareClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no hardware class.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no hardware class: use one of cpu_only, low_end_gpu, mid_range_gpu, high_end_gpu, premium_gpu")]
pub struct ParseClassError(String);

impl FromStr for HardwareClass {
    type Err = ParseClassError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or_else(|| ParseClassError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        for class in HardwareClass::ALL {
            assert_eq!(class.name().parse::<HardwareClass>().unwrap(), class);
            assert_eq!(HardwareClass::from_number(class.number()), Some(class));
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
        }
        assert_eq!(HardwareClass::from_number(0), None);
        assert_eq!(HardwareClass::from_number(6), None);
    }
}
