//! The secret that all members of one cluster share.
//!
//! It is the only credential of the control plane: whoever holds it may ask for memory keys. It never leaves the
//! process; what the handshake uses is a key derived from it.

use std::fmt;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use snow::params::HashChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use zeroize::Zeroizing;

/// The fewest bytes a secret may have.
///
/// A recorded handshake lets an attacker try guesses at leisure, so a secret must hold too much entropy to guess.
/// Length is a weak check of that; [`Secret::generate`] is the strong one.
pub const MIN_SECRET_LEN: usize = 16;

/// Random bytes in a generated secret, before they are written as hexadecimal digits.
const GENERATED_LEN: usize = 32;

/// Separates this use of the secret from any other that may come.
const PSK_LABEL: &[u8] = b"farrow control plane psk v1";

/// The cluster's shared secret. It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret from bytes, exactly as they are: trim a file's line end first.
    ///
    /// # Errors
    /// [`SecretTooShort`] below [`MIN_SECRET_LEN`] bytes.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Secret, SecretTooShort> {
        let bytes = bytes.as_ref();
        if bytes.len() < MIN_SECRET_LEN {
            return Err(SecretTooShort { len: bytes.len() });
        }
        Ok(Secret(Zeroizing::new(bytes.to_vec())))
    }

    /// Makes a fresh secret: 32 bytes from the operating system, as 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> io::Result<Secret> {
        let mut random = Zeroizing::new([0_u8; GENERATED_LEN]);
        let filled = getrandom(random.as_mut_slice(), GetRandomFlags::empty())?;
        assert_eq!(filled, GENERATED_LEN, "getrandom never returns less than what was asked up to 256 bytes");
        let mut digits = Zeroizing::new(Vec::with_capacity(2 * GENERATED_LEN));
        for byte in random.iter() {
            digits.extend([byte >> 4, byte & 0xf].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]));
        }
        Ok(Secret(digits))
    }

    /// The secret in clear, for writing it to the file that the cluster's members share.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key that the handshake mixes in.
    pub(crate) fn psk(&self) -> Zeroizing<[u8; 32]> {
        let mut hash = DefaultResolver
            .resolve_hash(&HashChoice::Blake2s)
            .expect("the handshake's own hash is always compiled in");
        let mut psk = Zeroizing::new([0_u8; 32]);
        hash.hmac(PSK_LABEL, &self.0, psk.as_mut_slice());
        psk
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret with fewer than [`MIN_SECRET_LEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster secret has {len} bytes and needs at least {MIN_SECRET_LEN}; make one of 32 random bytes"
)]
pub struct SecretTooShort {
    /// The bytes it has.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secret_is_refused_and_the_shortest_allowed_is_not() {
        assert_eq!(Secret::from_bytes([7; 15]).unwrap_err(), SecretTooShort { len: 15 });
        assert_eq!(Secret::from_bytes([7; 16]).unwrap().expose(), [7; 16]);
    }

    #[test]
    fn generated_secrets_are_hexadecimal_and_differ() {
        let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(a.expose().len(), 64);
        assert!(a.expose().iter().all(u8::is_ascii_hexdigit));
        assert_ne!(a.expose(), b.expose());
    }

    #[test]
    fn debug_never_shows_the_bytes() {
        let secret = Secret::from_bytes(b"sixteen bytes ok").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn psk_depends_on_every_byte_and_is_not_the_secret() {
        let base = [1_u8; 32];
        let psk = *Secret::from_bytes(base).unwrap().psk();
        assert_ne!(psk, base);
        for at in 0..base.len() {
            let mut other = base;
            other[at] ^= 1;
            assert_ne!(*Secret::from_bytes(other).unwrap().psk(), psk, "byte {at} does not count");
        }
    }

    #[test]
    fn psk_is_frozen() {
        // Another derivation would split a cluster in the middle of an upgrade: it needs a new major version.
        let psk = Secret::from_bytes(b"a secret that must never change").unwrap().psk();
        let hex: String = psk.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a9e0cd74ba6bf086cfd06b30c973b3e167ffbc4eab26255ee583e954a91cc022");
    }
}
