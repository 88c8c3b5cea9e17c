//! What is sent arrives once and in order, every answer finds who asked, and what cannot be sent fails
//! soon.

use super::{Listening, soon};
use bytes::Bytes;
use chronos_node::cluster::exchange::Serve;
use chronos_node::cluster::peers::Peers;
use chronos_raft::{Request, RequestKind, Transport, Unreachable};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Writes down what it is asked and repeats it. Holds the answers until it may answer.
struct Echo {
    asked: Arc<Mutex<Vec<Bytes>>>,
    may_answer: Arc<Semaphore>,
}

impl Echo {
    fn new(answers: usize) -> Self {
        Self {
            asked: Arc::default(),
            may_answer: Arc::new(Semaphore::new(answers)),
        }
    }
}

impl Serve for Echo {
    fn serve(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        self.asked.lock().unwrap().push(request.clone());
        let may_answer = Arc::clone(&self.may_answer);
        async move {
            may_answer.acquire().await.unwrap().forget();
            request
        }
        .boxed()
    }
}

fn request(parts: &[&[u8]]) -> Request {
    Request {
        parts: parts
            .iter()
            .map(|part| Bytes::copy_from_slice(part))
            .collect(),
        deadline: Duration::from_secs(20),
        kind: RequestKind::Append,
    }
}

fn to(listening: &Listening) -> Peers {
    let peers = Peers::new();
    peers.locate(2, &listening.address.to_string());
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_come_in_order_and_each_answer_finds_who_asked() {
    let node = Listening::start().await;
    let groups: Vec<_> = (0..3).map(|_| Echo::new(10_000)).collect();
    let asked: Vec<_> = groups.iter().map(|echo| Arc::clone(&echo.asked)).collect();
    for (group, echo) in groups.into_iter().enumerate() {
        node.served.insert(group as u32, Arc::new(echo));
    }
    let peers = to(&node);
    let calls = (0..3_000_u32).map(|number| {
        let call = peers.call(2, number % 3, request(&[b"number ", &number.to_le_bytes()]));
        async move { (number, call.await) }
    });
    for (number, answer) in soon("all answers", join_all(calls)).await {
        let mut expected = b"number ".to_vec();
        expected.extend(number.to_le_bytes());
        assert_eq!(answer.unwrap(), expected);
    }
    for (group, asked) in asked.iter().enumerate() {
        let numbers: Vec<u32> = (asked.lock().unwrap().iter())
            .map(|request| u32::from_le_bytes(request[7..].try_into().unwrap()))
            .collect();
        let expected: Vec<u32> = (0..3_000)
            .filter(|number| number % 3 == group as u32)
            .collect();
        assert_eq!(numbers, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_arrives_whole() {
    let node = Listening::start().await;
    node.served.insert(0, Arc::new(Echo::new(1)));
    let body = vec![7_u8; 20 << 20];
    let answer = soon(
        "the answer",
        to(&node).call(2, 0, request(&[b"head", &body])),
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!((answer.len(), &answer[..4]), (body.len() + 4, &b"head"[..]));
    assert_eq!(answer[4..], body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_and_a_node_that_is_unknown_are_errors() {
    let node = Listening::start().await;
    let peers = to(&node);
    let unknown = soon("an answer", peers.call(2, 9, request(&[b"x"]))).await;
    assert_eq!(
        unknown,
        Err(Unreachable("group 9 is not on this node".into()))
    );
    let nobody = soon("an answer", peers.call(3, 9, request(&[b"x"]))).await;
    assert_eq!(
        nobody,
        Err(Unreachable("it is not known where node 3 is".into()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_wait_and_a_broken_connection_ends_all() {
    let node = Listening::start().await;
    node.served.insert(0, Arc::new(Echo::new(0)));
    let peers = to(&node);
    let hasty = Request {
        deadline: Duration::from_millis(50),
        ..request(&[b"x"])
    };
    let late = soon("the deadline", peers.call(2, 0, hasty)).await;
    assert!(late.unwrap_err().0.contains("did not answer within"));

    let echo = Echo::new(0);
    let asked = Arc::clone(&echo.asked);
    node.served.insert(0, Arc::new(echo));
    let waiting: Vec<_> = (0..10)
        .map(|_| peers.call(2, 0, request(&[b"x"])))
        .collect();
    let arrived = async {
        while asked.lock().unwrap().len() < 10 {
            tokio::task::yield_now().await;
        }
    };
    soon("the requests", arrived).await;
    peers.forget(2);
    drop(peers);
    // The connection ends with the last link to it.
    for answer in soon("the failures", join_all(waiting)).await {
        answer.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_up_later_or_elsewhere_is_reached() {
    let first = Listening::start().await;
    let address = first.address;
    drop(first);
    let peers = Peers::new();
    peers.locate(2, &address.to_string());
    let refused = soon("a refusal", peers.call(2, 0, request(&[b"x"]))).await;
    assert!(refused.unwrap_err().0.contains("cannot be reached"));

    let second = Listening::start().await;
    second.served.insert(0, Arc::new(Echo::new(1_000)));
    peers.locate(2, &second.address.to_string());
    let answer = soon("an answer", peers.call(2, 0, request(&[b"hello"]))).await;
    assert_eq!(answer.unwrap(), "hello");
}
