//! Tokens that are good, and every way in which one is not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chassis::clock;
use protocol::access::Scope;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac_with(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

fn pem(pair: &Ed25519KeyPair) -> String {
    let bytes = [&ED25519_PREFIX, pair.public_key().as_ref()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(bytes))
}

fn now_s() -> i64 {
    clock::wall_ms() / 1_000
}

fn claims() -> Value {
    json!({"sub": "robot", "aud": "longshore", "exp": now_s() + 60, "tenant": "acme", "scope": "read submit unknown"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

#[test]
fn both_algorithms_prove_who_somebody_is() {
    let check = |tokens: &Tokens, token: &str| {
        let principal = tokens.principal(token).expect("good");
        assert_eq!((principal.who.as_str(), principal.tenant.as_str()), ("jwt:robot", "acme"));
        assert!(principal.scopes.allow(Scope::Read) && principal.scopes.allow(Scope::Submit));
        assert!(!principal.scopes.allow(Scope::Operate));
    };
    let hs256 = Tokens::hs256(SECRET, "longshore").expect("a secret");
    check(&hs256, &signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims(), hmac_with(SECRET)));
    let pair = key_pair();
    let eddsa = Tokens::eddsa(&pem(&pair), "longshore").expect("a key");
    let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    check(&eddsa, &signed(&json!({"alg": "EdDSA"}), &with("aud", json!(["other", "longshore"])), sign));
}

#[test]
fn a_token_that_is_not_good_is_told_why() {
    let tokens = Tokens::hs256(SECRET, "longshore").expect("a secret");
    let hs256 = json!({"alg": "HS256"});
    let check = |token: &str, says: &str| {
        let problem = tokens.principal(token).expect_err("refused");
        assert!(problem.status == 401 && problem.detail.contains(says), "{says}: {problem}");
    };
    let of = |claims: &Value| signed(&hs256, claims, hmac_with(SECRET));
    assert!(tokens.principal(&of(&with("exp", json!(now_s() - 20)))).is_ok(), "within the leeway");
    check(&of(&with("exp", json!(now_s() - 40))), "has expired");
    check(&of(&with("nbf", json!(now_s() + 40))), "not yet valid");
    check(&of(&with("aud", json!("other"))), "another audience");
    check(&of(&without("aud")), "lacks exp or aud");
    check(&of(&without("exp")), "");
    check(&of(&with("tenant", json!("No Tenant"))), "can be read");
    check(&of(&with("sub", json!("x".repeat(129)))), "subject");
    check(&signed(&hs256, &claims(), hmac_with(b"another secret, as long as it is")), "signature");
    check("a.b.c", "can be read");
    check("a.b", "can be read");
}

/// The public key of `EdDSA` is public: if it were taken for a secret of HS256, or a token without a signature were taken, anybody could sign.
#[test]
fn a_token_cannot_choose_its_algorithm() {
    let pair = key_pair();
    let pem = pem(&pair);
    let eddsa = Tokens::eddsa(&pem, "longshore").expect("a key");
    let hs256 = Tokens::hs256(SECRET, "longshore").expect("a secret");
    let by_public = |secret: &[u8]| signed(&json!({"alg": "HS256"}), &claims(), hmac_with(secret));
    for token in [by_public(pem.as_bytes()), by_public(pair.public_key().as_ref())] {
        assert!(eddsa.principal(&token).is_err());
    }
    for alg in ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        for token in [
            signed(&json!({"alg": alg}), &claims(), hmac_with(SECRET)),
            signed(&json!({"alg": alg}), &claims(), |_| Vec::new()),
        ] {
            assert!(hs256.principal(&token).is_err(), "{alg}");
        }
    }
    let key_in_token = json!({"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}});
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
    assert!(
        eddsa.principal(&signed(&key_in_token, &claims(), |message| other.sign(message).as_ref().to_vec())).is_err()
    );
}

#[test]
fn keys_that_are_none_are_refused() {
    assert!(Tokens::hs256(b"short", "a").is_none());
    for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----"] {
        assert!(Tokens::eddsa(pem, "a").is_none(), "{pem}");
    }
}
