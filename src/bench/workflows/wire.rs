//! A bare connection: the client shares the machine with what it measures, so it does as little as it can.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::BenchError;
use super::failed;

/// More fields than the daemon ever sends.
const MOST_HEADERS: usize = 32;

pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

pub(super) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The body, where the status is the one that was asked for.
    pub(super) fn expect(self, status: u16) -> Result<Vec<u8>, BenchError> {
        if self.status == status {
            return Ok(self.body);
        }
        Err(BenchError::Call(format!("HTTP {}: {}", self.status, String::from_utf8_lossy(&self.body))))
    }
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, read: Vec::with_capacity(4_096) }
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, BenchError> {
        self.call(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n")).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<Answer, BenchError> {
        let length = body.len();
        self.call(&format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    async fn call(&mut self, request: &str) -> Result<Answer, BenchError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await.map_err(|error| failed(&error))?;
                stream.set_nodelay(true).map_err(|error| failed(&error))?;
                none.insert(stream)
            }
        };
        stream.write_all(request.as_bytes()).await.map_err(|error| failed(&error))?;
        self.read.clear();
        loop {
            if stream.read_buf(&mut self.read).await.map_err(|error| failed(&error))? == 0 {
                return Err(BenchError::Call("the daemon closed the connection".to_owned()));
            }
            if let Some(answer) = whole(&self.read)? {
                return Ok(answer);
            }
        }
    }
}

/// `None` = more is to come.
fn whole(read: &[u8]) -> Result<Option<Answer>, BenchError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(read).map_err(|error| failed(&error))? else {
        return Ok(None);
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let length = length.ok_or_else(|| BenchError::Call("an answer without a length".to_owned()))?;
    let body = read.get(head..head + length).map(<[u8]>::to_vec);
    Ok(body.map(|body| Answer { status: response.code.unwrap_or_default(), body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        for end in 0..text.len() {
            assert!(whole(&text[..end]).unwrap().is_none());
        }
        assert_eq!(whole(text).unwrap().unwrap().expect(201).unwrap(), b"ok");
        assert!(whole(text).unwrap().unwrap().expect(200).is_err());
    }
}
