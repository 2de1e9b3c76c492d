//! Servers that misbehave below HTTP: each is a few lines over a socket.

use std::net::SocketAddr;
use std::time::Duration;

use moothall::vllm::{ContextLength, Retry, StreamLimits, VllmSettings};
use moothall_actors::domain::answer::{Class, Finish, Usage};
use moothall_actors::ports::{Model, ModelCall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use url::Url;

use super::{bare_settings, model, proposal};

const MESSAGE: &str = r#"{"choices":[{"message":{"role":"assistant","content":"well done"},"finish_reason":"stop"}]}"#;

/// What is done with one request.
enum Move {
    Answer(String),
    /// Bytes as they are, then the connection is closed.
    Part(&'static str),
    /// Bytes as they are, then nothing more.
    Stall(&'static str),
    Close,
    Reset,
}

/// A server that plays its moves, one per request, in order; and the requests as they came.
struct Raw {
    addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Raw {
    async fn playing(moves: Vec<Move>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (told, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut moves = moves.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Some(request) = request(&mut stream).await {
                    told.send(request).unwrap();
                    let Some(next) = moves.next() else { break };
                    if !play(&mut stream, next).await {
                        break;
                    }
                }
            }
        });
        Self { addr, requests }
    }

    fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.addr)).unwrap()
    }

    fn settings(&self) -> VllmSettings {
        bare_settings(self.url())
    }

    fn without_retries(&self) -> VllmSettings {
        let retry = Retry { times: 0, first: Duration::ZERO, last: Duration::ZERO };
        VllmSettings { retry, ..self.settings() }
    }

    fn served(&mut self) -> usize {
        std::iter::from_fn(|| self.requests.try_recv().ok()).count()
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether the connection takes another request.
async fn play(stream: &mut TcpStream, next: Move) -> bool {
    match next {
        Move::Answer(answer) => stream.write_all(answer.as_bytes()).await.is_ok(),
        Move::Part(part) => {
            let _ = stream.write_all(part.as_bytes()).await;
            false
        }
        Move::Stall(part) => {
            let _ = stream.write_all(part.as_bytes()).await;
            // Until the client leaves.
            let _ = stream.read(&mut [0; 1]).await;
            false
        }
        Move::Close => false,
        Move::Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
    }
}

fn ok(form: &str, body: &str) -> Move {
    let length = body.len();
    Move::Answer(format!("HTTP/1.1 200 OK\r\ncontent-type: {form}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn well() -> Move {
    ok("application/json", MESSAGE)
}

#[tokio::test]
async fn a_half_answer_is_asked_for_again() {
    let parts = [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"choices\":[{",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"cho",
        "HTTP/1.1 2",
        "this is not HTTP\r\n\r\n",
    ];
    for part in parts {
        let mut server = Raw::playing(vec![Move::Part(part), well()]).await;
        let answer = model(server.settings()).complete(&proposal()).await.unwrap();
        assert_eq!((&*answer.text, answer.attempts, server.served()), ("well done", 2, 2), "{part}");
    }
}

#[tokio::test]
async fn a_reset_connection_is_tried_again() {
    let mut server = Raw::playing(vec![Move::Reset, Move::Close, well()]).await;
    let answer = model(server.settings()).complete(&proposal()).await.unwrap();
    assert_eq!((answer.attempts, server.served()), (3, 3));
}

#[tokio::test]
async fn slow_headers_are_bounded_by_the_time_of_the_call() {
    let server = Raw::playing(vec![Move::Stall("HTTP/1.1 200 OK\r\nx-slow: ")]).await;
    let call = ModelCall { timeout: Duration::from_millis(50), ..proposal() };
    let failure = model(server.settings()).complete(&call).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::TimedOut, 1));
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_a_request_and_no_retry() {
    let mut server = Raw::playing(vec![well(), Move::Close, well()]).await;
    let model = model(server.without_retries());
    assert_eq!(model.complete(&proposal()).await.unwrap().attempts, 1);
    assert_eq!(model.complete(&proposal()).await.unwrap().attempts, 2);
    assert_eq!(server.served(), 3);
    assert_eq!(model.replica_states()[0].breaker, moothall::vllm::BreakerState::Closed);
}

#[tokio::test]
async fn a_request_is_not_sent_again_at_once_when_a_byte_was_answered() {
    let server = Raw::playing(vec![well(), Move::Part("HTTP/1.1 2"), well()]).await;
    let model = model(server.without_retries());
    model.complete(&proposal()).await.unwrap();
    let failure = model.complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Transient, 1));
}

#[tokio::test]
async fn usage_that_is_not_counted_is_estimated() {
    let server = Raw::playing(vec![well()]).await;
    let answer = model(server.settings()).complete(&proposal()).await.unwrap();
    let prompt = proposal().shared.len() + proposal().ask.len();
    assert_eq!(answer.usage, Usage { prompt: prompt.div_ceil(4) as u64, completion: 3 });
    assert_eq!((&*answer.model, answer.finish), ("m", Finish::Stop));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let text = "x".repeat(1024 * 1024 + 1);
    let long = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    let huge = " ".repeat(9 * 1024 * 1024);
    for (body, limit) in [(long, "1048576 bytes of text"), (huge, "8388608 bytes")] {
        let mut server = Raw::playing(vec![ok("application/json", &body)]).await;
        let failure = model(server.settings()).complete(&proposal()).await.unwrap_err();
        assert_eq!((failure.class, server.served()), (Class::Refused, 1), "{failure}");
        assert!(failure.message.contains(limit), "{failure}");
    }
}

fn streaming(server: &Raw, first_token: u64, silence: u64) -> VllmSettings {
    let limits =
        StreamLimits { first_token: Duration::from_millis(first_token), silence: Duration::from_millis(silence) };
    VllmSettings { stream: Some(limits), ..server.without_retries() }
}

const HOUR: u64 = 3_600_000;
const BEGUN: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"well\"}}]}\n\n"
);

#[tokio::test]
async fn a_stream_without_a_first_token_is_given_up() {
    let alive = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: still there\n\n";
    for silent in ["", alive] {
        let server = Raw::playing(vec![Move::Stall(silent)]).await;
        let failure = model(streaming(&server, 50, HOUR)).complete(&proposal()).await.unwrap_err();
        assert_eq!(failure.class, Class::TimedOut, "{silent}");
        assert!(failure.message.contains("gave no first token for 50ms"), "{failure}");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up() {
    let server = Raw::playing(vec![Move::Stall(BEGUN)]).await;
    let failure = model(streaming(&server, HOUR, 50)).complete(&proposal()).await.unwrap_err();
    assert_eq!(failure.class, Class::TimedOut);
    assert!(failure.message.contains("fell silent for 50ms"), "{failure}");
}

#[tokio::test]
async fn a_silent_stream_is_asked_for_again_while_there_is_time() {
    let server = Raw::playing(vec![Move::Stall(BEGUN), well()]).await;
    let settings = VllmSettings { retry: server.settings().retry, ..streaming(&server, HOUR, 50) };
    assert_eq!(model(settings).complete(&proposal()).await.unwrap().attempts, 2);
}

#[tokio::test]
async fn a_stream_that_ends_early_is_no_answer() {
    let server = Raw::playing(vec![Move::Part(BEGUN)]).await;
    let failure = model(streaming(&server, HOUR, HOUR)).complete(&proposal()).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.contains("its stream ended early"), "{failure}");
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_read_all_the_same() {
    let server = Raw::playing(vec![well()]).await;
    let answer = model(streaming(&server, HOUR, HOUR)).complete(&proposal()).await.unwrap();
    assert_eq!(&*answer.text, "well done");
}

#[tokio::test]
async fn a_server_that_does_not_list_its_models_is_asked_once() {
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let mut server = Raw::playing(vec![Move::Answer(missing.into()), well(), well()]).await;
    let model = model(VllmSettings { context: ContextLength::Learned, ..server.settings() });
    model.complete(&proposal()).await.unwrap();
    model.complete(&proposal()).await.unwrap();
    let first = server.requests.try_recv().unwrap();
    assert!(first.starts_with("GET /v1/models HTTP/1.1\r\n"), "{first}");
    assert_eq!(server.served(), 2);
}

#[tokio::test]
async fn a_server_without_tls_is_no_https_server() {
    let server = Raw::playing(vec![Move::Close]).await;
    let url = server.url().as_str().replace("http:", "https:").parse().unwrap();
    let connect_timeout = Duration::from_millis(100);
    let settings = VllmSettings { connect_timeout, retry: server.without_retries().retry, ..bare_settings(url) };
    let failure = model(settings).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Transient, 1));
    assert!(failure.message.contains("cannot connect: "), "{failure}");
}

/// More than fits into the buffers of a connection that nobody reads.
const LONG_PROMPT: usize = 24 * 1024 * 1024;

fn long_proposal() -> ModelCall {
    ModelCall { ask: "x".repeat(LONG_PROMPT).into(), ..proposal() }
}

/// Takes one connection and its first bytes.
async fn first_bytes() -> (Url, impl Future<Output = (TcpStream, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (url, async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = stream.read(&mut [0; 1024]).await.unwrap();
        (stream, read)
    })
}

#[tokio::test]
async fn a_prompt_that_is_refused_before_it_is_all_sent_says_why() {
    let (url, taken) = first_bytes().await;
    // The server reads no more, and stays until the client has what it said.
    let (answer, _stream) = tokio::join!(async { model(bare_settings(url)).complete(&long_proposal()).await }, async {
        let (mut stream, _) = taken.await;
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\n\r\ntoo large").await.unwrap();
        stream
    });
    let failure = answer.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.contains("413") && failure.message.contains("too large"), "{failure}");
}

#[tokio::test]
async fn an_answer_that_begins_early_gets_the_rest_of_its_prompt() {
    let (url, taken) = first_bytes().await;
    let (answer, ()) = tokio::join!(async { model(bare_settings(url)).complete(&long_proposal()).await }, async {
        let (mut stream, mut read) = taken.await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MESSAGE.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut space = vec![0; 1 << 20];
        while read < LONG_PROMPT {
            let more = stream.read(&mut space).await.unwrap();
            assert_ne!(more, 0, "the client left after {read} bytes");
            read += more;
        }
        stream.write_all(MESSAGE.as_bytes()).await.unwrap();
    });
    assert_eq!(&*answer.unwrap().text, "well done");
}
