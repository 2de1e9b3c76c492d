use proptest::prelude::*;

use super::*;

fn begin(text: &str) -> Result<Option<Begin>, WireError> {
    Begin::take(&mut BytesMut::from(text))
}

fn head(lines: &str) -> Begin {
    begin(&format!("{}\r\n\r\n", lines.replace('\n', "\r\n"))).unwrap().unwrap()
}

/// The body of an answer that comes in pieces of `step` bytes, and what is left of the bytes.
fn body(answer: &[u8], step: usize) -> Result<(Vec<u8>, usize), String> {
    let (mut read, mut begun, mut body) = (BytesMut::new(), None, Vec::new());
    let mut parts = answer.chunks(step);
    loop {
        let piece = match &mut begun {
            None => {
                begun = Begin::take(&mut read).map_err(|error| error.to_string())?;
                if begun.is_some() {
                    continue;
                }
                Piece::More
            }
            Some(Begin { framing, .. }) => framing.take(&mut read).map_err(|error| error.to_string())?,
        };
        match piece {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::End => return Ok((body, read.len() + parts.map(<[u8]>::len).sum::<usize>())),
            Piece::More => match parts.next() {
                Some(part) => read.extend_from_slice(part),
                None if begun.is_some_and(|begin| begin.framing.ends_here()) => return Ok((body, 0)),
                None => return Err("cut".into()),
            },
        }
    }
}

#[test]
fn a_length_a_chunked_body_and_the_end_of_the_connection_end_a_body() {
    let cases: [(&str, &str, usize); 6] = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", 0),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhelloHTTP", "hello", 4),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello", 0),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\nsum: 1\r\n\r\nx", "hello", 1),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello", 0),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\nx", "", 1),
    ];
    for (answer, expected, left) in cases {
        for step in 1..=answer.len() {
            let read = body(answer.as_bytes(), step);
            assert_eq!(read, Ok((expected.as_bytes().to_vec(), left)), "{answer:?} by {step}");
        }
    }
}

#[test]
fn what_ends_early_is_not_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ncontent-len",
    ] {
        assert_eq!(body(answer.as_bytes(), 7), Err("cut".into()), "{answer:?}");
    }
}

#[test]
fn what_is_no_http_is_said() {
    for (answer, why) in [
        ("garbage\r\n\r\n", "head cannot be read"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello", "no number"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "two lengths"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no size"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhello\r\n", "longer than it said"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol"),
        ("HTTP/1.1 099 No\r\n\r\n", "status"),
    ] {
        let error = body(answer.as_bytes(), answer.len()).unwrap_err();
        assert!(error.contains(why), "{answer:?}: {error}");
    }
}

#[test]
fn a_head_has_an_end() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MOST_HEAD));
    assert!(begin(&endless).unwrap_err().to_string().contains("no end"));
    let chunk = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{}", "y".repeat(MOST_LINE));
    assert!(body(chunk.as_bytes(), 1000).unwrap_err().contains("no size"));
    let trailer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}", "y".repeat(MOST_LINE + 1));
    assert!(body(trailer.as_bytes(), 1000).unwrap_err().contains("trailer"));
}

#[test]
fn a_connection_is_kept_unless_one_side_may_not() {
    for (lines, kept) in [
        ("HTTP/1.1 200 OK\ncontent-length: 1", true),
        ("HTTP/1.1 200 OK\ncontent-length: 1\nconnection: Close", false),
        ("HTTP/1.1 200 OK\ncontent-length: 1\nconnection: x, close", false),
        ("HTTP/1.0 200 OK\ncontent-length: 1", false),
        ("HTTP/1.0 200 OK\ncontent-length: 1\nconnection: keep-alive", true),
        ("HTTP/1.1 200 OK", false),
        ("HTTP/1.1 200 OK\ntransfer-encoding: gzip", false),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 1", false),
        ("HTTP/1.1 304 Not Modified", true),
    ] {
        assert_eq!(head(lines).persistent, kept, "{lines}");
    }
}

#[test]
fn headers_are_there_for_whoever_asks() {
    let head = head("HTTP/1.1 429 Too Many\ncontent-length: 1\nRetry-After: 7").head;
    assert_eq!(head.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(head.headers()["retry-after"], "7");
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_body_or_an_error(bytes: Vec<u8>, step in 1_usize..64, status in "HTTP/1.1 [0-9]{3} OK\r\n") {
        let _ = body(&bytes, step);
        let framed = [status.as_bytes(), b"transfer-encoding: chunked\r\n\r\n", &bytes].concat();
        let _ = body(&framed, step);
    }

    #[test]
    fn a_chunked_body_comes_back_whole(parts: Vec<Vec<u8>>, step in 1_usize..64) {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            answer.extend_from_slice(part);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(body(&answer, step), Ok((parts.concat(), 0)));
    }
}
