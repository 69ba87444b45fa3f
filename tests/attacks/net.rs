//! The network of `notify` steps: the real guard, with a resolver and a dialler that lead nowhere and write
//! down who was asked for. Whoever would have been connected to answers the way the step says.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use recharge_local::sim::receiver::{Manner, SimReceiver};
use recharge_shared::app::notify::{Deliver, Delivered, Notification};
use recharge_shared::egress::{Dial, Guard, Resolve, WayOut};
use recharge_tests::world::{CALLBACK_URL, rules};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::case::{NotUnderstood, only, text_of};

/// An address that the guard lets through; nothing is ever sent to it.
pub const PUBLIC_IP: &str = "93.184.215.14";

#[derive(Debug, Default)]
struct State {
    dns: BTreeMap<String, Vec<Vec<IpAddr>>>,
    dialled: Vec<SocketAddr>,
    location: Option<String>,
}

/// What the guard sees of the world.
#[derive(Debug, Clone, Default)]
pub struct Net(Arc<Mutex<State>>);

impl Net {
    /// The way out of the bundle: the guard, and behind it the receivers.
    pub fn way(&self, receiver: &SimReceiver) -> Arc<dyn Deliver> {
        let guard = Guard::new(Arc::new(self.clone()), Arc::new(self.clone()));
        let guard = WayOut::with_guard(guard, rules());
        Arc::new(Way { guard, net: self.clone(), receiver: receiver.clone() })
    }

    /// Everybody who would have been connected to.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().dialled.clone()
    }

    /// Sets the network up as a step says.
    pub fn set(&self, net: &Value, receiver: &SimReceiver) -> Result<(), NotUnderstood> {
        only("net", net, &["dns", "dns_sequence", "reply"])?;
        let address = |value: &Value| {
            let text = text_of(value).replace("{{public_ip}}", PUBLIC_IP);
            text.parse().map_err(|_| NotUnderstood(format!("dns {text}")))
        };
        let mut state = self.0.lock().unwrap();
        for (host, addresses) in net["dns"].as_object().into_iter().flatten() {
            let list = addresses.as_array().into_iter().flatten().map(address);
            state.dns.insert(host.clone(), vec![list.collect::<Result<_, _>>()?]);
        }
        for (host, look_ups) in net["dns_sequence"].as_object().into_iter().flatten() {
            let one = |list: &Value| match list {
                Value::Array(list) => list.iter().map(address).collect(),
                one => Ok(vec![address(one)?]),
            };
            let look_ups = look_ups.as_array().into_iter().flatten().map(one);
            state.dns.insert(host.clone(), look_ups.collect::<Result<_, _>>()?);
        }
        let manner = match &net["reply"] {
            Value::Null => return Ok(()),
            Value::String(word) if word == "hang" || word == "drip" => Manner::Hangs,
            Value::String(word) if word == "endless" => {
                Manner::Answers(500, "x".repeat(64 * 1_024))
            }
            reply if reply.is_object() => {
                only("reply", reply, &["status", "body", "location", "retry_after"])?;
                state.location = reply["location"].as_str().map(str::to_owned);
                let status = reply["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                Manner::Answers(status.unwrap_or(200), text_of(&reply["body"]))
            }
            other => return Err(NotUnderstood(format!("reply {other}"))),
        };
        receiver.set(CALLBACK_URL, manner);
        Ok(())
    }
}

#[async_trait]
impl Resolve for Net {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut state = self.0.lock().unwrap();
        let Some(look_ups) = state.dns.get_mut(host) else {
            return Ok(vec![PUBLIC_IP.parse().unwrap()]);
        };
        Ok(if look_ups.len() > 1 { look_ups.remove(0) } else { look_ups[0].clone() })
    }
}

#[async_trait]
impl Dial for Net {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.lock().unwrap().dialled.push(address);
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

#[derive(Debug)]
struct Way {
    guard: WayOut,
    net: Net,
    receiver: SimReceiver,
}

#[async_trait]
impl Deliver for Way {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let before = self.net.dialled().len();
        let guarded = self.guard.deliver(url, notification).await;
        // Nobody was dialled: the guard has refused. Otherwise the receiver would have been reached.
        if self.net.dialled().len() == before {
            return guarded;
        }
        let within = Duration::from_secs(25);
        let answered = tokio::time::timeout(within, self.receiver.deliver(url, notification)).await;
        answered.unwrap_or(guarded)
    }
}
