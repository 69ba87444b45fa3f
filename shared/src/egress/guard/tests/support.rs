//! Doors that record, and a server on the loopback address that misbehaves as it is told.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::super::url::Rules;
use super::*;

pub const LIMITS: Limits =
    Limits { deadline: Duration::from_millis(400), answer_bytes_max: usize::MAX };

/// A public address.
pub const PUBLIC: &str = "93.184.216.34";

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `url` by the rules of a local run, its port allowed whatever it is.
pub fn destination(url: &str) -> Destination {
    let rules =
        Rules { allow_loopback: true, ports: (1..=u16::MAX).collect(), own_hosts: Vec::new() };
    Destination::parse(url, &rules).expect(url)
}

pub async fn send(guard: &Guard, destination: &Destination) -> Result<Reply, EgressError> {
    guard.send(destination, HeaderMap::new(), Bytes::from_static(b"{}"), LIMITS).await
}

#[derive(Debug)]
pub struct Resolver {
    answers: Mutex<VecDeque<io::Result<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Resolver {
    pub fn with<const N: usize>(answers: [io::Result<Vec<IpAddr>>; N]) -> Arc<Resolver> {
        Arc::new(Resolver { answers: Mutex::new(answers.into()), asked: Mutex::default() })
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Resolve for Resolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        self.answers.lock().unwrap().pop_front().expect("asked once too often")
    }
}

#[derive(Debug)]
pub struct SilentResolver;

#[async_trait]
impl Resolve for SilentResolver {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        pending().await
    }
}

#[derive(Debug)]
enum Way {
    Unreachable,
    Silent,
    LeadingTo(SocketAddr),
}

#[derive(Debug)]
pub struct Dialer {
    way: Way,
    dialed: Mutex<Vec<SocketAddr>>,
}

impl Dialer {
    pub fn unreachable() -> Arc<Dialer> {
        Arc::new(Dialer { way: Way::Unreachable, dialed: Mutex::default() })
    }

    pub fn silent() -> Arc<Dialer> {
        Arc::new(Dialer { way: Way::Silent, dialed: Mutex::default() })
    }

    /// Connects to `address` whatever it is asked for.
    pub fn leading_to(address: SocketAddr) -> Arc<Dialer> {
        Arc::new(Dialer { way: Way::LeadingTo(address), dialed: Mutex::default() })
    }

    pub fn dialed(&self) -> Vec<SocketAddr> {
        self.dialed.lock().unwrap().clone()
    }
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialed.lock().unwrap().push(address);
        match self.way {
            Way::Unreachable => Err(io::ErrorKind::HostUnreachable.into()),
            Way::Silent => pending().await,
            Way::LeadingTo(address) => TcpStream::connect(address).await,
        }
    }
}

/// What a server does once it has heard a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Nothing.
    Hang,
    /// Says this and closes.
    Once(String),
    /// Says the first, then the second again and again, after a pause if there is one.
    Endless(&'static str, String, Duration),
}

#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(answer: Answer) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, heard) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (counter, log) = (accepted.clone(), heard.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                // An error is the guard hanging up, which is what some tests want.
                let _ = serve(&mut stream, &answer, &log).await;
            }
        });
        Server { address, accepted, heard, task }
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn heard(&self) -> String {
        String::from_utf8(self.heard.lock().unwrap().clone()).unwrap()
    }
}

async fn serve(stream: &mut TcpStream, answer: &Answer, log: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut buffer = [0; 4_096];
    while !log.lock().unwrap().ends_with(b"{}") {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        log.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
    match answer {
        Answer::Hang => pending().await,
        Answer::Once(text) => stream.write_all(text.as_bytes()).await,
        Answer::Endless(head, again, pause) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(again.as_bytes()).await?;
                tokio::time::sleep(*pause).await;
            }
        }
    }
}
