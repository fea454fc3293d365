//! Signed, short-lived requests: four headers that bind a request to one key, one rental's path, one minute and one use.
//!
//! The signature is EIP-191 over a text that names everything a stranger could change: method, path, hash of the
//! content, chain, market, expiry and a random number. The server serves each number once. What it has served it
//! forgets when it restarts; a request overheard before and sent again within its minute then does what it did before,
//! which changes nothing, as every write here puts content under its own hash.

use alloy::{
    primitives::{Address, B128, B256, Signature},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Who signed, `0x` and 40 hex digits.
pub const SIGNER: HeaderName = HeaderName::from_static("x-openclaw-signer");
/// Unix second from which the request is void.
pub const EXPIRES: HeaderName = HeaderName::from_static("x-openclaw-expires");
/// 16 random bytes, `0x` and hex: never the same twice.
pub const NONCE: HeaderName = HeaderName::from_static("x-openclaw-nonce");
/// 65 bytes, `0x` and hex.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-openclaw-signature");

/// A request may expire at most this far ahead of the server's clock, seconds.
pub const MAX_AHEAD_S: u64 = 60;
/// How far ahead clients let their requests expire, seconds. It leaves 30 s for clocks that differ either way.
pub const SIGN_AHEAD_S: u64 = 30;

/// What a signature binds.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// HTTP method, in capitals.
    pub method: &'a str,
    /// Path and query as sent.
    pub path: &'a str,
    /// SHA-256 of the content: for an upload the whole blob's, even if only a part is sent.
    pub content: B256,
    /// Chain of the market.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
    /// Unix seconds.
    pub expires_unix_s: u64,
    /// Makes the request differ from every other one.
    pub nonce: B128,
}

/// A request whose signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who signed.
    pub signer: Address,
    /// Unix second from which the request is void.
    pub expires_unix_s: u64,
    /// Makes the request differ from every other one.
    pub nonce: B128,
}

/// The request is not signed as it must be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// A header is absent or no such value.
    #[error("header {0} is missing or unreadable; sign the request")]
    Header(HeaderName),
    /// Too late.
    #[error("the request expired at {expires} and it is {now} here; sign it again, and set the clock if that goes on")]
    Expired {
        /// Unix seconds.
        expires: u64,
        /// Unix seconds at the server.
        now: u64,
    },
    /// Too long a life.
    #[error("the request expires at {expires}, over {MAX_AHEAD_S} s from {now} here; sign for less, or set the clock")]
    TooFarAhead {
        /// Unix seconds.
        expires: u64,
        /// Unix seconds at the server.
        now: u64,
    },
    /// Another key signed, or another request was signed.
    #[error("the signature is not {0}'s over this method, path, content, chain, market, expiry and nonce")]
    Signature(Address),
    /// The same request came before.
    #[error("this request was served before (nonce {0}); sign each request anew, with a nonce of its own")]
    Replayed(B128),
}

impl Subject<'_> {
    /// The text that is signed.
    pub fn message(&self) -> String {
        format!(
            "OpenClaw data plane request\nmethod: {}\npath: {}\ncontent: {}\nchain: {}\nmarket: {:#x}\nexpires: {}\n\
             nonce: {}\n",
            self.method, self.path, self.content, self.chain_id, self.market, self.expires_unix_s, self.nonce
        )
    }

    /// The headers of a request signed by `signer`.
    ///
    /// # Errors
    /// When the signer refuses.
    pub fn sign(&self, signer: &PrivateKeySigner) -> Result<HeaderMap, alloy::signers::Error> {
        let signature = signer.sign_message_sync(self.message().as_bytes())?;
        let values = [
            (SIGNER, format!("{:#x}", signer.address())),
            (EXPIRES, self.expires_unix_s.to_string()),
            (NONCE, self.nonce.to_string()),
            (SIGNATURE, format!("0x{}", hex::encode(signature.as_bytes()))),
        ];
        // Hex and digits are always good header values.
        Ok(values.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect())
    }

    /// Who signed this subject, whose expiry and nonce are taken from `headers`. Whether the nonce was used before is
    /// for the caller to know.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(self, headers: &HeaderMap, now_unix_s: u64) -> Result<Signed, AuthError> {
        fn parse<T: std::str::FromStr>(headers: &HeaderMap, name: HeaderName) -> Result<T, AuthError> {
            let value = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
            value.ok_or(AuthError::Header(name))
        }
        let signer: Address = parse(headers, SIGNER)?;
        let expires: u64 = parse(headers, EXPIRES)?;
        let nonce: B128 = parse(headers, NONCE)?;
        let signature: Signature = parse(headers, SIGNATURE)?;
        if expires <= now_unix_s {
            return Err(AuthError::Expired { expires, now: now_unix_s });
        }
        if expires > now_unix_s + MAX_AHEAD_S {
            return Err(AuthError::TooFarAhead { expires, now: now_unix_s });
        }
        let signed = Self { expires_unix_s: expires, nonce, ..self };
        match signature.recover_address_from_msg(signed.message()) {
            Ok(found) if found == signer => Ok(Signed { signer, expires_unix_s: expires, nonce }),
            _ => Err(AuthError::Signature(signer)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn subject() -> Subject<'static> {
        Subject {
            method: "PUT",
            path: "/v1/rentals/0x1/spec",
            content: B256::repeat_byte(7),
            chain_id: 31_337,
            market: Address::repeat_byte(9),
            expires_unix_s: NOW + SIGN_AHEAD_S,
            nonce: B128::repeat_byte(3),
        }
    }

    #[test]
    fn every_signed_field_is_bound() {
        let signer = PrivateKeySigner::random();
        let headers = subject().sign(&signer).unwrap();
        let nonce = B128::repeat_byte(3);
        let signed = Signed { signer: signer.address(), expires_unix_s: NOW + SIGN_AHEAD_S, nonce };
        assert_eq!(subject().verify(&headers, NOW), Ok(signed));
        let refused = Err(AuthError::Signature(signer.address()));
        for changed in [
            Subject { method: "GET", ..subject() },
            Subject { path: "/v1/rentals/0x2/spec", ..subject() },
            Subject { content: B256::ZERO, ..subject() },
            Subject { chain_id: 1, ..subject() },
            Subject { market: Address::ZERO, ..subject() },
        ] {
            assert_eq!(changed.verify(&headers, NOW), refused);
        }
        let mut changed = headers.clone();
        changed.insert(EXPIRES, HeaderValue::from(NOW + SIGN_AHEAD_S + 1));
        assert_eq!(subject().verify(&changed, NOW), refused);
        changed = headers.clone();
        changed.insert(NONCE, HeaderValue::try_from(B128::repeat_byte(4).to_string()).unwrap());
        assert_eq!(subject().verify(&changed, NOW), refused);
        let other = Address::repeat_byte(1);
        changed = headers.clone();
        changed.insert(SIGNER, HeaderValue::try_from(other.to_string()).unwrap());
        assert_eq!(subject().verify(&changed, NOW), Err(AuthError::Signature(other)));
    }

    #[test]
    fn a_request_lives_for_a_minute_at_most() {
        let signer = PrivateKeySigner::random();
        let headers = subject().sign(&signer).unwrap();
        let expires = NOW + SIGN_AHEAD_S;
        assert!(subject().verify(&headers, expires - 1).is_ok());
        assert_eq!(subject().verify(&headers, expires), Err(AuthError::Expired { expires, now: expires }));
        assert!(subject().verify(&headers, expires - MAX_AHEAD_S).is_ok());
        let now = expires - MAX_AHEAD_S - 1;
        assert_eq!(subject().verify(&headers, now), Err(AuthError::TooFarAhead { expires, now }));
    }

    #[test]
    fn absent_and_broken_headers_are_named() {
        let headers = subject().sign(&PrivateKeySigner::random()).unwrap();
        for name in [SIGNER, EXPIRES, NONCE, SIGNATURE] {
            let mut lacking = headers.clone();
            lacking.remove(&name);
            assert_eq!(subject().verify(&lacking, NOW), Err(AuthError::Header(name.clone())));
            lacking.insert(&name, HeaderValue::from_static("0xzz"));
            assert_eq!(subject().verify(&lacking, NOW), Err(AuthError::Header(name)));
        }
    }
}
