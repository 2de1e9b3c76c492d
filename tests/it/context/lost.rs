//! A service that is not there, goes away, or falls silent: the client heals as soon as it is back.

use std::net::SocketAddr;

use moothall::context::{ContextClient, ContextState};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::ContextSource;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::stand::{Manner, PATIENCE, Stand, client, hurried, patient, query, says};

/// Answers nothing that it is asked, but holds the connections.
struct Silent {
    address: SocketAddr,
    listener: TcpListener,
    held: Vec<TcpStream>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener, held: Vec::new() }
    }

    async fn hold(&mut self) {
        loop {
            let (connection, _) = self.listener.accept().await.unwrap();
            self.held.push(connection);
        }
    }
}

async fn class(client: &ContextClient, story: &str) -> Class {
    let answer = timeout(PATIENCE, client.context(&query(story))).await.unwrap();
    let error = answer.unwrap_err();
    assert!(error.message.contains(&**client.address()), "{error}");
    assert!(matches!(client.state(), Some(ContextState::Degraded { .. })), "{:?}", client.state());
    error.class
}

#[tokio::test]
async fn a_service_that_is_killed_is_found_again() {
    let stand = Stand::start([says("v1")]).await;
    let client = stand.client(patient());
    client.context(&query("before")).await.unwrap();
    let address = stand.address;
    stand.kill().await;
    assert_eq!(class(&client, "during").await, Class::Transient);
    assert_eq!(&*client.context(&query("before")).await.unwrap().version, "v1", "what is kept needs no service");

    let _back = Stand::start_at(address, [says("v2")]).await;
    assert_eq!(&*client.context(&query("after")).await.unwrap().version, "v2");
    assert_eq!(client.state(), Some(ContextState::Healthy));
}

#[tokio::test]
async fn a_service_that_is_killed_during_a_call_fails_it() {
    let stand = Stand::start([Manner::Hangs]).await;
    let client = stand.client(patient());
    let killed = async {
        stand.until("the call has come", |seen| seen.in_flight == 1).await;
        stand.kill().await;
    };
    let (class, ()) = tokio::join!(class(&client, "s"), killed);
    assert_eq!(class, Class::Transient);
}

#[tokio::test]
async fn a_service_that_comes_later_is_found() {
    let address = Silent::start().await.address;
    let client = client(address, patient());
    assert_eq!(class(&client, "s").await, Class::Transient, "nothing listens there");
    let _stand = Stand::start_at(address, [says("v1")]).await;
    assert_eq!(&*client.context(&query("s")).await.unwrap().version, "v1");
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_left_for_another() {
    let mut silent = Silent::start().await;
    let client = client(silent.address, hurried());
    let class = tokio::select! {
        class = class(&client, "s") => class,
        () = silent.hold() => unreachable!("it holds for ever"),
    };
    assert_eq!(class, Class::TimedOut);
    // The old connection stays open, and would stay silent for ever.
    let Silent { address, listener, held } = silent;
    assert!(!held.is_empty());
    drop(listener);
    let _stand = Stand::start_at(address, [says("v1")]).await;
    let answer = timeout(PATIENCE, async {
        // On a busy machine a hurried call may need more than one try.
        loop {
            if let Ok(answer) = client.context(&query("s")).await {
                return answer;
            }
        }
    });
    assert_eq!(&*answer.await.unwrap().version, "v1");
    drop(held);
}

#[tokio::test]
async fn what_speaks_no_grpc_is_a_failure_like_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap(), patient());
    let babble = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 1024]).await;
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    };
    let class = tokio::select! {
        class = class(&client, "s") => class,
        () = babble => unreachable!("it babbles for ever"),
    };
    assert_eq!(class, Class::Transient);
}
