//! The network of `notify` steps: the real guard, with a resolver and a dialler that lead nowhere and write
//! down who was asked for. Whoever would have been connected to answers the way the step says; that nobody
//! goes where a `location` points shows in who was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use recharge_local::sim::receiver::{Manner, SimReceiver};
use recharge_shared::app::notify::{Deliver, Delivered, Notification};
use recharge_shared::egress::{Dial, Guard, Resolve, WayOut};
use recharge_tests::world::rules;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::case::{NotUnderstood, only};
use crate::scene::Scene;

/// An address that the guard lets through; nothing is ever sent to it.
pub const PUBLIC_IP: &str = "93.184.215.14";

#[derive(Debug, Default)]
struct State {
    dns: BTreeMap<String, Vec<Vec<IpAddr>>>,
    dialled: Vec<SocketAddr>,
    /// What receivers do, one after the other; the last of them stays.
    replies: VecDeque<Reply>,
    /// The next connection breaks.
    resets: bool,
}

/// What a receiver does with one notification.
#[derive(Debug, Clone)]
struct Reply {
    manner: Manner,
    retry_after: Option<Duration>,
}

impl Reply {
    fn parse(scene: &Scene<'_>, reply: &Value) -> Result<Reply, NotUnderstood> {
        let unknown = || NotUnderstood(format!("reply {reply}"));
        let manner = match reply {
            Value::String(word) if word == "hang" || word == "drip" => Manner::Hangs,
            Value::String(word) if word == "endless" => {
                Manner::Answers(500, "x".repeat(64 * 1_024))
            }
            Value::Object(_) => {
                only("reply", reply, &["status", "body", "location", "retry_after"])?;
                let status = reply.get("status").map(|status| status.as_u64().unwrap_or(0));
                let status = u16::try_from(status.unwrap_or(200)).map_err(|_| unknown())?;
                let text = |name: &str| match &reply[name] {
                    Value::Null => Ok(""),
                    text => text.as_str().ok_or_else(unknown),
                };
                text("location")?;
                if !(100..=999).contains(&status) {
                    return Err(unknown());
                }
                Manner::Answers(status, scene.fill(text("body")?))
            }
            _ => return Err(unknown()),
        };
        // As the way out reads the header: whole seconds, or nothing.
        let retry_after = match &reply["retry_after"] {
            Value::Null => None,
            Value::Number(secs) => secs.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => return Err(unknown()),
        };
        Ok(Reply { manner, retry_after: retry_after.map(Duration::from_secs) })
    }
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
    pub fn set(&self, net: &Value, scene: &Scene<'_>) -> Result<(), NotUnderstood> {
        only("net", net, &["dns", "dns_sequence", "reply", "reply_sequence", "first_connect"])?;
        let mut state = self.0.lock().unwrap();
        for (host, found) in members(net, "dns")? {
            state.dns.insert(host, vec![addresses(&found)?]);
        }
        for (host, look_ups) in members(net, "dns_sequence")? {
            let list = look_ups.as_array().filter(|list| !list.is_empty());
            let list = list.ok_or_else(|| NotUnderstood(format!("dns_sequence {look_ups}")))?;
            state.dns.insert(host, list.iter().map(addresses).collect::<Result<_, _>>()?);
        }
        match &net["first_connect"] {
            Value::Null => {}
            word if word == "reset" => state.resets = true,
            other => return Err(NotUnderstood(format!("first_connect {other}"))),
        }
        match (net.get("reply"), net.get("reply_sequence")) {
            (None, None) => {}
            (Some(reply), None) => state.replies = VecDeque::from([Reply::parse(scene, reply)?]),
            (None, Some(Value::Array(replies))) if !replies.is_empty() => {
                let replies = replies.iter().map(|reply| Reply::parse(scene, reply));
                state.replies = replies.collect::<Result<_, _>>()?;
            }
            _ => return Err(NotUnderstood(format!("reply of {net}"))),
        }
        Ok(())
    }

    /// What the receiver does that would be connected to now; `None` if the connection breaks.
    fn next_reply(&self) -> Option<Reply> {
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.resets) {
            return None;
        }
        let plain = Reply { manner: Manner::Answers(200, String::new()), retry_after: None };
        match state.replies.len() {
            0 => Some(plain),
            1 => state.replies.front().cloned(),
            _ => state.replies.pop_front(),
        }
    }
}

fn members(net: &Value, name: &str) -> Result<Vec<(String, Value)>, NotUnderstood> {
    match &net[name] {
        Value::Null => Ok(Vec::new()),
        Value::Object(hosts) => {
            Ok(hosts.iter().map(|(host, found)| (host.clone(), found.clone())).collect())
        }
        other => Err(NotUnderstood(format!("{name} {other}"))),
    }
}

/// What one look-up finds: an address, several, or none.
fn addresses(found: &Value) -> Result<Vec<IpAddr>, NotUnderstood> {
    let one = |value: &Value| {
        let text = value.as_str().map(|text| text.replace("{{public_ip}}", PUBLIC_IP));
        let address = text.and_then(|text| text.parse().ok());
        address.ok_or_else(|| NotUnderstood(format!("dns {value}")))
    };
    match found {
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
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
        let Some(reply) = self.net.next_reply() else { return guarded };
        self.receiver.set(url, reply.manner);
        let within = Duration::from_secs(25);
        let answered = tokio::time::timeout(within, self.receiver.deliver(url, notification)).await;
        let answered = answered.unwrap_or(guarded);
        Delivered { retry_after: reply.retry_after.filter(|_| answered.status > 0), ..answered }
    }
}
