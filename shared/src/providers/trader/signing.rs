//! The string to sign and its digest, by the account's one profile.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::settings::{Algorithm, HexCase, Layout, SigningProfile};
use crate::secrets::is_blank;

/// Fields by name; the order of names is the order of signing.
pub type Fields = BTreeMap<String, String>;

/// The name under which the signature travels.
pub const SIGN: &str = "sign";

impl SigningProfile {
    /// The name under which the field `name` is signed.
    pub(super) fn signed_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.field_rename.get(name).map_or(name, String::as_str)
    }
}

/// The signature of `fields` under `key`, in the case that we send.
pub fn sign(profile: &SigningProfile, fields: &Fields, key: &str) -> String {
    let digest = digest(profile, fields, key);
    match profile.hex_case {
        HexCase::Upper => hex::encode_upper(digest),
        HexCase::Lower => hex::encode(digest),
    }
}

/// Whether `signature` is that of `fields` under `key`; in constant time, hex in either case.
pub fn verify(profile: &SigningProfile, fields: &Fields, key: &str, signature: &str) -> bool {
    let Ok(given) = hex::decode(signature) else { return false };
    let wanted = digest(profile, fields, key);
    !is_blank(key) && given.ct_eq(&wanted).into()
}

fn digest(profile: &SigningProfile, fields: &Fields, key: &str) -> Vec<u8> {
    let text = string_to_sign(profile, fields);
    match profile.algorithm {
        Algorithm::Sha1SuffixKey => {
            Sha1::digest([text.as_bytes(), key.as_bytes()].concat()).to_vec()
        }
        Algorithm::Md5SuffixKey => Md5::digest([text.as_bytes(), key.as_bytes()].concat()).to_vec(),
        Algorithm::HmacSha256 => Hmac::<Sha256>::new_from_slice(key.as_bytes())
            .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
            .unwrap_or_default(),
    }
}

fn string_to_sign(profile: &SigningProfile, fields: &Fields) -> String {
    let is_signed = |name: &str| match &profile.signed_fields {
        Some(listed) => listed.iter().any(|signed| signed == name),
        None => name != SIGN,
    };
    let signed: BTreeMap<&str, &str> = fields
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| (profile.signed_name(name), value.as_str()))
        .collect();
    let pairs = signed.iter();
    match profile.layout {
        Layout::NameValue => pairs.map(|(name, value)| format!("{name}{value}")).collect(),
        Layout::ValueOnly => pairs.map(|(_, value)| *value).collect(),
        Layout::QueryPairs => {
            pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        id: String,
        key: Option<String>,
        profile: SigningProfile,
        fields: Fields,
        string: String,
        sign: String,
    }

    #[derive(Deserialize)]
    struct Vectors {
        key: String,
        vectors: Vec<Vector>,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../../../tests/vectors/trader.json")).unwrap()
    }

    #[test]
    fn all_vectors_of_the_contract_come_out() {
        let Vectors { key, vectors } = vectors();
        assert_eq!(vectors.len(), 9);
        for Vector { id, key: own, profile, fields, string, sign: wanted } in vectors {
            let key = own.unwrap_or_else(|| key.clone());
            assert_eq!(string_to_sign(&profile, &fields), string, "{id}");
            assert_eq!(sign(&profile, &fields, &key), wanted, "{id}");
            assert!(verify(&profile, &fields, &key, &wanted), "{id}");
            assert!(verify(&profile, &fields, &key, &wanted.to_lowercase()), "{id}");
            assert!(!verify(&profile, &fields, "another key", &wanted), "{id}");
            let mut changed = fields.clone();
            changed.insert("orderid".to_owned(), "SH01HF000000000000000002".to_owned());
            assert!(!verify(&profile, &changed, &key, &wanted), "{id}");
        }
    }

    #[test]
    fn the_splice_has_the_digest_of_the_genuine_message() {
        let vectors = vectors().vectors;
        let sign_of =
            |id: &str| vectors.iter().find(|vector| vector.id == id).unwrap().sign.clone();
        assert_eq!(sign_of("T-7"), sign_of("T-3"), "which is why the field set is checked first");
    }

    #[test]
    fn an_empty_key_verifies_nothing() {
        let (profile, fields) = (SigningProfile::default(), Fields::new());
        let signature = sign(&profile, &fields, "");
        assert!(!verify(&profile, &fields, "", &signature));
    }

    #[test]
    fn fields_can_be_signed_under_other_names_or_not_at_all() {
        let fields: Fields = [("b", "2"), ("a", "1"), ("c", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let profile = SigningProfile {
            layout: Layout::QueryPairs,
            field_rename: [("a".to_owned(), "z".to_owned())].into(),
            signed_fields: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..SigningProfile::default()
        };
        assert_eq!(string_to_sign(&profile, &fields), "b=2&z=1");
    }
}
