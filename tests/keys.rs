//! Client keys over their life: made, rotated, revoked by the operator's code while requests go on.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use aws_credential_types::Credentials;
use futures_util::future::join_all;
use recharge_local::aws::{EmbeddedAws, SharedClock, server};
use recharge_local::call::ApiKey;
use recharge_local::stack;
use recharge_shared::auth::Scope;
use recharge_shared::auth::keys::{self, ClientKeysDocument};
use recharge_shared::auth::registry::{KeyRegistry, RegistryError};
use recharge_shared::config::Config;
use recharge_shared::domain::MerchantId;
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::json;
use tokio::net::TcpListener;

const FIRST: &str = "first-secret-0123456789abcdef012345";
const SECOND: &str = "second-secret-0123456789abcdef01234";

fn registry(world: &World) -> KeyRegistry {
    let aws = &world.stack.ground.aws;
    let client = aws.secrets(aws.http_client(), 3);
    KeyRegistry::new(client, world.stack.names.client_keys.clone())
}

fn add(id: &str) -> impl Fn(&mut ClientKeysDocument) -> Result<(), keys::KeyError> {
    move |document| {
        let merchant = MerchantId::parse("m_new").unwrap();
        keys::create(document, id, &merchant, &[Scope::RechargeRead], FIRST.to_owned())
    }
}

/// What a read signed with `secret` is answered.
async fn answer(world: &World, id: &str, secret: &str) -> (u16, String) {
    let key = ApiKey { id, secret, merchant: "" };
    let request = world.signed_as(key, ("GET", "/recharges"), "", "");
    let answered = world.send(&request).await;
    (answered.status, answered.json["errorCode"].as_str().unwrap_or("").to_owned())
}

#[test]
fn a_key_is_made_rotated_and_revoked_within_a_minute_each() {
    simulate(1, async || {
        let world = World::new().await;
        let registry = registry(&world);
        let refused = (401, "SIGNATURE_INVALID".to_owned());
        let good = (200, String::new());
        assert_eq!(answer(&world, "new", FIRST).await, refused);
        registry.change(add("new")).await.unwrap();
        world.pass(60).await;
        assert_eq!(answer(&world, "new", FIRST).await, good);
        // The others are untouched.
        assert_eq!(world.create("u_1", 5_000_000, "k-1").await.status, 201);

        let now = world.clock().now_ms() / 1_000;
        let rotate = |document: &mut ClientKeysDocument| {
            keys::rotate(document, "new", SECOND.to_owned(), (now, now + 600))
        };
        registry.change(rotate).await.unwrap();
        assert_eq!(answer(&world, "new", FIRST).await, good);
        assert_eq!(answer(&world, "new", SECOND).await, good, "at once, by an early read");
        world.pass(599).await;
        assert_eq!(answer(&world, "new", FIRST).await, good);
        world.pass(1).await;
        assert_eq!(answer(&world, "new", FIRST).await, refused, "the overlap is over");
        assert_eq!(answer(&world, "new", SECOND).await, good);

        registry.change(|document| keys::revoke(document, "new")).await.unwrap();
        world.pass(60).await;
        assert_eq!(answer(&world, "new", SECOND).await, refused);
        let again = registry.change(|document| keys::revoke(document, "new")).await;
        assert_eq!(again, Err(RegistryError::Refused(keys::KeyError::Unknown)));
    });
}

#[test]
fn a_key_whose_secret_is_blank_opens_nothing() {
    simulate(1, async || {
        let world = World::new().await;
        for (number, blank) in ["", " ", "\t \n", "\u{a0}"].into_iter().enumerate() {
            let id = format!("blank-{number}");
            let key = json!({"merchant": "m_new", "secret": blank, "scopes": ["recharge:read"],
                             "former": [{"secret": blank, "until": 4_000_000_000_i64}]});
            let key: keys::ClientKey = serde_json::from_value(key).unwrap();
            let add = |document: &mut ClientKeysDocument| {
                document.insert(id.clone(), key.clone());
                Ok(())
            };
            registry(&world).change(add).await.unwrap();
            world.pass(60).await;
            assert_eq!(answer(&world, &id, blank).await.0, 401, "{blank:?}");
        }
    });
}

#[test]
fn a_key_does_what_its_scopes_say() {
    simulate(1, async || {
        let world = World::new().await;
        registry(&world).change(add("reader")).await.unwrap();
        world.pass(60).await;
        let key = ApiKey { id: "reader", secret: FIRST, merchant: "m_new" };
        let body = json!({"userId": "u_1", "amount": 5, "currency": "USDT"}).to_string();
        let refused = world.send(&world.signed_as(key, ("POST", "/recharges"), &body, "k")).await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (403, &json!("FORBIDDEN")));
        assert_eq!(answer(&world, "reader", FIRST).await.0, 200);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_all_take_effect() {
    let aws = EmbeddedAws::open(None, SharedClock::system()).unwrap();
    let (names, _) = stack::prepare(&aws).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(server::serve(listener, aws));
    let credentials = Credentials::new("any", "thing", None, None, "test");
    let config = Config::of_endpoint(&url, credentials);
    let ids: Vec<String> = (0..4).map(|number| format!("new-{number}")).collect();
    for round in 0..10 {
        let change = async |id: &String| {
            let registry = KeyRegistry::new(config.secrets(), names.client_keys.clone());
            registry.change(add(id)).await
        };
        let changed = join_all(ids.iter().map(change)).await;
        let registry = KeyRegistry::new(config.secrets(), names.client_keys.clone());
        let document = registry.read().await.unwrap();
        for (id, changed) in ids.iter().zip(changed) {
            assert_eq!((changed, document.contains_key(id)), (Ok(()), true), "round {round}, {id}");
            registry.change(|document| keys::revoke(document, id)).await.unwrap();
        }
        assert!(document.contains_key("demo"));
    }
}
