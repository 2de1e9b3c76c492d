//! An answer whose body is still to come.

use bytes::{Bytes, BytesMut};

use super::framing::{Begin, Framing, Head, Piece};
use super::pool::Pool;
use super::wire::Wire;
use super::{Request, WireError};

/// Dropped before its end, it closes the connection.
pub(crate) struct Reply {
    pub(crate) head: Head,
    framing: Framing,
    /// The connection may serve another request.
    persistent: bool,
    wire: Box<Wire>,
    pool: Pool,
}

impl Reply {
    pub(super) async fn to(request: &Request, mut wire: Box<Wire>, pool: Pool) -> Result<Self, WireError> {
        let Begin { head, framing, persistent } = wire.exchange(request).await?;
        Ok(Self { head, framing, persistent, wire, pool })
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            match self.framing.take(&mut self.wire.read)? {
                Piece::Data(data) => return Ok(Some(data)),
                Piece::End => return Ok(None),
                Piece::More if self.wire.fill().await? > 0 => {}
                Piece::More if self.framing.ends_here() => return Ok(None),
                Piece::More => return Err(WireError::Cut),
            }
        }
    }

    /// Gives the connection back, once the body was read to its end.
    pub(crate) fn finish(mut self) {
        if self.persistent && self.framing == Framing::Done && self.wire.read.is_empty() {
            // An idle connection holds no buffer.
            self.wire.read = BytesMut::new();
            self.pool.keep(self.wire);
        }
    }

    /// The whole body, if it has at most `most` bytes.
    pub(crate) async fn whole(mut self, most: usize) -> Result<BytesMut, WireError> {
        let body = match self.framing {
            Framing::Length(length) if length > most as u64 => return Err(WireError::TooLarge(most)),
            Framing::Length(length) => self.exactly(length as usize).await?,
            _ => self.gathered(most).await?,
        };
        self.finish();
        Ok(body)
    }

    /// Usually all of it came with the head, and is handed on as it is.
    async fn exactly(&mut self, length: usize) -> Result<BytesMut, WireError> {
        while self.wire.read.len() < length {
            if self.wire.fill().await? == 0 {
                return Err(WireError::Cut);
            }
        }
        self.framing = Framing::Done;
        if self.wire.read.len() == length {
            return Ok(std::mem::take(&mut self.wire.read));
        }
        Ok(self.wire.read.split_to(length))
    }

    async fn gathered(&mut self, most: usize) -> Result<BytesMut, WireError> {
        let mut body = BytesMut::new();
        while let Some(data) = self.chunk().await? {
            body.extend_from_slice(&data);
            if body.len() > most {
                return Err(WireError::TooLarge(most));
            }
        }
        Ok(body)
    }
}
