//! Where an answer's head and body end, after RFC 9112. Pure: bytes in, pieces out.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};

use super::WireError;

/// Most headers of an answer. Model servers behind a proxy send some twenty.
const MOST_HEADERS: usize = 100;
/// Longest head, in bytes.
const MOST_HEAD: usize = 64 * 1024;
/// Longest line that gives a chunk's size, and longest line of a trailer.
const MOST_LINE: usize = 16 * 1024;

/// The first part of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    raw: Box<[u8]>,
}

impl Head {
    /// Its headers, read now: an answer as it is wished for needs none of them.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut space = [EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut space);
        if parsed.parse(&self.raw).is_err() {
            return HeaderMap::new();
        }
        let read = |header: &Header<'_>| {
            Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, HeaderValue::from_bytes(header.value).ok()?))
        };
        parsed.headers.iter().filter_map(read).collect()
    }
}

/// How the body is told from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Done,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    LineEnd,
    Trailers,
}

/// What the bytes at hand give.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    /// Nothing without more bytes.
    More,
    End,
}

/// A head, and how its answer goes on.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// The connection may serve another request.
    pub(super) persistent: bool,
}

impl Begin {
    /// Takes a head out of what was read; `None` while it is not all there. Interim answers are passed over.
    pub(super) fn take(read: &mut BytesMut) -> Result<Option<Self>, WireError> {
        loop {
            let mut space = [const { MaybeUninit::uninit() }; MOST_HEADERS];
            let mut parsed = httparse::Response::new(&mut []);
            let bytes = match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, read, &mut space)
            {
                Ok(Status::Complete(bytes)) => bytes,
                Ok(Status::Partial) if read.len() > MOST_HEAD => return Err(WireError::Garbled("its head has no end")),
                Ok(Status::Partial) => return Ok(None),
                Err(_) => return Err(WireError::Garbled("its head cannot be read")),
            };
            let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.ok_or(WireError::Garbled("its status is none"))?;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(WireError::Garbled("it changes the protocol unasked"));
            }
            if status.is_informational() {
                read.advance(bytes);
                continue;
            }
            let (framing, persistent) = framing(status, parsed.version == Some(1), parsed.headers)?;
            let head = Head { status, raw: read[..bytes].into() };
            read.advance(bytes);
            return Ok(Some(Self { head, framing, persistent }));
        }
    }
}

fn framing(status: StatusCode, current: bool, headers: &[Header<'_>]) -> Result<(Framing, bool), WireError> {
    let (mut length, mut chunked, mut coded, mut persistent) = (None, false, false, current);
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            for value in list(header.value) {
                let given = number(value).ok_or(WireError::Garbled("its content-length is no number"))?;
                if length.replace(given).is_some_and(|other| other != given) {
                    return Err(WireError::Garbled("it has two lengths"));
                }
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
            chunked = list(header.value).last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        } else if header.name.eq_ignore_ascii_case("connection") {
            let says = |word: &[u8]| list(header.value).any(|value| value.eq_ignore_ascii_case(word));
            persistent = (persistent || says(b"keep-alive")) && !says(b"close");
        }
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok((Framing::Done, persistent));
    }
    // With both, the length is not meant for us, and what follows the body is not to be trusted.
    Ok(match (chunked, coded, length) {
        (true, _, length) => (Framing::Chunked(Chunk::Size), persistent && length.is_none()),
        (false, false, Some(0)) => (Framing::Done, persistent),
        (false, false, Some(length)) => (Framing::Length(length), persistent),
        (false, true, _) | (false, false, None) => (Framing::UntilClose, false),
    })
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits only: no sign, no space.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

impl Framing {
    /// The next piece of the body, out of what was read.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Piece, WireError> {
        loop {
            match self {
                Self::Done => return Ok(Piece::End),
                _ if read.is_empty() => return Ok(Piece::More),
                Self::UntilClose => return Ok(Piece::Data(read.split().freeze())),
                Self::Length(left) => {
                    let data = up_to(left, read);
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(Piece::Data(data));
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let data = up_to(left, read);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::LineEnd);
                    }
                    return Ok(Piece::Data(data));
                }
                Self::Chunked(between) => match between.pass(read)? {
                    Some(next) => *self = next,
                    None => return Ok(Piece::More),
                },
            }
        }
    }

    /// Whether the body is whole when the connection ends now.
    pub(super) fn ends_here(self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }
}

fn up_to(left: &mut u64, read: &mut BytesMut) -> Bytes {
    let bytes = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    *left -= bytes as u64;
    read.split_to(bytes).freeze()
}

impl Chunk {
    /// Passes over what stands between the data of two chunks; `None` while it is not all there.
    fn pass(self, read: &mut BytesMut) -> Result<Option<Framing>, WireError> {
        match self {
            Self::Size => match httparse::parse_chunk_size(read) {
                Ok(Status::Complete((bytes, size))) => {
                    read.advance(bytes);
                    Ok(Some(Framing::Chunked(if size == 0 { Self::Trailers } else { Self::Data(size) })))
                }
                Ok(Status::Partial) if read.len() <= MOST_LINE => Ok(None),
                Ok(Status::Partial) | Err(_) => Err(WireError::Garbled("a chunk has no size")),
            },
            Self::LineEnd if read.starts_with(b"\r\n") => {
                read.advance(2);
                Ok(Some(Framing::Chunked(Self::Size)))
            }
            Self::LineEnd if read[..] == *b"\r" => Ok(None),
            Self::LineEnd | Self::Data(_) => Err(WireError::Garbled("a chunk is longer than it said")),
            Self::Trailers => match read.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    let empty = read[..end].trim_ascii().is_empty();
                    read.advance(end + 1);
                    Ok(Some(if empty { Framing::Done } else { Framing::Chunked(Self::Trailers) }))
                }
                None if read.len() <= MOST_LINE => Ok(None),
                None => Err(WireError::Garbled("a trailer has no end")),
            },
        }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
