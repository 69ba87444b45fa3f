//! Digests over lists of fields that cannot be confused with one another, and Crockford base32.

use sha2::{Digest, Sha256};

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// SHA-256 over `domain` and `fields`, each preceded by its length: moving a byte from one field to
/// its neighbour changes the digest.
pub fn digest(domain: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for field in std::iter::once(domain.as_bytes()).chain(fields.iter().copied()) {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

/// The first `characters` Crockford base32 digits of `bytes`, five bits each.
pub fn crockford(bytes: &[u8; 32], characters: usize) -> String {
    (0..characters.min(51))
        .map(|index| {
            let bit = index * 5;
            let (byte, shift) = (bit / 8, bit % 8);
            let pair = u16::from_be_bytes([bytes[byte], bytes.get(byte + 1).copied().unwrap_or(0)]);
            CROCKFORD[usize::from((pair >> (11 - shift)) & 31)] as char
        })
        .collect()
}

/// Whether every byte is a Crockford base32 digit in upper case.
pub fn is_crockford(text: &str) -> bool {
    text.bytes().all(|byte| CROCKFORD.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_moved_between_fields_changes_the_digest() {
        assert_ne!(digest("d", &[b"ab", b"c"]), digest("d", &[b"a", b"bc"]));
        assert_ne!(digest("d", &[b"ab"]), digest("da", &[b"b"]));
        assert_eq!(digest("d", &[b"ab", b"c"]), digest("d", &[b"ab", b"c"]));
    }

    #[test]
    fn base32_takes_the_bits_in_order() {
        let mut bytes = [0u8; 32];
        bytes[..5].copy_from_slice(&[
            0b0000_0000,
            0b0100_0100,
            0b0011_0010,
            0b0001_0100,
            0b1100_0111,
        ]);
        assert_eq!(crockford(&bytes, 8), "01234567");
        assert_eq!(crockford(&[255; 32], 51), "Z".repeat(51));
    }
}
