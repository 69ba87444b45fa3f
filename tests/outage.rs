//! Hours without the table, as claims.

use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_tests::World;
use recharge_tests::world::simulate;

const MINOR: i64 = 5_000_000;

#[test]
fn a_confirmation_outlasts_three_hours_without_the_table() {
    simulate(1, async || {
        let world = World::new().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap_or("").to_owned();
        let aws = &world.stack.ground.aws;
        let (sqs, queue) = (aws.sqs(aws.http_client(), 1), &world.stack.names.settlement_url);
        sqs.send_message().queue_url(queue).message_body("not json").send().await.unwrap();
        assert_eq!(world.deliver(&world.pay(&order, None)).await.status, 200);
        let down = |call: &Call| match call.service {
            Service::DynamoDb => Fault::RequestLost,
            _ => Fault::None,
        };
        let away = world.instance(&Faults::new(world.clock().clone(), down), 3);
        for _ in 0..180 {
            world.pass(60).await;
            while world.stack.settle_batch_with(&away, 0).await.unwrap() > 0 {}
        }
        let depth = world.stack.depth();
        assert_eq!(depth.dead, 1, "what nobody can read is given up all the same");
        world.pass(181).await;
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        let depth = world.stack.depth();
        assert_eq!((depth.visible, depth.in_flight, depth.dead), (0, 0, 1));
    });
}
