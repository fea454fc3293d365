//! How a row becomes bytes: a version byte, then its fields in order, numbers big-endian.
//!
//! Equal rows give equal bytes, which is what lets two indexes be compared byte by byte.

use alloy::primitives::{Address, B256, U256};
use contracts::{bindings::Status, ids::AgreementId, units::Amount};

/// One field of a row.
pub(crate) trait Field: Sized {
    /// Appends the field.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the field from the front of `input`; `None` when the bytes are no such field.
    fn take(input: &mut &[u8]) -> Option<Self>;
}

/// A value of the store.
pub(crate) trait Row: Sized {
    /// Name for messages.
    const NAME: &'static str;
    /// First byte of the encoding.
    const VERSION: u8;
    /// Bytes of the row.
    fn encode(&self) -> Vec<u8>;
    /// The row; `None` when the bytes are of another version or damaged.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Declares a plain struct, its order of fields being its encoding.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident v $version:literal { $($(#[$doc:meta])* $field:ident: $kind:ty,)* }) => {
        row!(@part $(#[$meta])* $name { $($(#[$doc])* $field: $kind,)* });

        impl $crate::store::codec::Row for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION: u8 = $version;

            fn encode(&self) -> Vec<u8> {
                let mut out = vec![Self::VERSION];
                $crate::store::codec::Field::put(self, &mut out);
                out
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let (version, mut rest) = bytes.split_first()?;
                let row = <Self as $crate::store::codec::Field>::take(&mut rest)?;
                (*version == Self::VERSION && rest.is_empty()).then_some(row)
            }
        }
    };
    (@part $(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: $kind,)* }

        impl $crate::store::codec::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::store::codec::Field::put(&self.$field, out);)*
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: $crate::store::codec::Field::take(input)?,)* })
            }
        }
    };
}
pub(crate) use row;

/// Splits `N` bytes off the front.
fn split<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                split(input).map(Self::from_be_bytes)
            }
        }
    )*};
}
number!(u8, u16, u32, u64, u128);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        match split::<1>(input)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl Field for Address {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_slice());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        split(input).map(Self::new)
    }
}

impl Field for B256 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_slice());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        split(input).map(Self::new)
    }
}

impl Field for U256 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes::<32>());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        split::<32>(input).map(Self::from_be_bytes)
    }
}

impl Field for Amount {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        u128::take(input).map(Self)
    }
}

impl Field for AgreementId {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        split(input).map(Self::from_be_bytes)
    }
}

impl Field for Status {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let [raw] = split::<1>(input)?;
        Status::try_from(raw).ok()
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let length = u32::take(input)? as usize;
        let (text, rest) = input.split_at_checked(length)?;
        *input = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        if bool::take(input)? { T::take(input).map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, unreachable_pub)]
    use super::*;

    row! {
        /// A row with a field of every kind.
        Sample v 3 {
            /// Text.
            text: String,
            /// Perhaps a number.
            maybe: Option<u64>,
            /// Absent.
            nothing: Option<Address>,
            /// Status.
            status: Status,
            /// Wide.
            wide: U256,
        }
    }

    fn sample() -> Sample {
        Sample {
            text: "Zürich".into(),
            maybe: Some(7),
            nothing: None,
            status: Status::Running,
            wide: U256::from(1) << 200,
        }
    }

    #[test]
    fn a_row_survives_a_round_trip() {
        assert_eq!(Sample::decode(&sample().encode()).unwrap(), sample());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = sample().encode();
        assert_eq!(Sample::decode(&bytes[..bytes.len() - 1]), None, "cut short");
        assert_eq!(Sample::decode(&[bytes.clone(), vec![0]].concat()), None, "too long");
        let mut other = bytes.clone();
        other[0] = 4;
        assert_eq!(Sample::decode(&other), None, "another version");
        assert_eq!(Sample::decode(&[]), None);
    }
}
