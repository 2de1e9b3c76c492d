//! A hub for tests: a few lines over a socket, which does one move for each request and keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// What is done with one request.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// This answer, as it goes over the wire.
    Answer(String),
    /// The same, after a while.
    Late(Duration, String),
    /// Bytes as they are, then the connection is closed.
    Part(String),
    Close,
}

/// An answer with this status, these header lines and this body.
pub(super) fn status(status: &str, headers: &str, body: &str) -> Move {
    let length = body.len();
    Move::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

pub(super) fn ok(body: &str) -> Move {
    status("200 OK", "", body)
}

pub(super) fn well() -> Move {
    ok(r#"{"success":true,"result":{"content":"the plan"},"confidence":88,"metadata":{"checks_passed":true}}"#)
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: String,
    /// Of its connection, from 1.
    pub(super) connection: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
        line.split_once(": ").map(|(_, value)| value)
    }

    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// Plays its moves in order, one for each request; what comes after the last is not answered.
pub(super) struct Stand {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Stand {
    pub(super) async fn playing(moves: Vec<Move>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let moves = Arc::new(Mutex::new(moves.into_iter()));
        let told = asked.clone();
        let server = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                tokio::spawn(serve(stream, connection, told.clone(), moves.clone()));
            }
        });
        Self { address, asked, server }
    }

    pub(super) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/api/", self.address)).unwrap()
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Moves = Arc<Mutex<std::vec::IntoIter<Move>>>;

async fn serve(mut stream: TcpStream, connection: usize, asked: Arc<Mutex<Vec<Asked>>>, moves: Moves) {
    while let Some((head, body)) = request(&mut stream).await {
        asked.lock().unwrap().push(Asked { head, body, connection });
        let next = moves.lock().unwrap().next();
        let answer = match next {
            Some(Move::Answer(answer)) => answer,
            Some(Move::Late(after, answer)) => {
                tokio::time::sleep(after).await;
                answer
            }
            Some(Move::Part(part)) => {
                let _ = stream.write_all(part.as_bytes()).await;
                return;
            }
            Some(Move::Close) => return,
            None => std::future::pending().await,
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
