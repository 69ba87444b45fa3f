//! The guard against resolvers that lie and receivers that misbehave, on real sockets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each look-up with the next list, the last one for ever.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str) -> Vec<IpAddr> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    }
}

fn guard(answers: &[&[&str]], allow_loopback: bool) -> (Guard, Arc<Scripted>) {
    let list = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
    let answers = Mutex::new(answers.iter().map(list).collect());
    let resolver = Arc::new(Scripted { answers, asked: AtomicUsize::new(0) });
    let rules = Rules { allow_loopback, ..Rules::default() };
    (Guard::new(rules, resolver.clone()), resolver)
}

fn notification() -> Notification {
    Notification {
        id: "msg_1".to_owned(),
        timestamp_secs: 1_700_000_000,
        signature: "v1,c2ln".to_owned(),
        body: "{\"a\":1}".to_owned(),
    }
}

/// A receiver that does `answer` with each connection; its URL, and how many there were.
async fn receiver(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = vec![0; 4_096];
                let read = socket.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
                assert!(
                    request.contains("webhook-id: msg_1") && request.contains("connection: close")
                );
                match answer {
                    "hang" => tokio::time::sleep(Duration::from_secs(600)).await,
                    "endless" => {
                        let _ = socket.write_all(b"HTTP/1.1 500 X\r\n\r\n").await;
                        while socket.write_all(&[b'x'; 8_192]).await.is_ok() {}
                    }
                    answer => drop(socket.write_all(answer.as_bytes()).await),
                }
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn answers_come_back_and_redirects_are_answers() {
    let (guard, _) = guard(&[&[]], true);
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            302,
        ),
        ("HTTP/1.1 503 No\r\nretry-after: 120\r\ncontent-length: 4\r\n\r\nbusy", 503),
    ] {
        let (url, connections) = receiver(answer).await;
        let delivered = guard.deliver(&url, &notification()).await;
        assert_eq!((delivered.status, delivered.error.as_str()), (status, ""));
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        if status == 503 {
            assert_eq!(delivered.retry_after, Some(Duration::from_secs(120)));
            assert_eq!(delivered.excerpt, "busy");
        }
        guard.deliver(&url, &notification()).await;
        assert_eq!(connections.load(Ordering::SeqCst), 2, "no connection is used twice");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let (guard, _) = guard(&[&[]], true);
    let (url, _) = receiver("endless").await;
    let delivered = guard.deliver(&url, &notification()).await;
    assert_eq!((delivered.status, delivered.excerpt.len()), (500, 1_024));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_ends_the_attempt_after_the_deadline() {
    let (guard, _) = guard(&[&[]], true);
    let (url, _) = receiver("hang").await;
    let started = tokio::time::Instant::now();
    let delivered = guard.deliver(&url, &notification()).await;
    assert_eq!((delivered.status, delivered.error.as_str()), (0, "timeout"));
    assert!(started.elapsed() <= DEADLINE + Duration::from_secs(1));
}

#[tokio::test]
async fn nobody_is_connected_to_who_may_not_be() {
    let (url, connections) = receiver("HTTP/1.1 200 OK\r\n\r\n").await;
    let (strict, resolver) = guard(&[&["127.0.0.1"]], false);
    for refused in [url.as_str(), "http://a.example/", "https://127.0.0.1/", "https://u@a.example/"]
    {
        let delivered = strict.deliver(refused, &notification()).await;
        assert_eq!((delivered.status, delivered.error.as_str()), (0, "refused_url"), "{refused}");
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
    for addresses in [
        &["127.0.0.1"][..],
        &["93.184.215.14", "10.0.0.1"],
        &["::ffff:169.254.169.254"],
        &["64:ff9b::a9fe:a9fe"],
    ] {
        let (guard, _) = guard(&[addresses], false);
        let delivered = guard.deliver("https://a.example/", &notification()).await;
        assert_eq!(delivered.error, "refused_address", "{addresses:?}");
    }
    let (guard, _) = guard(&[&[]], false);
    assert_eq!(guard.deliver("https://a.example/", &notification()).await.error, "dns");
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    // The name leads to a public address when it is checked, and home a moment later.
    let (guard, resolver) = guard(&[&["93.184.215.14"], &["127.0.0.1"]], false);
    let found = destination("https://rebind.example/", &guard.rules).unwrap();
    let address = guard.checked(&found).await.unwrap();
    assert_eq!(address.to_string(), "93.184.215.14:443");
    let name: Name = "rebind.example".parse().unwrap();
    let mut connector = Checked(address);
    let given: Vec<_> = tower_service::Service::call(&mut connector, name).await.unwrap().collect();
    assert_eq!((given, resolver.asked.load(Ordering::SeqCst)), (vec![address], 1));
}
